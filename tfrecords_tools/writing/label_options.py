"""The flags that say how pictures and masks are read."""

import dataclasses

from kerasseg import errors, images
from tfrecords_tools.converters import class_lists, own_data
from tfrecords_tools.writing import encoding, label_rules


def _flag(default, text):
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelFlags:
    """How pictures and masks are read, as flags say it.

    python -m tfrecords_tools.inspect tells which of them own pictures need.
    """

    classes: str | None = _flag(
        None,
        "Names of the classes in the order of their numbers, with commas between, or "
        "a file with one a line, or a data set that has the same.",
    )
    label_offset: int = _flag(
        0, "What is added to the numbers of masks: -1 where they begin at 1."
    )
    label_map: str = _flag(
        "",
        "Numbers of masks, or names of annotations, and what they become, as FROM:TO "
        "with commas between; 255 is ignored.",
    )
    colormap: str = _flag(
        "",
        "For masks of colours: a data set, a file with R G B NAME a line, grey, or "
        "RRGGBB:NUMBER; several with commas between.",
    )
    palette_colors: bool = _flag(
        False, "Read masks with a palette by --colormap, not by their numbers."
    )
    mask_tolerance: int = _flag(
        0,
        "For JPEG and resized masks: a value so far from one of --colormap or "
        "--label_map, of 255, counts as it; what is farther is ignored.",
    )
    resize_masks: bool = _flag(
        False, "Bring masks of another size to that of their picture, nearest pixel."
    )

    apply_exif: bool = _flag(
        False, "Store pictures upright that EXIF says are rotated."
    )
    ignore_exif: bool = _flag(
        False, "Store such pictures as they are, where their masks fit them so."
    )

    def read(self, max_pixels: int = images.DEFAULT_MAX_PIXELS) -> "Labels":
        """Makes rules of the texts.

        Args:
            max_pixels: Larger pictures are refused.

        Raises:
            ValueError: A text cannot be read, or texts do not fit each other.
        """
        classes = class_lists.read_classes(self.classes) if self.classes else None
        numbers, names = class_lists.read_label_map(self.label_map)
        colors, classes = class_lists.read_colormap(self.colormap, classes, names)
        if classes:
            classes = classes.with_colors(colors)
        if not 0 <= self.mask_tolerance <= 255:
            raise errors.UserError(
                f"`mask_tolerance` is a distance from 0 to 255, got "
                f"{self.mask_tolerance}."
            )
        if self.mask_tolerance and not (numbers or colors):
            raise errors.UserError(
                "`mask_tolerance` needs the values that are meant: give `colormap` for "
                "masks of colours, `label_map` for grey ones."
            )
        rules = label_rules.LabelRules(
            offset=self.label_offset,
            numbers=tuple(numbers.items()),
            colors=colors,
            palette_colors=self.palette_colors,
            tolerance=self.mask_tolerance,
            resize=self.resize_masks,
        )
        reading = encoding.Rules(max_pixels, self.apply_exif, self.ignore_exif, rules)
        return Labels(classes, tuple(names.items()), reading)


@dataclasses.dataclass(frozen=True)
class Labels:
    """What `LabelFlags` say.

    Attributes:
        classes: The classes, None where no flag names them.
        name_map: Names in annotations with the numbers that they become.
        rules: How pictures and masks are read.
    """

    classes: class_lists.ClassList | None
    name_map: tuple[tuple[str, int], ...]
    rules: encoding.Rules


def with_classes(own: own_data.OwnData, reading: LabelFlags) -> own_data.OwnData:
    """Returns own pictures with the classes that flags name."""
    labels = reading.read()
    return dataclasses.replace(own, classes=labels.classes, name_map=labels.name_map)
