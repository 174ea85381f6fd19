"""Options for reading images and masks."""

import dataclasses

from kerasseg import datasets, errors, images
from kerasseg.system.option_fields import option
from tfrecords_tools.converters import class_lists, own_data
from tfrecords_tools.writing import encoding, label_rules, scaling


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How images and masks are read. Fields with a help text are flags.

    python -m tfrecords_tools.inspect reports which of them your own images need.
    """

    classes: str | None = option(
        None,
        "Comma-separated class names in the order of their numbers; or a file with "
        "one class per line; or the name of a published data set with the same "
        "classes.",
    )
    label_offset: int = option(
        0,
        "Number to add to all values of the masks except 255: -1 if the class "
        "numbers start at 1.",
    )
    label_map: str = option(
        "",
        "Comma-separated FROM:TO to map values: FROM is a value of the masks, or a "
        "class name in annotations; TO is a class number, or 255 to ignore these "
        "pixels.",
    )
    colormap: str = option(
        "",
        "Classes of the colors of color masks. Comma-separated: the name of a data "
        "set; a file with R G B NAME on each line; grey, if all three channels "
        "contain the class number; or RRGGBB:NUMBER (255: ignored).",
    )
    palette_colors: bool = option(
        False,
        "Read masks with a palette by their colors, with --colormap, instead of "
        "by their values.",
    )
    mask_tolerance: int = option(
        0,
        "For JPEG or interpolated masks: read a pixel as the nearest value in "
        "--colormap or --label_map if it differs by at most this number (0 to 255), "
        "and ignore it otherwise. 0 accepts exact values only.",
    )
    resize_masks: bool = option(
        False,
        "Resize masks that have the aspect ratio of their image, but another "
        "size, with nearest neighbor.",
    )

    apply_exif: bool = option(
        False,
        "Rotate images according to EXIF before they are stored. Use it if the "
        "masks fit the rotated images.",
    )
    ignore_exif: bool = option(
        False,
        "Ignore the EXIF rotation of images. Use it if the masks fit the images "
        "as stored in the file.",
    )
    channels: str = option(
        "",
        "Number of channels of your images, 1 to 32; or rgb to read all of them as "
        "8-bit RGB. Default: those of the first image, where 8-bit gray and "
        "transparency are read as RGB.",
    )
    image_scale: float = option(
        1.0,
        "Factor from 0 to 1 by which images and masks are reduced before they are "
        "stored: 0.25 stores images of 4000 x 3000 pixels as 1000 x 750. Predict with "
        "the same factor in --eval_scales.",
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
            names = {**dict.fromkeys(classes.ignored, datasets.IGNORE_LABEL), **names}
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
        scaling.check(self.image_scale)
        encoding_rules = encoding.Rules(
            max_pixels,
            self.apply_exif,
            self.ignore_exif,
            rules,
            self.channels,
            self.image_scale,
        )
        return Labels(classes, tuple(names.items()), encoding_rules)

    def add_classes(self, own: own_data.OwnData) -> own_data.OwnData:
        """Returns own images with the classes of these options."""
        labels = self.read()
        return dataclasses.replace(
            own,
            classes=labels.classes,
            name_map=labels.name_map,
            ignore_exif=self.ignore_exif,
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
