"""`kerasseg.data`: images and masks as a data set, for `kerasseg.fit` or Keras' fit.

All functions give a `Dataset` of records. Those of files and arrays build the records
first, with all checks of `tfrecords_tools.build`, into `records_dir`; by default into
a folder of the cache (`$XDG_CACHE_HOME/kerasseg/records`, or ~/.cache), whose name
depends on the arguments. A second call builds only what changed.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasseg import datasets, errors, records
from kerasseg.images import RGB
from kerasseg.pipeline import array_records
from kerasseg.pipeline.augment import Augmentation
from kerasseg.pipeline.dataset import Dataset
from kerasseg.system import progress

__all__ = [
    "Augmentation",
    "Dataset",
    "from_annotations",
    "from_arrays",
    "from_coco",
    "from_dataset",
    "from_folder",
    "from_records",
]


def from_records(
    records_dir: str | os.PathLike, split: str = "train", *, dataset: str | None = None
) -> Dataset:
    """Opens records that exist; see `Dataset` for arguments and errors."""
    return Dataset(records_dir, split, dataset=dataset)


def from_folder(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    classes: str | Sequence[str] | None = None,
    *,
    records_dir: str | os.PathLike | None = None,
    split: str = "train",
    seed: int = 1,
    workers: int = 0,
    **options: Any,
) -> Dataset:
    """Builds records of images and masks in files.

    Args:
        images: Folder, or pattern such as "photos/*.jpg". What the wildcards match is
            the name of the image; `{split}` matches the name of a split.
        masks: Folder or pattern of the masks, with the same names.
        classes: Names of the classes in the order of their numbers, or a file with one
            per line. None if the option `colormap` names them.
        records_dir: Folder of the records; None for one in the cache.
        split: Split that is opened: by default, images are divided at random into train
            and val, see the option `val_fraction`.
        seed: Seed of this division.
        workers: Number of processes; 0 for none besides this one.
        **options: Further flags of `tfrecords_tools.build` by name, such as
            `val_fraction=0.1`, `label_map="11:255"`, `colormap`, `label_offset`,
            `leave_out` and `ignore_exif`; see docs/data.md.

    Raises:
        errors.MissingFileError: There is no image or no mask.
        errors.UserError: An option is unknown or wrong, files have no counterpart, or
            an image or mask cannot be used; the message names it.
    """
    files = {"images": images, "masks": masks, "classes": classes, **options}
    return _own_images(files, records_dir, split, seed, workers)


def from_annotations(
    images: str | os.PathLike,
    annotations: str | os.PathLike,
    classes: str | Sequence[str] | None = None,
    *,
    records_dir: str | os.PathLike | None = None,
    split: str = "train",
    seed: int = 1,
    workers: int = 0,
    **options: Any,
) -> Dataset:
    """Builds records of images and COCO, labelme, Label Studio or CVAT annotations.

    Args:
        images: See `from_folder`, as the arguments after `classes`.
        annotations: File, folder or pattern of the annotations.
        classes: Names of the classes in the order of their numbers; None for
            "background" and those that the annotations name.
        records_dir: See `from_folder`.
        split: See `from_folder`.
        seed: See `from_folder`.
        workers: See `from_folder`.
        **options: See `from_folder`; also `skip_shapes` and
            `unannotated_as_background`.

    Raises:
        errors.MissingFileError: There is no image or no annotation file.
        errors.UserError: See `from_folder`; or an annotation cannot be drawn.
    """
    files = {"images": images, "annotations": annotations, "classes": classes}
    return _own_images({**files, **options}, records_dir, split, seed, workers)


def from_coco(
    images: str | os.PathLike, annotations: str | os.PathLike, **options: Any
) -> Dataset:
    """Builds records of images and a file of COCO JSON.

    Args:
        images: Folder or pattern of the images.
        annotations: File such as instances_train2017.json.
        **options: Other arguments of `from_annotations`.

    Raises:
        errors.UserError: See `from_annotations`; or the file is no JSON file.
    """
    if pathlib.Path(annotations).suffix.lower() != ".json":
        raise errors.UserError(
            f"`annotations={annotations}` is not a JSON file. from_annotations reads "
            "other annotations."
        )
    return from_annotations(images, annotations, **options)


def from_dataset(
    dataset: str,
    source_dir: str | os.PathLike | None = None,
    *,
    records_dir: str | os.PathLike | None = None,
    split: str = "train",
    seed: int = 1,
    workers: int = 0,
    **options: Any,
) -> Dataset:
    """Builds records of a published data set, or of the drawn one, shapes.

    Args:
        dataset: Name of the data set, see docs/datasets.md, or "tfds:NAME".
        source_dir: Folder of the files as their authors publish them; None if images
            are drawn.
        records_dir: See `from_folder`, as `split` and `workers`.
        split: Split that is opened; all are built.
        seed: Seed of drawn images.
        workers: See `from_folder`.
        **options: Other fields of `tfrecords_tools.converters.pairs.Source`, such as
            `num_drawn=40` for shapes.

    Raises:
        errors.MissingFileError: A folder or a list is missing.
        errors.UserError: The data set or an option is unknown, or an image is bad.
    """
    from tfrecords_tools.converters import pairs

    known = {field.name for field in dataclasses.fields(pairs.Source)} - {"own"}
    _check_options(options, known)
    if source_dir is not None:
        options["source_dir"] = pathlib.Path(source_dir).absolute()
    source = pairs.Source(seed=seed, **options)
    return _build(dataset, source, None, records_dir, split, workers)


def from_arrays(
    images: Sequence[np.ndarray] | np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray,
    classes: str | Sequence[str],
    *,
    names: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    records_dir: str | os.PathLike | None = None,
    split: str = "train",
    seed: int = 1,
    multi_label: bool = False,
) -> Dataset:
    """Writes records of images and masks that are arrays.

    Args:
        images: RGB images, uint8 `[height, width, 3]` each; or of 1 to 32 channels,
            uint8, uint16 or float32, equal for all. Sizes may differ.
        masks: Class numbers, `[height, width]` or `[height, width, 1]` each, of any
            integer type; 255 is ignored. With `multi_label`, 0 or 1 for each class,
            `[height, width, num_classes]`.
        classes: Names of the classes in the order of their numbers.
        names: Name of each image; None for "00000", "00001" and so on.
        val_fraction: Fraction of the images that is assigned to the split val, from 0
            up to below 1; at least one image if it is above 0. The others are train.
        records_dir: See `from_folder`.
        split: See `from_folder`.
        seed: See `from_folder`.
        multi_label: Whether a pixel may have several classes, or none.

    Raises:
        errors.UserError: An argument is wrong, an array has another shape or type, a
            label is out of range, or `records_dir` holds other records. The message
            names the image.
    """
    from tfrecords_tools.converters import class_lists

    spec = datasets.DatasetSpec(
        name="arrays",
        source="kerasseg.data",
        classes=class_lists.read_classes(_class_text(classes)).with_palette(
            multi_label=multi_label
        ),
        num_images={},
        multi_label=multi_label,
    )
    names = [f"{i:05d}" for i in range(len(images))] if names is None else names
    kind = array_records.kind_of(images[0]) if len(images) else RGB
    arrays = array_records.Arrays(
        images, masks, list(names), spec.num_classes, kind, multi_label
    )
    splits = _divide(len(images), val_fraction, seed)
    if records_dir is None:
        folder = _cache_folder("arrays", arrays.checksum(), spec, splits)
        if not (folder / records.INFO_FILE).exists():
            array_records.write(arrays, splits, spec, folder)
        _log(folder)
    else:
        folder = pathlib.Path(records_dir)
        array_records.write(arrays, splits, spec, folder)
    return Dataset(folder, split)


def _divide(count, val_fraction, seed):
    if not 0 <= val_fraction < 1:
        raise errors.UserError(
            f"`val_fraction` must be at least 0 and below 1, got {val_fraction}."
        )
    num_val = max(round(val_fraction * count), 1) if val_fraction else 0
    if num_val >= count:
        raise errors.UserError(
            f"`val_fraction={val_fraction}` leaves no image of {count} to train on. "
            "Give more images, or 0."
        )
    order = np.random.default_rng(seed).permutation(count)
    return {
        "train": sorted(order[num_val:].tolist()),
        "val": sorted(order[:num_val].tolist()),
    }


def _class_text(classes):
    """Returns classes as the option of the build: comma-separated names, or a file."""
    from tfrecords_tools.converters import source_files

    if isinstance(classes, str | os.PathLike):
        return os.fspath(classes)
    return source_files.join_commas(list(classes))


def _own_images(files, records_dir, split, seed, workers):
    """Builds records of the user's own images from options of the build."""
    from tfrecords_tools.converters import own_data, pairs
    from tfrecords_tools.writing import label_options

    given = {name: value for name, value in files.items() if value is not None}
    own = {field.name for field in dataclasses.fields(own_data.OwnData)}
    label = {field.name for field in dataclasses.fields(label_options.LabelOptions)}
    own -= {"name_map", *label}
    _check_options(given, own | label | {"instances"})
    if "classes" in given:
        given["classes"] = _class_text(given["classes"])
    instances = bool(given.pop("instances", False))
    for name in ("images", "masks", "annotations", "instance_masks"):
        if name in given:
            given[name] = os.path.abspath(given[name])
    options = label_options.LabelOptions(
        **{name: value for name, value in given.items() if name in label}
    )
    found = options.add_classes(
        own_data.OwnData(**{k: value for k, value in given.items() if k in own})
    )
    source = pairs.Source(seed=seed, own=found, instances=instances)
    rules = options.read().rules
    return _build(pairs.OWN, source, rules, records_dir, split, workers)


