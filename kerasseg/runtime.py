"""What must be set before TensorFlow starts; never over what the user set."""

import os

_SETTINGS = {
    # Without oneDNN a CPU has no gradient of a dilated convolution.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # Errors and warnings, not the start-up chatter.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Takes GPU memory as it is needed, so that several programs can share one.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}


def prepare() -> None:
    """Sets the environment variables that TensorFlow reads once, at its import."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
