"""Lists the pairs of the user's own images, with masks or annotations."""

import dataclasses
import json
import pathlib

from kerasseg import datasets, errors, images
from kerasseg.system import patterns
from tfrecords_tools import annotations
from tfrecords_tools.converters import (
    annotated,
    class_folders,
    class_lists,
    image_sizes,
    instance_files,
    matching,
    object_folders,
    own_data,
    pairs,
    source_files,
    splitting,
    yolo,
)

_MAX_LISTED = 10


@dataclasses.dataclass(frozen=True)
class OwnImages:
    """The files that the options find.

    Attributes:
        match: Images and masks, or images and annotation files.
        splits: Keys of the images of each split.
        left_out: Names in the file of `leave_out`.
        shapes: Annotations of each image, by key; empty if there are masks.
        classes: The classes.
        is_random: Whether images were assigned to splits at random.
        instances: Files of `instance_masks`, by key; empty until they are read.
        keeps_unlabeled: Whether images without a label are built, too.
        class_masks: Files of the masks of classes that may overlap, by key.
        objects: The same, if each object has a file; else None.
        missing: Why a split has no image, by its name.
    """

    match: matching.Match
    splits: dict[str, list[matching.Key]]
    left_out: set[str]
    shapes: dict[matching.Key, annotations.Annotated]
    classes: class_lists.ClassList | None
    is_random: bool
    instances: dict[matching.Key, str] = dataclasses.field(default_factory=dict)
    keeps_unlabeled: bool = False
    objects: object_folders.ObjectFolders | None = None
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    class_masks: dict = dataclasses.field(default_factory=dict)

    def is_left_out(self, split: str, key: matching.Key) -> bool:
        """Returns whether an image of a split is to be left out."""
        return splitting.is_left_out(self.left_out, split, key[1])

    def is_unlabeled(self, split: str) -> bool:
        """Returns whether no image of a split has a mask; no if splits are random."""
        if self.is_random:
            return False
        return not any(key in self.match.masks for key in self.splits[split])


def find(source: pairs.Source) -> OwnImages:
    """Finds own images and their labels.

    Raises:
        errors.UserError: Options are missing, or do not fit the files.
        errors.MissingFileError: There is no image, mask, annotation file or list.
    """
    own = source.own or own_data.OwnData()
    is_yolo = yolo.is_data_yaml(own.annotations) and not own.masks
    has_labels = own.masks or own.annotations or own.unlabeled
    if not (is_yolo or (own.images and has_labels)):
        raise errors.UserError(
            "The location of your own images was not given. Give `images`, and `masks` "
            "or `annotations`; or `unlabeled` for images without labels; or only a "
            "data.yaml of YOLO with `annotations`."
        )
    class_masks: dict = {}
    if own.multi_label:
        _check_multi_label(own, source)
    if own.multi_label and own.masks:
        match, class_masks = class_folders.match(
            str(own.images), own.masks, own.classes
        )
        shapes, classes, missing = {}, None, {}
    else:
        match, shapes, classes, missing = yolo.match(own) if is_yolo else _match(own)
    match, shapes = splitting.rename(match, shapes, own.rename_splits)
    classes = own.classes or classes
    splits = splitting.assign(match, own, source.seed)
    splits |= {split: [] for split in missing}
    left_out = splitting.read_leave_out(own.leave_out)
    is_random = not (own.lists or any(split for split, _ in match.images))
    found = OwnImages(
        match,
        splits,
        left_out,
        shapes,
        classes,
        is_random,
        keeps_unlabeled=own.unlabeled,
        missing=missing,
        class_masks=class_masks,
    )
    _check_leave_out(found, own.leave_out)
    return _add_unannotated(found) if own.unannotated_as_background else found


def _check_multi_label(own, source):
    class_folders.check_classes(own.classes)
    if source.instances or own.unannotated_as_background:
        name = "instances" if source.instances else "unannotated_as_background"
        raise errors.UserError(
            f"`multi_label` and `{name}` exclude each other: pixels have any number of "
            "classes, and there is no background. Leave one of them out."
        )


