"""Lists the part of COCO 2017 that torchvision trains on, with VOC's classes."""

from tfrecords_tools.converters import coco_voc, pairs

instance_format = coco_voc.instance_format
read_pair = coco_voc.read_pair


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads COCO's lists; "train" has the images with enough pixels of VOC's classes.

    Raises:
        errors.MissingFileError: A folder or the file is missing.
        errors.UserError: There is no such split, or the file is not from COCO 2017.
    """
    return coco_voc.list_large("coco_voc_torchvision", split, source, sum)
