"""Tools that build and inspect TFRecords of segmentation data sets."""
