"""Pairs of image and label to files of records."""
