"""A server for exported models: TensorFlow Serving's REST API, `/segment`, a web page.

It loads exports of `python -m kerasseg.export` with plain TensorFlow, without the code
of the architecture. `python -m kerasseg.serve --help` describes how to start it.
"""
