"""Lists the part of COCO 2017 that DeepLab was pretrained on, in VOC's classes."""

from tfrecords_tools.converters import coco, pairs

# Class number of VOC by category id of COCO.
CLASSES = {5: 1, 2: 2, 16: 3, 9: 4, 44: 5, 6: 6, 3: 7, 17: 8, 62: 9, 21: 10, 67: 11}
CLASSES |= {18: 12, 19: 13, 4: 14, 1: 15, 64: 16, 20: 17, 63: 18, 7: 19, 72: 20}
MIN_PIXELS = 1000


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads `coco`'s lists; "train" has what shows enough of VOC's classes.

    Raises:
        FileNotFoundError: A folder or the file is missing.
        ValueError: There is no such split, or the file is none of COCO 2017.
    """
    folder, pictures = coco.read_part("coco_voc", split, source)
    return [
        coco.make_pair(folder, picture, CLASSES)
        for picture in pictures
        if split == "val" or _area(picture) > MIN_PIXELS
    ]


def _area(picture):
    """Pixels of all that is of VOC's classes, as COCO counted them; of crowds too."""
    return sum(x["area"] for x in picture.annotations if x["category_id"] in CLASSES)


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the picture and draws its label; other things are background.

    Raises:
        ImageError: An annotation cannot be drawn.
    """
    return coco.draw_pair(pair, CLASSES)
