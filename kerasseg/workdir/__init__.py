"""The folder of a run: `layout` names its files, the other modules read and write them.

Everything that a later command needs is there, so that `evaluate`, `predict` and
`export` take a workdir and nothing that they can find in it.
"""
