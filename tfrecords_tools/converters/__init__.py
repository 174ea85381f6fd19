"""Data sets as their authors publish them, as pairs of an image and its label.

A new data set `NAME` needs two files: its classes and splits in
kerasseg/datasets/NAME.py (see `kerasseg.datasets.DatasetSpec`), and its converter in
tfrecords_tools/converters/NAME.py (see `registry.converter`). Tests build it from a
miniature, which the function `NAME` in
tests/tfrecords_tools/test_every_data_set.py writes.
"""
