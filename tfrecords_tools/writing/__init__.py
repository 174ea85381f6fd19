"""Writes pairs of an image and its label as records."""
