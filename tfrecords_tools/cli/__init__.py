"""Flags that build and inspect share."""
