"""The stages of `kerasseg fit`: `source` builds records, `stages` all that follows.

`run_file` remembers what is complete, so that the same command continues.
"""
