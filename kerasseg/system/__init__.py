"""What the library needs of the system: files, locks, memory, signals, processes."""
