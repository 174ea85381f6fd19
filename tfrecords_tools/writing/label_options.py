"""Options for reading images and masks."""

import dataclasses
from typing import Any

from kerasseg import errors, images
from tfrecords_tools.converters import class_lists, own_data
from tfrecords_tools.writing import encoding, label_rules


def _option(default, text) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How images and masks are read. Fields with a help text are flags.

    python -m tfrecords_tools.inspect reports which of them your own images need.
    """

    classes: str | None = _option(
        None,
        "Comma-separated names of the classes in the order of their numbers; or a file "
        "with one per line; or the name of a data set with the same classes.",
    )
    label_offset: int = _option(
        0, "Number to add to all values of masks: -1 if they start at 1."
    )
    label_map: str = _option(
        "",
        "Comma-separated FROM:TO, where FROM is a value of masks or a name in "
        "annotations, and TO a class number or 255 (ignored).",
    )
    colormap: str = _option(
        "",
        "For color masks, comma-separated: a data set, a file with R G B NAME per "
        "line, grey, or RRGGBB:NUMBER.",
    )
    palette_colors: bool = _option(
        False, "Read masks with a palette by --colormap instead of by their values."
    )
    mask_tolerance: int = _option(
        0,
        "For JPEG and resized masks: largest distance (0 to 255) of a value from one "
        "in --colormap or --label_map at which it counts as that one. Others are "
        "ignored.",
    )
    resize_masks: bool = _option(
        False, "Resize masks to the size of their image, with nearest neighbor."
    )

    apply_exif: bool = _option(
        False, "Store images upright that are rotated according to EXIF."
    )
    ignore_exif: bool = _option(
        False, "Store such images unchanged, if their masks fit them as stored."
    )

    def read(self, max_pixels: int = images.DEFAULT_MAX_PIXELS) -> "Labels":
        """Parses the options.

        Args:
            max_pixels: Images with more pixels are refused.

        Raises:
            errors.UserError: An option cannot be parsed, or options do not fit
                together.
        """
        classes = class_lists.read_classes(self.classes) if self.classes else None
        numbers, names = class_lists.read_label_map(self.label_map)
        colors, classes = class_lists.read_colormap(self.colormap, classes, names)
        if classes:
            classes = classes.with_colors(colors)
        if not 0 <= self.mask_tolerance <= 255:
            raise errors.UserError(
                f"`mask_tolerance={self.mask_tolerance}` is out of range. Give a "
                "distance from 0 to 255."
            )
        if self.mask_tolerance and not (numbers or colors):
            raise errors.UserError(
                "`mask_tolerance` needs the exact values. Give `colormap` for color "
                "masks, or `label_map` for grayscale masks."
            )
        rules = label_rules.LabelRules(
            offset=self.label_offset,
            numbers=tuple(numbers.items()),
            colors=colors,
            palette_colors=self.palette_colors,
            tolerance=self.mask_tolerance,
            resize=self.resize_masks,
        )
        encoding_rules = encoding.Rules(
            max_pixels, self.apply_exif, self.ignore_exif, rules
        )
        return Labels(classes, tuple(names.items()), encoding_rules)

    def add_classes(self, own: own_data.OwnData) -> own_data.OwnData:
        """Returns own images with the classes of these options."""
        labels = self.read()
        return dataclasses.replace(
            own, classes=labels.classes, name_map=labels.name_map
        )


@dataclasses.dataclass(frozen=True)
class Labels:
    """The parsed `LabelOptions`.

    Attributes:
        classes: The classes; None if no option names them.
        name_map: Class numbers of names in annotations.
        rules: How images and masks are read.
    """

    classes: class_lists.ClassList | None
    name_map: tuple[tuple[str, int], ...]
    rules: encoding.Rules
