"""Lists the pairs of own pictures: with masks, or with annotations of an editor."""

import dataclasses

from kerasseg import datasets, errors
from tfrecords_tools import annotations, texts
from tfrecords_tools.converters import class_lists, matching, own_data, pairs, splitting

_MAX_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Found:
    """Everything that the flags find.

    Attributes:
        match: Pictures and masks, or pictures and files of annotations.
        splits: Keys of the pictures of each split.
        left_out: What --leave_out names.
        shapes: Annotations of each picture, by key; empty where there are masks.
        classes: The classes.
        is_dealt: Whether chance dealt the pictures to the splits.
    """

    match: matching.Match
    splits: dict[str, list[matching.Key]]
    left_out: set[str]
    shapes: dict[matching.Key, annotations.Annotated]
    classes: class_lists.ClassList | None
    is_dealt: bool

    def is_left_out(self, split: str, key: matching.Key) -> bool:
        """Tells whether --leave_out names a picture of a split."""
        return splitting.is_left_out(self.left_out, split, key[1])

    def is_unlabelled(self, split: str) -> bool:
        """Tells whether a split that was chosen has no picture with a mask."""
        if self.is_dealt:
            return False
        return not any(key in self.match.masks for key in self.splits[split])


def find(source: pairs.Source) -> Found:
    """Finds own pictures and their labels.

    Raises:
        ValueError: Flags are missing or do not fit what is there.
        FileNotFoundError: No picture, mask, annotation or list is there.
    """
    own = source.own or own_data.OwnData()
    if not own.images or not (own.masks or own.annotations):
        raise errors.UserError(
            "Own pictures are wanted and where they are was not given: `images`, and "
            "`masks` or `annotations`"
        )
    classes = own.classes
    shapes: dict[matching.Key, annotations.Annotated] = {}
    if own.masks:
        match = matching.match(own.images, own.masks)
    else:
        match, shapes = annotations.match(own.images, str(own.annotations))
        classes = classes or annotations.classes(shapes)
    splits = splitting.deal(match.pictures, own, source.seed)
    left_out = splitting.read_left_out(own.leave_out)
    is_dealt = not (own.lists or any(split for split, _ in match.pictures))
    found = Found(match, splits, left_out, shapes, classes, is_dealt)
    _check_left_out(found, own.leave_out)
    return found


def _check_left_out(found, path):
    known = {name for _, name in (*found.match.pictures, *found.match.masks)}
    named = {f"{split}:{key[1]}" for split in found.splits for key in _keys(found)}
    unknown = sorted(found.left_out - known - named)
    if unknown:
        raise errors.UserError(
            f"{path} names {len(unknown)} pictures that there are not: "
            f"{', '.join(unknown[:_MAX_LISTED])}. Remove the lines, or name the right "
            f"ones: names look like {', '.join(sorted(known)[:3])}"
        )


def _keys(found):
    return {*found.match.pictures, *found.match.masks}


def make_spec(source: pairs.Source) -> datasets.DatasetSpec:
    """Makes the facts of own pictures.

    Raises:
        ValueError: No flag and no annotation names the classes.
        FileNotFoundError: See `find`.
    """
    own = source.own
    classes = own.classes if own else None
    if classes is None and own and own.annotations:
        classes = find(source).classes
    if classes is None:
        raise errors.UserError(
            "The classes are wanted and were not given: `classes=background,road`, in "
            "the order of their numbers, or `classes=FILE` with one a line"
        )
    return datasets.DatasetSpec(
        name=pairs.OWN,
        source="tfrecords_tools.folder",
        classes=classes.with_palette(),
        num_images={},
    )


def list_splits(source: pairs.Source) -> list[str]:
    """Names the splits; those without any mask too."""
    return list(find(source).splits)


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Pairs the pictures of a split with their labels, without those of --leave_out.

    Raises:
        ValueError: Pictures without labels, labels without pictures, or two files of
            one name: they are named.
        FileNotFoundError: There is no such split, or nothing of it has a label.
    """
    found = find(source)
    if split not in found.splits:
        raise errors.MissingFileError(
            f"Own pictures have no split '{split}', only {', '.join(found.splits)}. "
            "Choose of them with `splits`"
        )
    if found.is_unlabelled(split):
        raise errors.MissingFileError(f"no picture of split '{split}' has a mask")
    _refuse_alone(found)
    keys = [key for key in found.splits[split] if not found.is_left_out(split, key)]
    return [make_pair(found, source, key) for key in keys]


def make_pair(found: Found, source: pairs.Source, key: matching.Key) -> pairs.Pair:
    """Makes the pair of a picture that has a label.

    Raises:
        AnnotationError: A shape has no number or no area.
    """
    pair = pairs.Pair(key[1], found.match.pictures[key], found.match.masks[key])
    own = source.own
    if key not in found.shapes or found.classes is None or own is None:
        return pair
    shapes = annotations.encode(
        found.shapes[key],
        found.classes,
        name_map=dict(own.name_map),
        skip=tuple(filter(None, own.skip_shapes.split(","))),
    )
    return dataclasses.replace(pair, shapes=shapes)


def _refuse_alone(found):
    """Refuses what pairs with nothing, unless it is left out."""
    match = found.match
    alone = [
        *(match.pictures[key] for _, key in alone_pictures(found)),
        *(match.masks[key] for key in alone_masks(found)),
    ]
    if alone or match.doubles:
        what = [*alone, *match.doubles]
        raise errors.UserError(
            f"{len(alone)} files pair with nothing and {len(match.doubles)} have the "
            f"name of another: {texts.some(what, _MAX_LISTED)}. Correct them, or "
            "name them in the file of `leave_out`; python -m tfrecords_tools.inspect "
            "with the same flags writes one"
        )


def alone_pictures(found: Found) -> list[tuple[str, matching.Key]]:
    """Splits and keys of pictures without a label, but for those to be left out."""
    labelled = [split for split in found.splits if not found.is_unlabelled(split)]
    return [
        (split, key)
        for split in labelled
        for key in found.splits[split]
        if key not in found.match.masks and not found.is_left_out(split, key)
    ]


def alone_masks(found: Found) -> list[matching.Key]:
    """Keys of labels without a picture, but for those that are to be left out."""
    return [
        key for key in found.match.without_picture if not found.is_left_out(key[0], key)
    ]


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a picture, and reads or draws its label."""
    if not pair.shapes:
        return pairs.read_files(pair)
    image = pairs.read_files(dataclasses.replace(pair, label=pair.image)).image
    return pairs.Contents(image, annotations.draw(pair.shapes))
