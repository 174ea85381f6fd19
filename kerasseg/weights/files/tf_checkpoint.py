"""Reader of checkpoints of TensorFlow 1 and 2."""

import math
import os
import pathlib

from kerasseg import errors
from kerasseg.system import path_checks, runtime
from kerasseg.weights.files import arrays

INDEX = ".index"
_KINDS = "fiub"


def read(prefix: str | os.PathLike) -> arrays.Weights:
    """Reads the variables; names as `tf.train.list_variables` returns them.

    Args:
        prefix: Path of the checkpoint without `.index`, or its only file in the format
            before TensorFlow 0.12.

    Raises:
        errors.UserError: See `reading.read`.
    """
    path_checks.check_model(prefix, "path")
    tf = _tensorflow()
    wrong = (tf.errors.OpError, LookupError, RuntimeError, TypeError, ValueError)
    try:
        reader = tf.train.load_checkpoint(os.fspath(prefix))
        shapes = reader.get_variable_to_shape_map()
        types = reader.get_variable_to_dtype_map()
        names = [name for name in sorted(shapes) if _is_numeric(types[name])]
        arrays.check_size(
            sum(_num_bytes(shapes[name], types[name]) for name in names),
            _file_bytes(pathlib.Path(prefix)),
        )
        values = {name: reader.get_tensor(name) for name in names}
    except errors.UserError:
        raise
    except wrong as error:
        raise arrays.damaged(f"checkpoint: {error}") from error
    for name in names:
        if types[name] == tf.bfloat16:
            values[name] = values[name].astype("float32")
    left_out = sorted({*shapes} - {*names})
    return arrays.Weights(
        values, file_format="TensorFlow checkpoint", left_out=left_out
    )


def latest(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the prefix of the newest checkpoint in a folder, None if there is none.

    The file `checkpoint` may name it by its path on another machine; of that the name
    is used.

    Raises:
        errors.UserError: There are several, and no file `checkpoint` names one of them.
    """
    indices = sorted(folder.glob(f"*{INDEX}"))
    prefixes = [path.with_name(path.name.removesuffix(INDEX)) for path in indices]
    if (folder / "checkpoint").is_file():
        tf = _tensorflow()
        state = tf.train.get_checkpoint_state(os.fspath(folder))
        named = pathlib.PurePath(state.model_checkpoint_path).name if state else ""
        prefixes = [path for path in prefixes if path.name == named] or prefixes
    if len(prefixes) > 1:
        raise errors.UserError(
            f"the folder has {len(prefixes)} checkpoints. Give the path of one without "
            f"{INDEX}, such as {prefixes[-1]}."
        )
    return prefixes[0] if prefixes else None


def _tensorflow():
    runtime.start_tensorflow()
    import tensorflow as tf

    return tf


def _is_numeric(dtype):
    return dtype.as_numpy_dtype is not object and (
        dtype.is_floating or dtype.is_integer or dtype.is_bool
    )


def _num_bytes(shape, dtype):
    return math.prod(shape) * max(dtype.size, 4 if dtype.name == "bfloat16" else 1)


def _file_bytes(prefix):
    paths = [prefix, *prefix.parent.glob(f"{prefix.name}.data-*")]
    return sum(path.stat().st_size for path in paths if path.is_file())
