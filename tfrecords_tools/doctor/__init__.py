"""The data doctor: what is wrong with own images and masks, and which options help.

`scanning` reads a pair. `names`, `numbers`, `colors`, `images`, `duplicates` and
`mapped` turn scans into findings, and `examining` runs them. `describing` writes the
findings as text, `sheet` as an image. Files are not changed; the build applies the
options.

`splits`, `survey` and `split_report` describe records, and any data set before it is
built. `reporting` is what python -m tfrecords_tools.inspect runs.
"""
