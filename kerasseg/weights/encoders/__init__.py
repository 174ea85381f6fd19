"""Naming rules of encoders that several families have."""
