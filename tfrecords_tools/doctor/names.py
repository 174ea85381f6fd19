"""Files without a counterpart, and files of the same name."""

import glob
import os
from collections.abc import Iterator

from kerasseg.system import patterns
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
    guess = _other_patterns(found, own)
    if guess:
        yield guess
        return
    yield from _unpaired(found, own)
    if found.match.duplicates:
        yield findings.Finding(
            "files of the same name",
            "These have the name of another file, apart from the suffix. Rename or "
            "remove them.",
            files=found.match.duplicates,
        )
    if found.match.passed_over:
        yield findings.Finding(
            "files of other kinds",
            "These match the patterns, but are passed over because of their ending, or "
            "because they are no regular files: "
            f"{patterns.count_by_suffix(found.match.passed_over)}.",
            is_note=True,
        )
    yield from _in_no_split(found)


def _unpaired(found, own):
    images, masks = folder.unpaired_images(found), folder.unpaired_masks(found)
    if not images and not masks:
        return
    paths = [
        *(found.match.images[key] for _, key in images),
        *(found.match.masks[key] for key in masks),
    ]
    names = [*((split, key[1]) for split, key in images), *masks]
    hint = ""
    if images and own.annotations:
        hint = (
            " If such images show no object, give --unannotated_as_background instead "
            "of leaving them out."
        )
    yield findings.Finding(
        "files without a counterpart",
        f"Images without a label of the same name: {len(images)}. Labels without an "
        f"image: {len(masks)}.{hint}",
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
        if found.is_unlabeled(split) and not found.keeps_unlabeled:
            yield findings.Finding(
                "splits without labels",
                f"No image of split '{split}' has a label, so the build skips it.",
                is_note=True,
            )


def _other_patterns(found, own):
    """Returns a finding with the patterns that pair most masks, or None."""
    affixes = matching.suggest(found.match)
    if affixes is None or not own.masks:
        return None
    options = {}
    for option in ("images", "masks"):
        around = affixes.image if option == "images" else affixes.mask
        if around != ("", ""):
            options[option] = _around(getattr(own, option), *around)
    if None in options.values():
        return None
    masks, images = map(_describe, (affixes.mask, affixes.image))
    than = f", images {images}" if "images" in options else ""
    finds = "The options find" if len(options) > 1 else "The option finds"
    return findings.Finding(
        "files without a counterpart",
        f"Most masks are named as their image, but have {masks} the name{than}. "
        f"{finds} them.",
        files=tuple(found.match.masks[key] for key in found.match.without_image),
        options=options,
    )


def _describe(around):
    texts = [
        f"'{text}' {where}"
        for text, where in zip(around, ("before", "after"), strict=True)
        if text
    ]
    return " and ".join(texts) or "nothing around"


def _around(pattern, start, end):
    """Adds a prefix and a suffix to the star that matches the names of files.

    Returns:
        The pattern; None if it has no such star.
    """
    pattern = matching.full_pattern(pattern)
    folder, _, name = pattern.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, "*" if end else ""
    before, star, after = stem.rpartition("*")
    if not star:
        return None
    start, end = map(glob.escape, (start, end))
    suffix = f".{suffix}" if suffix else ""
    return os.path.join(folder, f"{before}{start}{star}{end}{after}{suffix}")
