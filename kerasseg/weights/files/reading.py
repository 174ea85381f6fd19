"""Reads a file of weights, whatever its format."""

import contextlib
import os
import pathlib

from kerasseg import errors
from kerasseg.system import files, names
from kerasseg.weights.files import (
    arrays,
    keras_file,
    safetensors_file,
    shards,
    signatures,
    tf_checkpoint,
    torch_legacy,
    torch_zip,
    zip_archive,
)

# What is read of a folder: the first pattern with a match.
_IN_FOLDER = (
    *(f"*.safetensors{shards.INDEX}", "*.safetensors"),
    *(f"*.bin{shards.INDEX}", "pytorch_model*.bin", keras_file.WEIGHTS),
)


def read(path: str | os.PathLike) -> arrays.Weights:
    """Reads the arrays of a file of weights. Nothing of the file is run.

    The format is found by the content:

    - PyTorch, `.pth`, `.pt` or `.bin`: a state dict, alone or in a training checkpoint,
      see `state_dict.find`. Other objects are not created.
    - safetensors, which needs the extra `weights`.
    - The JSON index of several safetensors or PyTorch files.
    - A checkpoint of TensorFlow 1 or 2: its prefix, its `.index` file, or its folder.
    - Keras: `.weights.h5`, `.keras`, `.h5`; names are paths of arrays.
    - A folder of Hugging Face or a preset of KerasHub, with such files. In a preset,
      names of the arrays of `task.weights.h5` start with "task/".

    Args:
        path: File, folder, or prefix of a checkpoint.

    Returns:
        Arrays by name, as the file names and orders their axes. bfloat16 becomes
        float32; other types stay.

    Raises:
        errors.MissingFileError: `path` does not exist.
        errors.MissingPackageError: The format needs a package that is not installed.
        errors.UserError: It is another file, damaged or larger than the limits, or a
            pickle that asks for what weights do not need.
    """
    path = pathlib.Path(path)
    with _named(path):
        if path.is_dir():
            return _read_folder(path)
        index = path.with_name(f"{path.name}{tf_checkpoint.INDEX}")
        if not path.exists() and index.is_file():
            return tf_checkpoint.read(path)
        if not path.exists():
            raise errors.MissingFileError("it does not exist. Correct the path.")
        return _read_file(path)


@contextlib.contextmanager
def _named(path):
    """Puts the path before the message of an error."""
    text = names.printable(path)
    try:
        yield
    except errors.UserError as error:
        if text not in str(error):
            error.args = (f"{text}: {error}",)
        raise
    except OSError as error:
        raise errors.UserError(
            f"{text}: it cannot be read ({error.strerror or error}). Check its "
            "permissions and the disk."
        ) from error


def _read_folder(path):
    for pattern in _IN_FOLDER:
        found = sorted(path.glob(pattern))
        if len(found) > 1:
            raise errors.UserError(
                f"the folder has {len(found)} files {pattern}. Give the path of one, "
                f"such as {names.printable(found[0])}."
            )
        if found:
            task = path / keras_file.TASK
            is_preset = found[0].name == keras_file.WEIGHTS and task.is_file()
            return _read_preset(found[0], task) if is_preset else read(found[0])
    prefix = tf_checkpoint.latest(path)
    if prefix is not None:
        return tf_checkpoint.read(prefix)
    if (path / "saved_model.pb").is_file():
        raise errors.UserError(
            "it is a SavedModel. Give the path of its weights, "
            f"{names.printable(path / 'variables' / 'variables')}."
        )
    raise errors.UserError(
        "the folder has no weights: no safetensors, pytorch_model.bin, "
        f"{keras_file.WEIGHTS} or checkpoint of TensorFlow. Give the path of a file."
    )


def _read_preset(backbone, task):
    """Reads the files of a preset of KerasHub; names of the second get "task/"."""
    weights, head = read(backbone), read(task)
    return arrays.Weights(
        {**weights, **{f"task/{name}": array for name, array in head.items()}},
        file_format=f"{weights.file_format}, 2 files",
        left_out=(*weights.left_out, *(f"task/{name}" for name in head.left_out)),
    )


def _read_file(path):
    files.check_regular(os.stat(path), path)
    kind = signatures.kind(path)
    if kind == signatures.JSON:
        return shards.read(path, _read_shard)
    if kind == signatures.TABLE:
        is_index = path.name.endswith(tf_checkpoint.INDEX)
        name = path.name.removesuffix(tf_checkpoint.INDEX) if is_index else path.name
        return tf_checkpoint.read(path.with_name(name))
    if kind == signatures.ZIP:
        return _read_archive(path)
    return _READERS[kind](path)


_READERS = {
    signatures.PICKLE: torch_legacy.read,
    signatures.SAFETENSORS: safetensors_file.read,
    signatures.HDF5: keras_file.read,
}


def _read_archive(path):
    with zip_archive.open_archive(path) as archive:
        entries = archive.names
    if torch_zip.is_torch(entries):
        return torch_zip.read(path)
    if keras_file.is_keras(entries):
        return keras_file.read_archive(path)
    raise signatures.wrong_archive(entries)


def _read_shard(path):
    """Reads a file of an index, which is no index itself."""
    with _named(path):
        files.check_regular(os.stat(path), path)
        if signatures.kind(path) in (signatures.JSON, signatures.TABLE):
            raise errors.UserError(
                "it is listed in an index, and is no safetensors or PyTorch file. "
                "Download it again."
            )
        return _read_file(path)
