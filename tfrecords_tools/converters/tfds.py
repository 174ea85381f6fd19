"""Lists the pairs of a set of TensorFlow Datasets that was prepared on this machine.

Its files of records are read at random, without TensorFlow; nothing is downloaded.
"""

import dataclasses
import functools
import os
import pathlib

from kerasseg import datasets, errors, records
from kerasseg.records import shards
from tfrecords_tools.converters import class_lists, pairs

_DEFAULT_DIR = "~/tensorflow_datasets"  # As TensorFlow Datasets has it.
_MASKS = ("segmentation_mask", "segmentation_label", "mask", "annotation", "label")
_IMAGES = ("image", "image_left")


@dataclasses.dataclass(frozen=True)
class Converter:
    """The converter of one set; see `pairs.converter`.

    Attributes:
        dataset: "tfds:", then NAME, NAME/CONFIG or either with ":VERSION".
    """

    dataset: str

    def make_spec(self, source: pairs.Source) -> datasets.DatasetSpec:
        """Makes the facts; classes are those of --classes, or that the set names.

        Raises:
            ValueError: No classes are named, or there is not one picture and one mask.
            FileNotFoundError: The set was not prepared.
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
                "in the order of their numbers: `classes=background,road`; where they "
                "begin at 1, `label_offset=-1` too"
            )
        counts = {split: part.num_examples for split, part in info.splits.items()}
        return datasets.DatasetSpec(
            name=self.dataset,
            source="https://www.tensorflow.org/datasets",
            classes=classes.with_palette(),
            num_images=counts,
        )

    def list_splits(self, source: pairs.Source) -> list[str]:
        """Names the splits."""
        return list(self._info(source).splits)

    def list_pairs(self, split: str, source: pairs.Source) -> list[pairs.Pair]:
        """Numbers the records of a split; a name tells the file and the place in it.

        Raises:
            FileNotFoundError: The set was not prepared.
            ValueError: There is no such split, or its files are damaged.
        """
        info = self._info(source)
        if split not in info.splits:
            raise errors.UserError(
                f"{self.dataset} has no split '{split}', only "
                f"{', '.join(info.splits)}. Choose of them with `splits`"
            )
        return [
            pairs.Pair(f"{split}_{shard:05d}_{i:06d}", path, path)
            for shard, path in enumerate(map(str, info.splits[split].filepaths))
            for i in range(len(records.scan_shard(path)))
        ]

    def read_pair(self, pair: pairs.Pair) -> pairs.Contents:
        """Takes the files of a picture and its mask out of a record, as they are.

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
        wanted = self.dataset.removeprefix(pairs.TFDS)
        name, _, version = wanted.partition(":")
        name, _, config = name.partition("/")
        given = {"config": config or None, "version": version or None}
        from_files = _library().core.read_only_builder.builder_from_files
        try:
            info = from_files(name, data_dir=str(folder), **given).info
        except ValueError as error:
            raise errors.MissingFileError(
                f"{folder} has no prepared '{wanted}' of TensorFlow Datasets. Prepare "
                f"it first, tensorflow_datasets.builder('{wanted}')"
                ".download_and_prepare(), or name its folder with `source_dir`"
            ) from error
        if info.file_format.value != "tfrecord":
            raise errors.UserError(
                f"{self.dataset} is stored as {info.file_format.value}, wanted is "
                "tfrecord. Prepare it again with file_format='tfrecord'"
            )
        return info


def _library():
    try:
        import tensorflow_datasets
        import tensorflow_datasets.core.read_only_builder
    except ImportError as error:
        raise errors.UserError(
            "Sets of TensorFlow Datasets need tensorflow-datasets and it is not "
            "installed: pip install kerasseg[datasets]"
        ) from error
    return tensorflow_datasets


@functools.lru_cache(maxsize=1)
def _features(folder):
    return _library().features.FeatureConnector.from_config(folder)


def _keys(features):
    """Names of the features that hold the picture and the mask."""
    kind = _library().features.Image
    found = [key for key, feature in features.items() if isinstance(feature, kind)]
    masks = [key for key in found if key in _MASKS or hasattr(features[key], "names")]
    pictures = [key for key in found if key in _IMAGES]
    if len(masks) != 1 or len(pictures) != 1:
        raise errors.UserError(
            f"Wanted are one picture, called {' or '.join(_IMAGES)}, and one mask, "
            f"called {', '.join(_MASKS)} or with labels; the set has "
            f"{', '.join(features)}. Take another set, or save its files and use "
            f"`dataset={pairs.OWN}`"
        )
    return pictures[0], masks[0]


@functools.lru_cache(maxsize=8)
def _scan(path, time):
    del time  # A file that was replaced is looked at again.
    return records.scan_shard(path)


def _read_record(path, i):
    start, length = _scan(path, os.stat(path).st_mtime_ns)[i].tolist()
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), length + shards.FOOTER.size, start)
    (crc,) = shards.FOOTER.unpack(data[length:])
    if crc != shards.masked_crc(data[:length]):
        raise records.RecordError(
            f"{path}, record {i}: the data's checksum is wrong. Prepare the set again"
        )
    return data[:length]
