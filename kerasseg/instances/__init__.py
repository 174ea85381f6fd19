"""Geometry of instance segmentation: boxes, anchors, regions, masks.

Functions of `keras.ops` with static shapes, the same on every backend. Boxes are (y1,
x1, y2, x2) in pixels; pixel i covers the interval from i to i + 1. Class 0 is
background, and marks padding.
"""
