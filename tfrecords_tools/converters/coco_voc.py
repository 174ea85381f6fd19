"""Lists the part of COCO 2017 that DeepLab is pretrained on, with VOC's classes."""

from collections.abc import Callable

from tfrecords_tools.annotations import coco as coco_files
from tfrecords_tools.converters import coco, pairs

# VOC's class number by COCO's category id.
CLASSES = {5: 1, 2: 2, 16: 3, 9: 4, 44: 5, 6: 6, 3: 7, 17: 8, 62: 9, 21: 10, 67: 11}
CLASSES |= {18: 12, 19: 13, 4: 14, 1: 15, 64: 16, 20: 17, 63: 18, 7: 19, 72: 20}
MIN_PIXELS = 1000

instance_format = coco.instance_format


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads COCO's lists; "train" has the images with a large enough region.

    Raises:
        errors.MissingFileError: A folder or the file is missing.
        errors.UserError: There is no such split, or the file is not from COCO 2017.
    """
    return list_large("coco_voc", split, source, lambda areas: max(areas, default=0))


def list_large(
    dataset: str, split: str, source: pairs.Source, size: Callable
) -> list[pairs.Pair]:
    """Reads COCO's lists; "train" has the images of more than `MIN_PIXELS`.

    Args:
        dataset: Name of the data set.
        split: "train" or "val".
        source: Where COCO is.
        size: Function of the areas of an image's annotations of VOC's classes, in
            pixels, crowds included, to the number that is compared.

    Raises:
        errors.MissingFileError: A folder or the file is missing.
        errors.UserError: There is no such split, or the file is not from COCO 2017.
    """
    folder, images = coco.read_part(dataset, split, source)
    return [
        coco.make_pair(folder, image, CLASSES, source.instances)
        for image in images
        if split == "val" or size(_areas(image)) > MIN_PIXELS
    ]


def _areas(image: coco_files.CocoImage) -> list[float]:
    return [x["area"] for x in image.annotations if x["category_id"] in CLASSES]


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the image and draws its label. Other things are background.

    Raises:
        ImageError: An annotation cannot be drawn.
    """
    return coco.draw_pair(pair, CLASSES)
