"""Files without a counterpart, and files of the same name."""

import glob
import os
from collections.abc import Iterator

from tfrecords_tools.converters import folder, matching, own_data
from tfrecords_tools.doctor import findings


def examine(
    found: folder.OwnImages, own: own_data.OwnData
) -> Iterator[findings.Finding]:
    """Yields files without a counterpart, of the same name, or in no split.

    Args:
        found: The files.
        own: Options of own images.
    """
    guess = matching.suggest(found.match)
    if guess and own.masks:
        start, end = guess
        yield findings.Finding(
            "files without a counterpart",
            f"Most masks are named as their image, with '{start}' before and '{end}' "
            "after the name. The option finds them.",
            files=tuple(found.match.masks[key] for key in found.match.without_image),
            options={"masks": _around(own.masks, start, end)},
        )
        return
    yield from _unpaired(found)
    if found.match.duplicates:
        yield findings.Finding(
            "files of the same name",
            "These have the name of another file, apart from the suffix. Rename or "
            "remove them.",
            files=found.match.duplicates,
        )
    yield from _in_no_split(found)


def _unpaired(found):
    images, masks = folder.unpaired_images(found), folder.unpaired_masks(found)
    if not images and not masks:
        return
    paths = [
        *(found.match.images[key] for _, key in images),
        *(found.match.masks[key] for key in masks),
    ]
    names = [*((split, key[1]) for split, key in images), *masks]
    yield findings.Finding(
        "files without a counterpart",
        f"Images without a label of the same name: {len(images)}. Labels without an "
        f"image: {len(masks)}.",
        files=tuple(paths),
        leave_out=tuple(
            dict.fromkeys(f"{split}:{name}" if split else name for split, name in names)
        ),
    )


def _in_no_split(found):
    listed = {key for keys in found.splits.values() for key in keys}
    others = sorted(found.match.images.keys() - listed)
    if others:
        yield findings.Finding(
            "images in no list",
            "These are in none of the files of --lists.",
            files=tuple(found.match.images[key] for key in others),
            is_note=True,
        )
    for split in found.splits:
        if found.is_unlabeled(split):
            yield findings.Finding(
                "splits without labels",
                f"No image of split '{split}' has a label, so the build skips it.",
                is_note=True,
            )


def _around(masks, start, end):
    """Adds a prefix and a suffix to the last star of a pattern."""
    if os.path.isdir(masks):
        masks = os.path.join(glob.escape(masks), "**", "*")
    elif "*" not in masks:
        masks = f"{masks.rstrip('/')}/*"
    before, star, after = masks.rpartition("*")
    return f"{before}{start}{star}{end}{after or '.*'}"
