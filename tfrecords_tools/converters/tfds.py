"""Lists the pairs of a data set of TensorFlow Datasets that was prepared before.

Its record files are read with random access, without TensorFlow. Nothing is downloaded.
"""

import dataclasses
import functools
import os
import pathlib

from kerasseg import datasets, errors, records
from kerasseg.records import shards
from tfrecords_tools.converters import class_lists, pairs

_DEFAULT_DIR = "~/tensorflow_datasets"  # The default of TensorFlow Datasets.
_MASKS = ("segmentation_mask", "segmentation_label", "mask", "annotation", "label")
_IMAGES = ("image", "image_left")


@dataclasses.dataclass(frozen=True)
class Converter:
    """The converter of one data set, see `registry.converter`.

    Attributes:
        dataset: "tfds:", then NAME or NAME/CONFIG, perhaps with ":VERSION".
    """

    dataset: str

    def make_spec(self, source: pairs.Source) -> datasets.DatasetSpec:
        """Returns the spec, with the user's classes or else those of the data set.

        Raises:
            errors.UserError: No classes are named, or the data set does not have one
                image and one mask.
            errors.MissingFileError: The data set was not prepared.
        """
        info = self._info(source)
        _, mask = _keys(info.features)
        classes = source.own.classes if source.own else None
        names = getattr(info.features[mask], "names", None)
        if classes is None and names:
            named = [(name, None) for name in names]
            classes = class_lists.make_list(named, self.dataset)
        if classes is None:
            raise errors.UserError(
                f"{self.dataset} does not name the classes of its '{mask}'. Name them "
                "in the order of their numbers, as in `classes=background,road`. If "
                "these start at 1, add `label_offset=-1`."
            )
        counts = {split: part.num_examples for split, part in info.splits.items()}
        return datasets.DatasetSpec(
            name=self.dataset,
            source="https://www.tensorflow.org/datasets",
            classes=classes.with_palette(),
            num_images=counts,
        )

    def list_splits(self, source: pairs.Source) -> list[str]:
        """Lists the splits."""
        return list(self._info(source).splits)

    def list_pairs(self, split: str, source: pairs.Source) -> list[pairs.Pair]:
        """Lists the records of a split. A name holds the number of file and record.

        Raises:
            errors.MissingFileError: The data set was not prepared.
            errors.UserError: There is no such split, or its files are damaged.
        """
        info = self._info(source)
        if split not in info.splits:
            raise errors.UserError(
                f"{self.dataset} has no split '{split}', only "
                f"{', '.join(info.splits)}. Choose from these with `splits`."
            )
        return [
            pairs.Pair(f"{split}_{shard:05d}_{i:06d}", path, path)
            for shard, path in enumerate(map(str, info.splits[split].filepaths))
            for i in range(len(records.scan_shard(path)))
        ]

    def read_pair(self, pair: pairs.Pair) -> pairs.Contents:
        """Reads the encoded image and mask of a record.

        Raises:
            RecordError: The record is damaged.
        """
        library = _library()
        data = _read_record(pair.image, int(pair.name.rsplit("_", 1)[1]))
        features = _features(os.path.dirname(pair.image))
        image, mask = _keys(features)
        skip = library.decode.SkipDecoding()
        example = features.deserialize_example_np(
            data, decoders={image: skip, mask: skip}
        )
        return pairs.Contents(example[image], example[mask])

    def _info(self, source):
        folder = source.source_dir or pathlib.Path(_DEFAULT_DIR).expanduser()
        full_name = self.dataset.removeprefix(pairs.TFDS)
        name, _, version = full_name.partition(":")
        name, _, config = name.partition("/")
        given = {"config": config or None, "version": version or None}
        from_files = _library().core.read_only_builder.builder_from_files
        try:
            info = from_files(name, data_dir=str(folder), **given).info
        except ValueError as error:
            raise errors.MissingFileError(
                f"{folder} has no prepared '{full_name}' of TensorFlow Datasets. "
                f"Prepare it first with tensorflow_datasets.builder('{full_name}')"
                ".download_and_prepare(), or give its folder with `source_dir`."
            ) from error
        if info.file_format.value != "tfrecord":
            raise errors.UserError(
                f"{self.dataset} is stored as {info.file_format.value}, expected "
                "tfrecord. Prepare it again with file_format='tfrecord'."
            )
        return info


def _library():
    try:
        import tensorflow_datasets
        import tensorflow_datasets.core.read_only_builder
    except ImportError as error:
        raise errors.MissingPackageError(
            "Data sets of TensorFlow Datasets need tensorflow-datasets. It is not "
            "installed: pip install 'kerasseg[datasets]'."
        ) from error
    return tensorflow_datasets


@functools.lru_cache(maxsize=1)
def _features(folder):
    return _library().features.FeatureConnector.from_config(folder)


def _keys(features):
    """Returns the names of the features that hold the image and the mask."""
    kind = _library().features.Image
    keys = [key for key, feature in features.items() if isinstance(feature, kind)]
    masks = [key for key in keys if key in _MASKS or hasattr(features[key], "names")]
    images = [key for key in keys if key in _IMAGES]
    if len(masks) != 1 or len(images) != 1:
        listed = ", ".join(sorted(features))
        raise errors.UserError(
            f"The data set has the features {listed}, expected one image, named "
            f"{' or '.join(_IMAGES)}, and one mask, named {', '.join(_MASKS)} or "
            "with class names. Choose another data set, or save its files and use "
            f"`dataset={pairs.OWN}`."
        )
    return images[0], masks[0]


@functools.lru_cache(maxsize=8)
def _scan(path, time):
    del time  # A file that was replaced is scanned again.
    return records.scan_shard(path)


def _read_record(path, i):
    start, length = _scan(path, os.stat(path).st_mtime_ns)[i].tolist()
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), length + shards.FOOTER.size, start)
    (crc,) = shards.FOOTER.unpack(data[length:])
    if crc != shards.masked_crc(data[:length]):
        raise records.RecordError(
            f"{path}, record {i}: the data's checksum is wrong. Prepare the data "
            "set again."
        )
    return data[:length]
