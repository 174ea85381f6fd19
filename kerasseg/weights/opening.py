"""Opens weights by name: those of the catalogue, of Hugging Face, and files."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kerasseg import errors
from kerasseg.system import names
from kerasseg.weights import (
    archives,
    cache,
    catalogue,
    downloads,
    families,
    files,
    hugging_face,
    licenses,
)
from kerasseg.weights.networks import Network

_ENDINGS = (
    *(".pth", ".pt", ".bin", ".safetensors", ".json", ".h5", ".keras", ".ckpt"),
    *(".index", ".tar", ".gz", ".zip", ".npz", ".onnx", ".pb"),
)


class Opened(NamedTuple):
    """Weights that were read.

    Attributes:
        arrays: Arrays by name, as the file orders their axes.
        network: What they are of.
        entry: Their entry in the catalogue; None for other weights.
        path: The file or folder that was read.
        source: The name or path that was given.
    """

    arrays: Mapping[str, np.ndarray]
    network: Network
    entry: catalogue.Entry | None
    path: pathlib.Path
    source: str


def open_weights(
    source: str | os.PathLike,
    *,
    kind: str | None = None,
    family: str | None = None,
    accept_license: bool = False,
) -> Opened:
    """Reads weights, and finds out what network they are of.

    Args:
        source: Path of a file, folder or checkpoint of TensorFlow; or one of
            `list_weights()`; or "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION", a network
            of Hugging Face. A path that exists goes first.
        kind: "model" or "encoder", if only such weights are useful; None for any.
        family: Name of the family of the network, if several recognize it.
        accept_license: Whether a license that forbids commercial use is accepted.

    Returns:
        What was read. Weights that are not in the cache are downloaded.

    Raises:
        errors.UserError: There are no such weights, they are of another kind, their
            network is not known, or their license is not accepted.
        errors.MissingFileError: `source` is a path that does not exist.
        downloads.DownloadError: They cannot be downloaded.
    """
    if kind not in (None, *catalogue.KINDS):
        raise errors.UserError(
            f"`kind={kind}` must be one of {catalogue.KINDS}, or None."
        )
    entry = None
    if _exists(source):
        path = pathlib.Path(source)
    else:
        text = os.fspath(source)
        if not text.startswith(hugging_face.PREFIX):
            entry = _lookup(text)
            _check_kind(text, entry.kind, kind)
        path = _download(text, entry, accept_license)
    arrays = files.read(path)
    shapes = {name: array.shape for name, array in arrays.items()}
    config = {**_config(path), **(entry.config if entry else {})}
    try:
        network = families.recognize(
            shapes, config, family=family or (entry.family if entry else None)
        )
    except errors.UserError as error:
        error.args = (f"{names.printable(source)}: {error}",)
        raise
    _check_kind(source, network.kind, kind)
    network = _with_classes(network, entry)
    return Opened(arrays, network, entry, path, os.fspath(source))


def _exists(source):
    path = os.fspath(source)
    return os.path.exists(path) or os.path.isfile(f"{path}.index")


def _lookup(name):
    is_path = name.endswith(_ENDINGS) or name[:1] in ("/", ".", "~")
    if is_path and name not in catalogue.entries():
        raise errors.MissingFileError(
            f"{names.printable(name)} does not exist. Correct the path, or give a name "
            "of kerasseg.list_weights()."
        )
    return catalogue.lookup(name)


def _check_kind(source, found, kind):
    if kind in (None, found):
        return
    if kind == "model":
        raise errors.UserError(
            f"{names.printable(source)} has the weights of an encoder, without a head "
            "for segmentation. Give it as `backbone_weights`, or give weights of a "
            "whole network."
        )
    raise errors.UserError(
        f"{names.printable(source)} has the weights of a whole network, expected those "
        "of an encoder. Give it as `weights`, or give weights of an encoder."
    )


def _download(name: str, entry: catalogue.Entry | None, accept: bool) -> pathlib.Path:
    if entry is None or entry.hugging_face:
        repository = hugging_face.parse(entry.hugging_face if entry else name)
        return hugging_face.download(repository, entry, accept)
    folder = cache.folder(*entry.name.split("/"))
    paths = [folder / downloads.file_name(file.url) for file in entry.files]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        cache.check_online(entry.files[missing[0]].url, paths[missing[0]])
        licenses.show_license(entry, accept)
    for file in entry.files:
        downloads.fetch(file, folder)
    if paths[0].name.endswith(archives.SUFFIXES):
        return archives.unpack(paths[0])
    return paths[0]


def _config(path: pathlib.Path) -> dict[str, Any]:
    """Returns the configuration of a network in the layout of Hugging Face."""
    if path.is_dir():
        return hugging_face.read_config(path)
    if path.name in hugging_face.WEIGHTS:
        return hugging_face.read_config(path.parent)
    return {}


def _with_classes(network: Network, entry: catalogue.Entry | None) -> Network:
    """Adds the classes of the entry's data set if the network has none."""
    if not entry or not entry.dataset or network.class_names or network.kind != "model":
        return network
    classes = families.classes_of(entry.dataset, network.num_classes)
    return dataclasses.replace(network, **classes)
