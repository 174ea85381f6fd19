"""Weights that other programs trained: files, their networks, names, downloads."""
