"""Files that pair with nothing, or with several."""

import glob
import os

from tfrecords_tools.converters import folder, matching, own_data
from tfrecords_tools.doctor import findings


def examine(found: folder.Found, own: own_data.OwnData):
    """Yields what is alone, double or in no split."""
    guess = matching.suggest(found.match)
    if guess and own.masks:
        start, end = guess
        yield findings.Finding(
            "names that pair with nothing",
            f"The names of most masks are those of pictures between '{start}' and "
            f"'{end}'. The flag finds them.",
            files=tuple(found.match.masks[key] for key in found.match.without_picture),
            flags={"masks": _around(own.masks, start, end)},
        )
        return
    yield from _alone(found)
    if found.match.doubles:
        yield findings.Finding(
            "two files of one name",
            "These have the name of another file, but for their ending. Rename or "
            "remove them.",
            files=found.match.doubles,
        )
    yield from _in_no_split(found)


def _alone(found):
    pictures, masks = folder.alone_pictures(found), folder.alone_masks(found)
    if not pictures and not masks:
        return
    paths = [
        *(found.match.pictures[key] for _, key in pictures),
        *(found.match.masks[key] for key in masks),
    ]
    names = [*((split, key[1]) for split, key in pictures), *masks]
    yield findings.Finding(
        "names that pair with nothing",
        f"Pictures without a label of their name: {len(pictures)}; labels without a "
        f"picture: {len(masks)}.",
        files=tuple(paths),
        leave_out=tuple(
            dict.fromkeys(f"{split}:{name}" if split else name for split, name in names)
        ),
    )


def _in_no_split(found):
    listed = {key for keys in found.splits.values() for key in keys}
    others = sorted(found.match.pictures.keys() - listed)
    if others:
        yield findings.Finding(
            "pictures in no list",
            "These are in no file of --lists.",
            files=tuple(found.match.pictures[key] for key in others),
            is_note=True,
        )
    for split in found.splits:
        if found.is_unlabelled(split):
            yield findings.Finding(
                "splits without labels",
                f"No picture of split '{split}' has a label: the build leaves it out.",
                is_note=True,
            )


def _around(masks, start, end):
    """Puts texts before and after the last star of a pattern."""
    if os.path.isdir(masks):
        masks = os.path.join(glob.escape(masks), "**", "*")
    elif "*" not in masks:
        masks = f"{masks.rstrip('/')}/*"
    before, star, after = masks.rpartition("*")
    return f"{before}{start}{star}{end}{after or '.*'}"
