"""Lists the pairs of COCO 2017. Labels show its things, without stuff."""

import json
import pathlib

from kerasseg import datasets, errors, images
from kerasseg.system import files
from tfrecords_tools.annotations import coco as coco_files
from tfrecords_tools.converters import pairs, source_files

_PARTS = {"train": "train2017", "val": "val2017"}
_NO_CATEGORY = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # Unused ids from 1 to 90.
_IDS = [i for i in range(1, 91) if i not in _NO_CATEGORY]
CLASSES = {category: number for number, category in enumerate(_IDS, 1)}


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads `annotations/instances_<part>.json`; each pair holds its annotations.

    Raises:
        errors.MissingFileError: A folder or the file is missing.
        errors.UserError: There is no such split, or the file is not from COCO 2017.
    """
    folder, listed = read_part("coco", split, source)
    return [make_pair(folder, image, CLASSES, source.instances) for image in listed]


def instance_format(source: pairs.Source) -> str:
    """Returns "objects": COCO's objects overlap."""
    del source
    return "objects"


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the image and draws its label. Pixels without a thing are background.

    Raises:
        ImageError: An annotation cannot be drawn.
    """
    return draw_pair(pair, CLASSES)


def read_part(
    dataset: str, split: str, source: pairs.Source
) -> tuple[pathlib.Path, list[coco_files.CocoImage]]:
    """Finds the folder of a split's images, and reads their annotations.

    Raises:
        errors.MissingFileError: A folder or the file is missing.
        errors.UserError: There is no such split, or the file is not from COCO 2017.
    """
    folder = source_files.required_folder(
        source.source_dir, "source_dir", "COCO's folder"
    )
    part = source_files.part_of(dataset, split, _PARTS)
    image_dir = source_files.required_folder(
        folder / part, "source_dir", f"COCO's folder {part}"
    )
    path = source_files.required_file(
        folder / "annotations" / f"instances_{part}.json", "COCO's annotations"
    )
    names, listed = coco_files.read_images(path)
    expected = datasets.get("coco").class_names
    if names != {category: expected[number] for category, number in CLASSES.items()}:
        raise errors.UserError(
            f"{path} has {len(names)} categories, expected the 80 of COCO 2017. Give "
            "COCO's own file. For your own annotations, use `dataset=folder`."
        )
    return image_dir, listed


def make_pair(
    folder: pathlib.Path,
    image: coco_files.CocoImage,
    classes: dict[int, int],
    instances: bool = False,
) -> pairs.Pair:
    """Returns a pair that holds the annotations of some categories.

    Args:
        folder: Folder of the image.
        image: The image.
        classes: Class number by category id.
        instances: Whether `draw_pair` draws the objects, too.
    """
    keys = ("category_id", "iscrowd", "segmentation")
    kept = [
        {key: annotation[key] for key in keys if key in annotation}
        for annotation in image.annotations
        if annotation.get("category_id") in classes
    ]
    # The key of a build depends on this text.
    content = [image.file_name, image.height, image.width, kept]
    content += [True] if instances else []
    return pairs.Pair(
        pathlib.PurePosixPath(image.file_name).stem,
        image=str(folder / image.file_name),
        shapes=json.dumps(content, separators=(",", ":")),
    )


def draw_pair(pair: pairs.Pair, classes: dict[int, int]) -> pairs.Contents:
    """Reads the image of a pair from `make_pair`, and draws its label and objects.

    Raises:
        ImageError: An annotation cannot be drawn.
    """
    *fields, instances = [*json.loads(pair.shapes), False][:5]
    image = coco_files.CocoImage(*fields)
    data = files.read_bytes(pair.image)
    header = images.probe(data, name=pair.image)
    size = header.height, header.width
    label = coco_files.draw(image, classes, background=0, image_size=size)
    objects = coco_files.draw_instances(image, classes) if instances else None
    return pairs.Contents(data, label, objects=objects)
