"""Reads every image of a split: its faults, its sizes, its class frequencies."""

import collections
import dataclasses

from kerasseg import records
from kerasseg.images import RGB, ImageKind
from kerasseg.pipeline import class_statistics
from kerasseg.system import processes, progress
from tfrecords_tools.doctor import limited, object_counts, splits


@dataclasses.dataclass(frozen=True)
class Survey:
    """Statistics of a split.

    Attributes:
        counts: Frequency of each class.
        sizes: Number of images by (height, width).
        num_unlabeled: Number of images without a label.
        faults: A message for each bad image.
        objects: Numbers of instances.
        image_kind: Statistics of the channels.
    """

    counts: class_statistics.ClassCounts
    sizes: collections.Counter
    num_unlabeled: int
    faults: tuple[str, ...]
    objects: object_counts.ObjectCounts
    image_kind: ImageKind = RGB


def survey(reader: splits.SplitReader) -> Survey:
    """Reads all images on all cores. Bad images are listed, not raised."""
    sizes: collections.Counter = collections.Counter()
    faults: list[str] = []
    num_unlabeled = 0
    objects = object_counts.ObjectCounts.zeros(reader.spec.num_classes)
    summaries = []

    def labels():
        nonlocal num_unlabeled
        for fault, value in _decode_all(reader):
            if fault:
                faults.append(fault)
                continue
            size, label, found, summary = value
            summaries.append(summary)
            sizes[size] += 1
            objects.add(found)
            if label is None:
                num_unlabeled += 1
            else:
                yield label

    counts = class_statistics.count_classes(
        labels(), reader.spec.num_classes, multi_label=reader.spec.multi_label
    )
    kind = records.combine(summaries, reader.spec.image_kind)
    return Survey(counts, sizes, num_unlabeled, tuple(faults), objects, kind)


def _decode_all(reader):
    """Yields the fault and what `splits.read_label` returns of each image, in order."""

    def decode(i):
        try:
            item = reader.get(i)
        except (ValueError, OSError) as error:
            return limited.Outcome(None, str(error))
        arguments = reader.spec, reader.encode, item
        return limited.call(splits.read_label, arguments, reader.max_pixels)

    found = processes.in_order(
        decode, range(reader.count), num_threads=processes.num_cores()
    )
    with progress.track(reader.count, unit="image", text=reader.split) as bar:
        for i, outcome in enumerate(found):
            bar.update()
            if outcome.fault:
                yield f"{reader.locate(i)}: {outcome.fault}", None
            else:
                yield "", outcome.value
