"""Tools that build, inspect and extract TFRecords of segmentation data sets."""