def _match(own):
    """Returns what `yolo.match` returns, for images that the options find."""
    if own.masks:
        return yolo.Found(matching.match(own.images, own.masks), {}, None, {})
    if own.annotations:
        match, shapes = annotated.match(own.images, str(own.annotations))
        classes = own.classes or annotated.list_classes(
            shapes, with_background=not own.multi_label
        )
        return yolo.Found(match, shapes, classes, {})
    paths, duplicates, passed_over = matching.find(own.images, "images")
    match = matching.Match(paths, {}, tuple(duplicates), tuple(passed_over))
    return yolo.Found(match, {}, None, {})


def _add_unannotated(found):
    """Adds images without annotations, in splits that have annotations.

    They have an empty path in place of a label.
    """
    if found.keeps_unlabeled:
        raise errors.UserError(
            "`unlabeled` and `unannotated_as_background` exclude each other: images "
            "without annotations have no label, or are background. Give one of them."
        )
    if found.classes is None or not found.shapes:
        raise errors.UserError(
            "`unannotated_as_background` is for images with `annotations`. Images with "
            "`masks` need a mask each: give masks of the background class, or omit the "
            "option."
        )
    if found.classes.background == datasets.IGNORE_LABEL:
        raise errors.UserError(
            "`unannotated_as_background` needs a class named background, but the "
            f"classes are {', '.join(found.classes.names)}. Add it to `classes`, or "
            "leave these images out."
        )
    added = {
        key: ""
        for split, keys in found.splits.items()
        if not found.is_unlabeled(split)
        for key in keys
        if key not in found.match.masks
    }
    match = dataclasses.replace(found.match, masks={**found.match.masks, **added})
    return dataclasses.replace(found, match=match)


def _check_leave_out(found, path):
    keys = {*found.match.images, *found.match.masks}
    known = {name for _, name in keys}
    unknown = found.left_out - known
    if unknown:
        for split in found.splits:
            unknown = unknown.difference(
                *(splitting.lines_of(split, name) for name in known)
            )
    if unknown:
        raise errors.UserError(
            f"{path} lists {source_files.count(unknown, 'name')} that no image has: "
            f"{source_files.shorten(sorted(unknown), _MAX_LISTED)}. Correct or remove "
            f"these lines. Names of images look like {', '.join(sorted(known)[:3])}."
        )


def instance_format(source: pairs.Source) -> str:
    """Returns "map" for maps of ids, else "objects".

    Raises:
        errors.UserError: Options are missing, or class 0 is an object.
    """
    own = source.own or own_data.OwnData()
    if own.masks and not own.instance_masks:
        raise errors.UserError(
            "`instances`: your `masks` hold classes, from which objects that touch "
            "cannot be separated. Give PNG files of instance ids, or of one object "
            "each, with `instance_masks`, or use `annotations`."
        )
    if own.masks:
        found = _add_instances(find(source), source)
        return "map" if found.objects is None else "objects"
    classes = find(source).classes
    if classes is None or classes.background != 0:
        raise errors.UserError(
            "`instances`: class 0 is no object, so it must be named background. Put "
            "background first in `classes`."
        )
    return "objects"


def stuff(source: pairs.Source) -> set[str]:
    """Returns the names of the classes without objects, of panoptic annotations."""
    tables = {each.stuff for each in find(source).shapes.values()}
    return {name for table in tables for name in table}


def make_spec(source: pairs.Source) -> datasets.DatasetSpec:
    """Returns the spec of own images.

    Raises:
        errors.UserError: Neither an option nor an annotation names the classes.
        errors.MissingFileError: See `find`.
    """
    own = source.own
    multi_label = bool(own and own.multi_label)
    classes = own.classes if own else None
    if classes is None and own and own.annotations:
        classes = find(source).classes
    if classes is None:
        raise errors.UserError(
            "The classes were not given. Name them in the order of their numbers, "
            "`classes=background,road`, or give a file with one per line, "
            "`classes=FILE`."
        )
    return datasets.DatasetSpec(
        name=pairs.OWN,
        source="tfrecords_tools.folder",  # Stored in dataset.json; never change it.
        classes=classes.with_palette(multi_label=multi_label),
        num_images={},
        multi_label=multi_label,
    )


