"""Workdirs of networks that other programs trained: converted weights, by name.

A converted network is a workdir without checkpoints: its best model, with architecture
and options, and the names of its classes. It can be used like the workdir of a run.
"""

import json
import os
import pathlib
import tempfile
import urllib.parse

from kerasseg import datasets, weights
from kerasseg.images import palettes
from kerasseg.system import files
from kerasseg.workdir import flag_file, layout

# Part of the path of converted networks: a later number converts them again.
_CONVERSION = "1"


def path_of(source: str | os.PathLike, *, accept_license: bool = False) -> str:
    """Returns the path of a network, and converts it first if it is given by name.

    Args:
        source: Any path, which is returned as it is; or a name that does not exist as a
            path, such as "torchvision/deeplabv3_resnet50_coco_voc" or "hf:OWNER/NAME".
            Its weights are downloaded once; see `weights.open_weights`.
        accept_license: See `weights.open_weights`.

    Raises:
        errors.UserError: See `weights.open_weights`.
        OSError: The weights cannot be downloaded or stored.
    """
    name = os.fspath(source)
    if os.path.exists(name) or not weights.is_name(name):
        return name
    folder = weights.cache.folder("networks", _CONVERSION, *_parts(name))
    if not (folder / layout.BEST_METADATA).exists():
        opened = weights.open_weights(name, kind="model", accept_license=accept_license)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            write(opened, os.path.join(temporary, "network"))
            if not folder.exists():  # Another process can have been faster.
                os.rename(os.path.join(temporary, "network"), folder)
    return os.fspath(folder)


def _parts(name):
    """Returns the folders of a name: of OWNER/NAME@main, each part is one."""
    return [urllib.parse.quote(part, safe="@") for part in name.split("/")]


def save(opened: "weights.Opened", output: str | os.PathLike) -> None:
    """Saves a network as a `.keras` file, or as a workdir; see `write`."""
    output = os.fspath(output)
    folder = os.path.dirname(os.path.abspath(output))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        workdir = os.path.join(temporary, "network")
        write(opened, workdir)
        if output.endswith(".keras"):
            workdir = os.path.join(workdir, layout.BEST_MODEL)
        os.rename(workdir, output)


def write(opened: "weights.Opened", folder: str | os.PathLike) -> None:
    """Writes the workdir of a network.

    Args:
        opened: Its weights.
        folder: A new folder.

    Raises:
        errors.UserError: The arrays are not those of the network.
        OSError: The folder exists, or cannot be written.
    """
    from kerasseg.models import imported
    from kerasseg.workdir import best_model

    network = opened.network
    model = imported.build(opened.arrays, network)
    os.makedirs(folder)
    spec = json.dumps(spec_of(opened).to_json(), indent=2) + "\n"
    files.write_bytes(os.path.join(folder, layout.DATASET), spec.encode())
    flag_file.keep_format(folder, flag_file.FORMAT)
    metadata = {
        "model": network.model,
        "num_classes": network.num_classes,
        "options": options_of(network),
        "step": 0,
        "scores": {},
        "weights": opened.source,
    }
    best_model.save_best(folder, model, metadata)


def options_of(network: "weights.Network") -> dict:
    """Returns the options of `models.build_model` with which a network is the same."""
    options = dict(network.options)
    if not callable(network.epsilon):
        options["batch_norm_epsilon"] = network.epsilon
    return options


def spec_of(opened: "weights.Opened") -> datasets.DatasetSpec:
    """Returns the classes of a network as the specification of a data set.

    Classes without names are called by their numbers; those without colors get those of
    `palettes.voc_palette`.
    """
    network = opened.network
    names = tuple(network.class_names) or tuple(map(str, range(network.num_classes)))
    palette = network.palette or palettes.voc_palette(len(names)).tolist()
    name = opened.entry.dataset if opened.entry is not None else ""
    return datasets.DatasetSpec(
        source=opened.source,
        classes=dict(zip(names, map(tuple, palette), strict=True)),
        num_images={},
        name=name or pathlib.PurePath(opened.source).name,
    )
