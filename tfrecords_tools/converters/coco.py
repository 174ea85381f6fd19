"""Lists the pairs of COCO 2017; labels are drawn of its things, without stuff."""

import json
import pathlib

from kerasseg import datasets, errors
from tfrecords_tools.converters import coco_masks, listing, pairs

_PARTS = {"train": "train2017", "val": "val2017"}
_NO_CATEGORY = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # Of 1 to 90.
_IDS = [i for i in range(1, 91) if i not in _NO_CATEGORY]
CLASSES = {category: number for number, category in enumerate(_IDS, 1)}


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads `annotations/instances_<part>.json`; each pair carries what is its own.

    Raises:
        FileNotFoundError: A folder or the file is missing.
        ValueError: There is no such split, or the file is none of COCO 2017.
    """
    folder, pictures = read_part("coco", split, source)
    return [make_pair(folder, picture, CLASSES) for picture in pictures]


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the picture and draws its label; what is no thing is background.

    Raises:
        ImageError: An annotation cannot be drawn.
    """
    return draw_pair(pair, CLASSES)


def read_part(
    dataset: str, split: str, source: pairs.Source
) -> tuple[pathlib.Path, list[coco_masks.Picture]]:
    """Finds the folder of a split's pictures, and reads their annotations.

    Raises:
        FileNotFoundError: A folder or the file is missing.
        ValueError: There is no such split, or the file is none of COCO 2017.
    """
    folder = pairs.needed(source.source_dir, "source_dir", "COCO's folder")
    part = listing.part_of(dataset, split, _PARTS)
    image_dir = pairs.needed(folder / part, "source_dir", f"COCO's folder {part}")
    path = listing.needed_file(
        folder / "annotations" / f"instances_{part}.json", "COCO's annotations"
    )
    names, pictures = coco_masks.read_pictures(path)
    wanted = datasets.get("coco").class_names
    if names != {category: wanted[number] for category, number in CLASSES.items()}:
        raise errors.UserError(
            f"{path} has {len(names)} categories, not the 80 of COCO 2017. Give COCO's "
            "own file; own annotations are `dataset=folder`"
        )
    return image_dir, pictures


def make_pair(
    folder: pathlib.Path, picture: coco_masks.Picture, classes: dict[int, int]
) -> pairs.Pair:
    """Makes a pair that carries the annotations of these categories."""
    keys = ("category_id", "iscrowd", "segmentation")
    kept = [
        {key: annotation[key] for key in keys if key in annotation}
        for annotation in picture.annotations
        if annotation.get("category_id") in classes
    ]
    facts = [picture.file_name, picture.height, picture.width, kept]
    return pairs.Pair(
        pathlib.PurePosixPath(picture.file_name).stem,
        image=str(folder / picture.file_name),
        shapes=json.dumps(facts, separators=(",", ":")),
    )


def draw_pair(pair: pairs.Pair, classes: dict[int, int]) -> pairs.Contents:
    """Reads the picture of a pair of `make_pair`, and draws its label.

    Raises:
        ImageError: An annotation cannot be drawn.
    """
    picture = coco_masks.Picture(*json.loads(pair.shapes))
    label = coco_masks.draw(picture, classes, background=0)
    return pairs.Contents(pathlib.Path(pair.image).read_bytes(), label)
