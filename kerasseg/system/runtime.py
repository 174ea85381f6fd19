"""The start of TensorFlow: its environment variables, and the lines it prints."""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

_SETTINGS = {
    # Without oneDNN a CPU has no gradient of a dilated convolution.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # Errors only.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Allocates GPU memory when needed, so that several programs can share a GPU.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
_STDERR = 2  # File descriptor: TensorFlow's C++ code does not use `sys.stderr`.


def prepare() -> None:
    """Sets the environment variables that TensorFlow reads once, at its import.

    A variable that the user has set is left alone.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def start_tensorflow() -> None:
    """Imports TensorFlow and lists its devices, without the lines that it prints.

    These are about drivers and kernels, needed or not. They are printed only if the
    import fails.
    """
    if "tensorflow" in sys.modules:
        return
    prepare()
    with silent_stderr(), _without_collector():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _without_collector():
    """Imports a large package: none of its objects is garbage before the exit.

    Python's garbage collector takes a third of the time of TensorFlow's import and
    exit: it visits the same million objects again and again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Drops what libraries in C++ write to standard error, unless the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as lines:
        stderr = os.dup(_STDERR)
        os.dup2(lines.fileno(), _STDERR)
        try:
            yield
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
