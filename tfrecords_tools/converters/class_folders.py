"""Masks of several classes for each pixel: one folder of binary masks for each class.

The masks of image NAME are CLASS/NAME.png. An image needs at least one of them: it has
no pixel of the classes whose mask is missing. Folder `__ignore__` has the pixels that
are ignored.
"""

from kerasseg import datasets, errors
from tfrecords_tools import annotations
from tfrecords_tools.converters import class_lists, matching, source_files

_MAX_LISTED = 10


def match(
    images: str, masks: str, classes: class_lists.ClassList | None
) -> tuple[matching.Match, dict[matching.Key, tuple[tuple[str, int], ...]]]:
    """Finds images and the masks of their classes.

    Args:
        images: Folder or pattern of the images, see `matching.match`.
        masks: Folder or pattern of the masks, whose names are CLASS/NAME.
        classes: The classes.

    Returns:
        The images with one of their masks; and path and class number of all masks of
        an image, by its key.

    Raises:
        errors.UserError: The classes are not given, or a file is in no folder of a
            class.
    """
    if classes is None:
        raise errors.UserError(
            "`multi_label` needs `classes`: the names of the folders of masks, in the "
            "order of the class numbers."
        )
    both = matching.find_both(images, masks, "masks")
    numbers = {name: i for i, name in enumerate(classes.names)}
    numbers[annotations.IGNORED] = datasets.IGNORE_LABEL
    found: dict[matching.Key, list[tuple[str, int]]] = {}
    unknown = []
    for (split, name), path in sorted(both.masks.items()):
        class_name, _, rest = name.partition("/")
        if class_name in numbers and rest:
            found.setdefault((split, rest), []).append((path, numbers[class_name]))
        else:
            unknown.append(path)
    if unknown:
        raise errors.UserError(
            f"`masks={masks}`: {source_files.shorten(unknown, _MAX_LISTED)} are not in "
            f"the folder of a class. With `multi_label`, the masks of image NAME are "
            f"CLASS/NAME.png, for the classes {', '.join(classes.names)}. Move them, "
            "or correct `classes`."
        )
    first = {key: paths[0][0] for key, paths in found.items()}
    matched = matching.Match(both.images, first, both.duplicates, both.passed_over)
    return matched, {key: tuple(paths) for key, paths in found.items()}


def check_classes(classes: class_lists.ClassList | None) -> None:
    """Checks the names of classes that may occur together.

    Raises:
        errors.UserError: One of them is the background.
    """
    if classes is not None and classes.background != datasets.IGNORE_LABEL:
        raise errors.UserError(
            f"`classes` has {classes.names[classes.background]}. With `multi_label`, "
            "pixels of the background have no class: leave it out."
        )
