"""Data sets as their authors publish them, as pairs of image and label."""
