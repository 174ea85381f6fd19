"""Lists of the images of a split whose labels are used: training with few labels.

The records keep all labels. A list is drawn with a seed, or read from a file such as
those that are published with papers.
"""

import dataclasses
import fractions
import hashlib
import itertools
import os
import re
from collections.abc import Collection, Iterator

import numpy as np

from kerasseg import errors
from kerasseg.system import files, names

# Numbers of labeled images that papers compare, and of all images of the split:
# https://arxiv.org/abs/2106.01226, section 4.1. The papers' own draws are not used.
SIZES = {
    "voc_1_16_size": (662, 10_582),
    "voc_1_8_size": (1_323, 10_582),
    "voc_1_4_size": (2_646, 10_582),
    "cityscapes_1_16_size": (186, 2_975),
    "cityscapes_1_8_size": (372, 2_975),
    "cityscapes_1_4_size": (744, 2_975),
}
_MAX_SHOWN = 10  # Names in a message.
_CITYSCAPES = "_leftImg8bit"  # End of the names of its files, not of its records.


@dataclasses.dataclass(frozen=True)
class LabeledList:
    """The images whose labels are used; those of all others are not.

    Attributes:
        names: Names of the images as `schema.parse_example` returns them, sorted, each
            once.
        origin: How the list was made, such as "split_seed=0" or the name of a file.
    """

    names: tuple[str, ...]
    origin: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def checksum(self) -> str:
        """SHA-256 of the names in UTF-8, each with a line feed; without the origin."""
        text = "".join(f"{name}\n" for name in self.names)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

    def describe(self, split: str, total: int) -> str:
        """Returns a line about the list.

        Args:
            split: Name of the split.
            total: Number of its images.
        """
        return (
            f"{split}: the labels of {len(self):,} of {total:,} images are used "
            f"({self.origin}), SHA-256 {self.checksum}"
        )


def count_labeled(amount: str, total: int) -> int:
    """Returns the number of images that a fraction, or the name of a size, stands for.

    Args:
        amount: A fraction as "1/8" or "0.125", above 0 and at most 1, which is rounded
            to the nearest number of images, half up, and to at least one; or a key of
            `SIZES`.
        total: Number of images of the split.

    Raises:
        errors.UserError: It is neither, or the size is of a split with another number
            of images.
    """
    if amount in SIZES:
        count, size = SIZES[amount]
        if total != size:
            raise errors.UserError(
                f"`labeled_fraction={amount}` is the size of a list for a split of "
                f"{size:,} images, this one has {total:,}. Give "
                f"`labeled_count={count}` for as many images, or a fraction."
            )
        return count
    try:
        fraction = fractions.Fraction(amount.strip())
    except (ValueError, ZeroDivisionError):
        fraction = fractions.Fraction(0)
    if not 0 < fraction <= 1:
        raise errors.UserError(
            f"`labeled_fraction={amount}` must be a fraction above 0 and at most 1, "
            f"such as 1/8 or 0.125, or one of {', '.join(SIZES)}."
        )
    return max(1, int(fraction * total + fractions.Fraction(1, 2)))


def draw(image_names: Collection[str], count: int, seed: int) -> LabeledList:
    """Draws images at random.

    The draw depends on the set of names and the seed only. A smaller draw with the same
    seed is a subset of a larger one.

    Args:
        image_names: Names of all images that have a label.
        count: Number of images to draw.
        seed: Random seed, at least 0.

    Raises:
        errors.UserError: There are fewer images than `count`, or `count` is below 1.
    """
    ordered = sorted(image_names)
    if not 1 <= count <= len(ordered):
        raise errors.UserError(
            f"`labeled_count={count}` must be from 1 to the {len(ordered):,} images of "
            "the split that have a label."
        )
    chosen = np.random.default_rng(seed).permutation(len(ordered))[:count]
    listed = tuple(sorted(ordered[i] for i in chosen.tolist()))
    return LabeledList(listed, f"split_seed={seed}")


def read_list(
    path: str | os.PathLike,
    image_names: Collection[str],
    unlabeled: Collection[str] = (),
) -> LabeledList:
    """Reads a file with the name of one image per line, in any order.

    A line may also be the path of an image with any folders and ending, and the path of
    its label may follow after white space, as in published lists.

    Args:
        path: The file, in UTF-8. Empty lines are skipped.
        image_names: Names of the images of the split that have a label.
        unlabeled: Names of those without one.

    Raises:
        errors.MissingFileError: There is no such file.
        errors.UserError: It is not UTF-8 or empty, or a line names no image, an image
            without a label, or one that an earlier line names.
    """
    index = NameIndex([*image_names, *unlabeled])
    lines = [line.strip() for line in files.read_text(path).splitlines()]
    lines = [line for line in lines if line]
    found = [index.find(line) for line in lines]
    unknown = [line for line, name in zip(lines, found, strict=True) if name is None]
    if not lines:
        raise errors.UserError(
            f"{path} is empty. List the names of the labeled images, one per line."
        )
    if unknown:
        raise errors.UserError(
            f"{path} lists {len(unknown):,} names that no image of the split has: "
            f"{_shorten(unknown)}. Correct or remove these lines. Names of images look "
            f"like {', '.join(sorted(image_names)[:3])}."
        )
    listed = sorted(name for name in found if name is not None)
    double = [a for a, b in itertools.pairwise(listed) if a == b]
    if double:
        raise errors.UserError(
            f"{path} lists {_shorten(sorted(set(double)))} more than once. Remove the "
            "double lines."
        )
    without = sorted({*listed} & {*unlabeled})
    if without:
        raise errors.UserError(
            f"{path} lists {len(without):,} images without a label: "
            f"{_shorten(without)}. Remove these lines, or build the images with their "
            "labels."
        )
    return LabeledList(tuple(listed), names.one_line(os.path.basename(path)))


def as_text(labeled: LabeledList) -> str:
    """Returns the contents of a file that `read_list` reads as the same names."""
    return "".join(f"{names.one_line(name)}\n" for name in labeled.names)


class NameIndex:
    """Names of images, which are found by names, paths, or lines with two paths.

    Args:
        image_names: The names.
    """

    def __init__(self, image_names: Collection[str]):
        self._names = {names.one_line(name).strip(): name for name in image_names}
        self._names.update((name, name) for name in image_names)

    def find(self, text: str) -> str | None:
        """Returns the name of an image, the one with the most folders; or None."""
        return next((self._names[x] for x in _forms(text) if x in self._names), None)


def _forms(text: str) -> Iterator[str]:
    """Yields the names that a line may mean, the longest first."""
    yield text
    for line in dict.fromkeys((text, re.split(r"[\s,;]", text, maxsplit=1)[0])):
        parts = line.replace("\\", "/").split("/")
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            stem = os.path.splitext(name)[0]
            yield from (name, stem, stem.removesuffix(_CITYSCAPES))


def _shorten(listed):
    more = len(listed) - _MAX_SHOWN
    tail = f" and {more:,} more" if more > 0 else ""
    return f"{', '.join(listed[:_MAX_SHOWN])}{tail}"
