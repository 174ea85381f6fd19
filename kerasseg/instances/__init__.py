"""Geometry of Mask R-CNN as functions of tensors, on any Keras backend.

Boxes are float32 `(y1, x1, y2, x2)` in pixels. Coordinates are continuous: pixel `i`
covers `[i, i + 1)`, so an instance of one pixel at `(3, 5)` has the box `(3, 5, 4, 6)`.
Classes are 0 for background and padding, and 1 to K for objects. Outputs have static
sizes and are padded; a `valid` mask marks what is not padding.

A crowd is a region of objects that are not annotated one by one. It never makes a
positive, and candidates inside it are no negatives, see `matching`.
"""
