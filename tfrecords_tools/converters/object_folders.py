"""Folders with a binary mask of each object, in place of one map of ids an image.

The masks of image NAME are NAME/*.png, or NAME/CLASS/*.png with the name of a class.
"""

import dataclasses
from collections.abc import Collection, Mapping

from kerasseg import datasets
from tfrecords_tools import annotations
from tfrecords_tools.converters import class_lists, matching, pairs


@dataclasses.dataclass(frozen=True)
class ObjectFolders:
    """Masks of objects.

    Attributes:
        masks: Path and name of the class of each mask, "" if there is no folder of a
            class, by the key of the image.
        without_image: Paths of masks that belong to no image.
    """

    masks: dict[matching.Key, list[tuple[str, str]]]
    without_image: list[str]


def group(match: matching.Match) -> ObjectFolders | None:
    """Assigns masks of objects to images.

    Args:
        match: Images, and PNG files as masks.

    Returns:
        The masks; None if a file has the name of an image, so that it is a map of ids,
        or if no file is in a folder that has the name of an image.
    """
    if match.paired:
        return None
    found = ObjectFolders({}, [])
    for key, path in sorted(match.masks.items()):
        owner, class_name = _owner(key, match.images)
        if owner is None:
            found.without_image.append(path)
        else:
            found.masks.setdefault(owner, []).append((path, class_name))
    return found if found.masks else None


def _owner(
    key: matching.Key, images: Collection[matching.Key]
) -> tuple[matching.Key | None, str]:
    """Returns the key of the image, or None, and the name of the class."""
    split, name = key
    folders = name.split("/")[:-1]
    for num_rest in (0, 1):
        end = len(folders) - num_rest
        owner = split, "/".join(folders[:end])
        if owner in images:
            return owner, "".join(folders[end:])
    return None, ""


def numbered(
    masks: list[tuple[str, str]],
    classes: class_lists.ClassList,
    name_map: Mapping[str, int],
) -> tuple[tuple[str, int], ...]:
    """Returns path and class number of each mask, see `pairs.Pair.objects`.

    Args:
        masks: Path and name of the class.
        classes: The classes.
        name_map: Class numbers of names that are not a class.

    Raises:
        AnnotationError: A name is not a class, or is that of class 0.
    """
    numbers = {"": pairs.CLASS_OF_LABEL, annotations.IGNORED: datasets.IGNORE_LABEL}
    numbers |= {name: i for i, name in enumerate(classes.names)}
    numbers |= name_map
    for path, name in masks:
        if name not in numbers:
            raise annotations.AnnotationError(
                f"{path} is in a folder named {name}, which is not in `classes`. "
                "Rename the folder, or ignore its objects: "
                f"`label_map={class_lists.ignoring([name], dict(name_map))}`."
            )
        if numbers[name] == 0:
            raise annotations.AnnotationError(
                f"{path} is in a folder named {name}, and class 0 is no object. Remove "
                f"the folder, or ignore its objects: `label_map={name}:"
                f"{datasets.IGNORE_LABEL}`."
            )
    return tuple((path, numbers[name]) for path, name in masks)
