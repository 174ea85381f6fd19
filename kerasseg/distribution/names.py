"""The strategies that a run can use; read without TensorFlow."""

STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "parameter_server")
