"""How TensorFlow starts: its environment variables, and the lines that it prints."""

import os
import sys
import tempfile

_SETTINGS = {
    # Without oneDNN a CPU has no gradient of a dilated convolution.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # Errors only.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Takes GPU memory as it is needed, so that several programs can share one.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
_STDERR = 2  # The file descriptor: TensorFlow's C++ code knows no `sys.stderr`.


def prepare() -> None:
    """Sets the environment variables that TensorFlow reads once, at its import.

    A variable that the user has set is left alone.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def start_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, without the lines that it then prints.

    They are about drivers and kernels, whether or not the program uses them. Where the
    import fails, they are printed before the error.
    """
    if "tensorflow" in sys.modules:
        return
    prepare()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as lines:
        stderr = os.dup(_STDERR)
        os.dup2(lines.fileno(), _STDERR)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            lines.seek(0)
            os.write(stderr, lines.read())
            raise
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)


def has_gpu() -> bool:
    """Returns whether TensorFlow has a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