def _build(dataset, source, rules, records_dir, split, workers):
    from tfrecords_tools.converters import registry
    from tfrecords_tools.writing import quarantine, writer

    cached = records_dir is None
    folder = _cache_folder(dataset, source, rules) if cached else records_dir
    result = writer.build_records(
        dataset,
        source,
        folder,
        rules=rules,
        engine=lambda *tasks, **more: quarantine.run(
            *tasks, num_workers=workers, **more
        ),
    )
    for name, reason in result.missing_splits.items():
        progress.log(f"{name} is skipped: {reason}")
    passed_over = registry.find_passed_over(dataset, source)
    if passed_over:
        progress.log(f"Passed over, by ending: {len(passed_over)} files.")
    if cached:
        _log(folder)
    return Dataset(folder, split)


def _cache_folder(name, *contents):
    """Returns the folder of records in the cache that were built from these values."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256(repr(contents).encode()).hexdigest()[:16]
    plain = name.replace(":", "_").replace("/", "_")
    return pathlib.Path(root, "kerasseg", "records", f"{plain}-{digest}")


def _log(folder):
    progress.log(f"Records: {folder} (cache; `records_dir` sets another folder)")


def _check_options(given, known):
    unknown = sorted(set(given) - known)
    if unknown:
        raise errors.UserError(
            f"There is no option `{'`, `'.join(unknown)}`. Choose from "
            f"{', '.join(sorted(known))}."
        )