def list_splits(source: pairs.Source) -> list[str]:
    """Lists the splits, including those without any mask."""
    return list(find(source).splits)


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Pairs the images of a split with their labels, without those of `leave_out`.

    Raises:
        errors.UserError: There are images without labels, labels without images, or two
            files of the same name.
        errors.MissingFileError: There is no such split, or it has no label.
    """
    found = find(source)
    if split not in found.splits:
        few = "One image is not divided: add images for val. "
        raise errors.MissingFileError(
            f"Your images have no split '{split}', only {', '.join(found.splits)}. "
            f"{few if len(found.match.images) == 1 else ''}"
            f"Choose from these, as in `splits={','.join(found.splits)}`."
        )
    if split in found.missing:
        raise errors.MissingFileError(found.missing[split])
    if found.is_unlabeled(split) and not found.keeps_unlabeled:
        raise errors.MissingFileError(f"no image of split '{split}' has a mask.")
    _check_unpaired(found)
    found = _add_instances(found, source)
    keys = [key for key in found.splits[split] if not found.is_left_out(split, key)]
    if found.splits[split] and not keys:
        raise errors.MissingFileError(f"all images of split '{split}' are left out.")
    return [_make_any_pair(found, source, key) for key in keys]


def _make_any_pair(found, source, key):
    """Returns the pair of an image, or a faulty one: one bad file is one bad pair."""
    try:
        return make_pair(found, source, key)
    except annotations.AnnotationError as error:
        pair = pairs.Pair(key[1], found.match.images[key], found.match.masks[key])
        return pairs.faulty(pair, str(error))


def make_pair(found: OwnImages, source: pairs.Source, key: matching.Key) -> pairs.Pair:
    """Returns the pair of an image, without a label if there is none.

    Raises:
        AnnotationError: A shape, or the folder of an object, has an unknown name; or a
            shape has no area.
    """
    if key not in found.match.masks:
        return pairs.Pair(key[1], found.match.images[key])
    pair = pairs.Pair(
        key[1],
        found.match.images[key],
        found.match.masks[key],
        instances=found.instances.get(key, ""),
    )
    own = source.own
    if key in found.class_masks:
        return dataclasses.replace(pair, objects=found.class_masks[key])
    if found.objects is not None and found.classes is not None and own:
        masks = found.objects.masks.get(key, [])
        numbered = object_folders.numbered(masks, found.classes, dict(own.name_map))
        return dataclasses.replace(pair, objects=numbered)
    if not pair.label and found.classes and own:
        shapes = _background(pair.image, found.classes.background, source)
        return dataclasses.replace(pair, shapes=shapes)
    if key not in found.shapes or found.classes is None or own is None:
        return pair
    shapes = annotated.encode(
        found.shapes[key],
        found.classes,
        name_map=dict(own.name_map),
        skip=tuple(filter(None, own.skip_shapes.split(","))),
        instances=source.instances,
        multi_label=own.multi_label,
    )
    return dataclasses.replace(pair, shapes=shapes)


def find_passed_over(source: pairs.Source) -> tuple[str, ...]:
    """Returns the files that match the patterns, but have other endings, sorted."""
    found = {*find(source).match.passed_over}
    own = source.own
    if source.instances and own and own.masks and own.instance_masks:
        found |= {*_match_instances(own).passed_over}
    return tuple(sorted(found))


def _match_instances(own):
    return matching.find_both(own.images, own.instance_masks, "instance_masks")


def _add_instances(found, source):
    """Adds the files of `instance_masks`.

    Raises:
        errors.UserError: An image with a mask has no map of ids, or a file has no
            image.
    """
    own = source.own
    if not (source.instances and own and own.masks and own.instance_masks):
        return found
    other = _match_instances(own)
    folders = object_folders.group(other)
    if folders is not None:
        _check_objects(folders, other, own)
        return dataclasses.replace(found, objects=folders)
    missing = [
        found.match.images[key]
        for split, keys in found.splits.items()
        for key in keys
        if key in found.match.masks
        and key not in other.masks
        and not found.is_left_out(split, key)
    ]
    wrong = [*missing, *(other.masks[key] for key in other.without_image)]
    wrong += other.duplicates
    if wrong:
        raise errors.UserError(
            f"`instance_masks={own.instance_masks}` does not have one file for each "
            f"image: {source_files.shorten(wrong, _MAX_LISTED)}. Rename or remove "
            "files, or list images in the file of `leave_out`. Masks of single objects "
            "are in folders with the names of the images."
        )
    return dataclasses.replace(found, instances=other.masks)


def _check_objects(folders, other, own):
    wrong = [*folders.without_image, *other.duplicates]
    if wrong:
        raise errors.UserError(
            f"`instance_masks={own.instance_masks}` has files that are no mask of an "
            f"object of one image: {source_files.shorten(wrong, _MAX_LISTED)}. The "
            "masks of IMAGE are IMAGE/NAME.png or IMAGE/CLASS/NAME.png. Rename or "
            "remove these files."
        )


def _background(path, background, source):
    """Returns a text for `annotations.draw` that draws the background only."""
    size = image_sizes.read(path, ignore_exif=source.own.ignore_exif)
    content = {"size": size, "ground": background, "largest_first": False, "shapes": []}
    return json.dumps({**content, "objects": []} if source.instances else content)


def _check_unpaired(found):
    match = found.match
    unpaired = [
        *(match.images[key] for _, key in unpaired_images(found)),
        *(match.masks[key] for key in unpaired_masks(found)),
    ]
    if unpaired or match.duplicates:
        paths = source_files.shorten([*unpaired, *match.duplicates], _MAX_LISTED)
        raise errors.UserError(
            f"Files without a counterpart: {len(unpaired)}, files with the name of "
            f"another file: {len(match.duplicates)}: {paths}. Rename or remove those "
            "of the same name. Correct the others, or list them in the file of "
            "`leave_out`; python -m tfrecords_tools.inspect with the same options "
            f"writes one.{_passed_over(match)}"
        )


def _passed_over(match):
    if not match.passed_over:
        return ""
    return (
        " Passed over, because of their ending or because they are no regular files: "
        f"{patterns.count_by_suffix(match.passed_over)}."
    )


def unpaired_images(found: OwnImages) -> list[tuple[str, matching.Key]]:
    """Returns splits and keys of images that lack a label and are not left out."""
    if found.keeps_unlabeled:
        return []
    labeled = [split for split in found.splits if not found.is_unlabeled(split)]
    return [
        (split, key)
        for split in labeled
        for key in found.splits[split]
        if key not in found.match.masks and not found.is_left_out(split, key)
    ]


def unpaired_masks(found: OwnImages) -> list[matching.Key]:
    """Returns keys of labels without an image that are not left out."""
    return [
        key for key in found.match.without_image if not found.is_left_out(key[0], key)
    ]


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads an image, and reads or draws its label.

    Raises:
        AnnotationError: A shape cannot be drawn.
    """
    if not pair.shapes:
        contents = pairs.read_files(pair)
        if not pair.instances:
            return contents
        ids = instance_files.read_ids(pair.instances)
        return dataclasses.replace(contents, instances=images.encode_label(ids))
    image = pairs.read_files(dataclasses.replace(pair, label=pair.image)).image
    header = images.read_header(image, name=pair.image)
    try:
        label = annotations.draw(pair.shapes, (header.height, header.width))
        objects = annotations.draw_instances(pair.shapes)
    except annotations.AnnotationError as error:
        if pair.fault:
            raise
        name = pathlib.Path(pair.image).name
        raise annotations.AnnotationError(f"{pair.label} ({name}): {error}") from error
    return pairs.Contents(image, label, objects=objects)
