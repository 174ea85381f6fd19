"""Flags that python -m tfrecords_tools.build and inspect share."""
