"""A server for exported models: TensorFlow Serving's REST API, `/segment`, and a page.

It loads what `python -m kerasseg.export` wrote with plain TensorFlow and knows no
architecture. `python -m kerasseg.serve --help` says how to start it.
"""
