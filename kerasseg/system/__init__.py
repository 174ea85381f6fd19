"""Interfaces to the operating system: files, locks, memory, signals, processes."""
