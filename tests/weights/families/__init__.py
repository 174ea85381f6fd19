"""Families of weights of other programs."""
