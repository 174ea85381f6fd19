"""Builds a folder of records from the pairs of a data set.

Each file of records is one task that depends only on its pairs. It gets its name when
it is complete, then it is added to the journal. dataset.json is written last. A killed
build therefore resumes, and the number of workers changes no byte.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kerasseg import errors, images, records
from kerasseg.system import files, lock, progress
from tfrecords_tools.converters import image_classes, pairs, registry, source_files
from tfrecords_tools.writing import (
    encoding,
    first_checks,
    image_kinds,
    journal,
    label_rules,
    labeled_options,
    planning,
    quarantine,
    tasks,
)

REJECTED_FILE = "rejected.jsonl"

Engine = Callable[..., Iterator[journal.Finished]]


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a build.

    Attributes:
        num_records: Records of each split.
        num_kept: Number of these records that an earlier build wrote.
        rejected: The pairs that were skipped: dicts with "split", "name", "image",
            "label" and "reason".
        missing_splits: Splits that the source does not have, and why.
        num_unlabeled: Records without a label, of the splits that have some.
        num_classified: Records whose image-level classes a file gives.
        labeled: The list of labeled images of the splits that have one.
        num_objects: Number of masks of objects for each image of a split, if objects
            have files of their own; with those of rejected pairs.
        num_converted: Images of BMP, WebP and TIFF files, which are stored as PNG, or
            as arrays if they are not 8-bit RGB.
        image_kind: Channels, type and statistics of the images.
    """

    num_records: dict[str, int]
    num_kept: int
    rejected: tuple[dict, ...]
    missing_splits: dict[str, str] = dataclasses.field(default_factory=dict)
    num_unlabeled: dict[str, int] = dataclasses.field(default_factory=dict)
    num_classified: dict[str, int] = dataclasses.field(default_factory=dict)
    labeled: dict[str, records.LabeledList] = dataclasses.field(default_factory=dict)
    num_objects: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    num_converted: dict[str, int] = dataclasses.field(default_factory=dict)
    image_kind: images.ImageKind = images.RGB


def build_records(
    dataset: str,
    source: pairs.Source,
    records_dir: str | os.PathLike,
    *,
    splits: Sequence[str] | None = None,
    rules: encoding.Rules | None = None,
    labeled: labeled_options.LabeledOptions | None = None,
    skip_bad: bool = False,
    engine: Engine = quarantine.run,
) -> Result:
    """Builds the records of some splits. Other splits in the folder are unchanged.

    Args:
        dataset: Name of the data set.
        source: Where its images are.
        records_dir: Folder of the records. It is created if it does not exist.
        splits: Names of splits; None for all that the source has.
        rules: How images and labels are read; None for the defaults.
        labeled: Which labels of a split are used in training; None for all. Of the
            splits that are built, dataset.json has this list only.
        skip_bad: Skip bad pairs and list them in rejected.jsonl, instead of stopping at
            the first.
        engine: Function that runs the tasks: `quarantine.run` or `beam_engine.run`, or
            a partial of one with its options.

    Raises:
        BuildError: A pair is bad, or with `skip_bad` all pairs of a split are; the
            folder holds other files, or another build is writing there.
        WriteError: The disk is full, or the folder is not writable.
        errors.MissingFileError: The source lacks a folder or a list.
        errors.UserError: The data set is unknown, the masks hold 0 and 255 and no rule
            tells what 255 means, or a list does not fit the images.
    """
    folder = pathlib.Path(records_dir)
    rules = rules or encoding.Rules()
    labeled = labeled or labeled_options.LabeledOptions()
    missing = {}
    if not splits:
        reasons = registry.find_splits(dataset, source)
        splits = [split for split, reason in reasons.items() if not reason]
        missing = {split: reason for split, reason in reasons.items() if reason}
    spec = registry.get_spec(dataset, source)
    kind = image_kinds.find(dataset, source, splits, rules)
    spec = dataclasses.replace(spec, image_kind=kind)
    instances = _Instances.of(dataset, source, spec)
    classes = _image_classes(dataset, source, spec)
    plans = [
        planning.make_plan(spec, split, source, rules, classes) for split in splits
    ]
    labeled.check_splits(splits)
    _choose_labeled(labeled, {plan.split: plan.pairs for plan in plans})
    _check_rules(dataset, spec, rules, plans)
    if not skip_bad:
        first_checks.check_files(plans)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock.hold(folder):
            build = _Build(folder, spec, plans, instances)
            build.clear()
            build.write(rules, skip_bad, engine)
            result = build.finish(labeled)
            return dataclasses.replace(result, missing_splits=missing)
    except lock.LockedError as error:
        raise planning.BuildError(error.strerror) from error
    except tasks.WriteError:
        raise
    except OSError as error:
        raise tasks.write_error(folder / records.INFO_FILE, error) from error


def _check_rules(dataset, spec, rules, plans):
    """Checks that the rules fit the labels."""
    if spec.multi_label and rules.labels != label_rules.DEFAULT_RULES:
        raise errors.UserError(
            "`multi_label` labels are binary masks of each class, whose values are not "
            "mapped. Leave out the options of labels, such as `label_map`."
        )
    if dataset == pairs.OWN and not spec.multi_label:
        first_checks.check_0_and_255(plans[0], spec.num_classes, rules.labels)


def _image_classes(dataset, source, spec):
    """Returns the image-level classes of a file; None for those of labels."""
    if not source.image_classes:
        return None
    image_names = registry.image_names(dataset, source)
    return image_classes.read(source.image_classes, spec, image_names)


def _choose_labeled(options, listed):
    """Returns the list of labeled images by split, from the pairs of each split."""
    if not options.is_given:
        return {}
    names: dict[bool, list[str]] = {True: [], False: []}
    for pair in listed[options.labeled_split]:
        names[pair.is_unlabeled].append(pair.name_in_record)
    return {options.labeled_split: options.choose(names[False], names[True])}


class _Instances(NamedTuple):
    """What dataset.json says about the instances of a build."""

    version: int
    classes: tuple[str, ...]

    @classmethod
    def of(cls, dataset, source, spec):
        form = registry.instance_format(dataset, source)
        versions = {"objects": records.OBJECTS_VERSION}
        classes = registry.instance_classes(dataset, source, spec) if form else ()
        return cls(versions.get(form, records.SCHEMA_VERSION), classes)


class _Build:
    """One build in one folder."""

    def __init__(self, folder, spec, plans, instances):
        self.folder, self.spec, self.plans = folder, spec, plans
        self.instances = instances
        self.info = self._read_info()
        self.journal = journal.Journal(folder)
        self.rejected_before = self._read_rejected()
        self._check_foreign_files()
        self.finished = {}
        for plan in plans:
            self.finished.update(self.journal.finished(plan))
        self.num_kept = sum(done.shard.records for done in self.finished.values())

    def _read_info(self):
        if not (self.folder / records.INFO_FILE).exists():
            return self._new_info({}, {}, {})
        try:
            info = records.read_info(self.folder)
        except (ValueError, IsADirectoryError) as error:
            raise planning.BuildError(
                f"{str(error).rstrip('.')}. {_OTHER_FOLDER}"
            ) from error
        if not image_kinds.is_same(info.spec, self.spec):
            raise planning.BuildError(
                f"{self.folder} holds records of {image_kinds.title(info.spec)}, but "
                f"{image_kinds.title(self.spec)} is to be built. {_OTHER_FOLDER}"
            )
        others = sorted(info.splits.keys() - {plan.split for plan in self.plans})
        if others and info.instance_classes != self.instances.classes:
            without = "" if info.instance_classes else "out"
            raise planning.BuildError(
                f"{self.folder} holds records of {', '.join(others)} with{without} "
                "instances. Build all splits of a folder with `instances`, or none. "
                f"{_OTHER_FOLDER}"
            )
        return info

    def _new_info(self, splits, lists, counts):
        """Returns dataset.json with these splits, and their lists and counts."""
        lists, counts = _only(lists, splits), _only(counts, splits)
        version, classes = self.instances
        if lists or counts or not self.spec.image_kind.is_rgb:
            version = records.OBJECTS_VERSION
        before = self.info if splits else None  # Not known yet if there are none.
        spec = image_kinds.measured(self.folder, self.spec, splits, before)
        return records.DatasetInfo(spec, splits, version, classes, lists, counts)

    def _check_foreign_files(self):
        """Raises rather than overwrite or remove records of other programs."""
        shards = [shard for split in self.info.splits.values() for shard in split]
        known = self.journal.known_files() | {shard.name for shard in shards}
        foreign = [path.name for path in self._files() if path.name not in known]
        if foreign:
            raise planning.BuildError(
                f"{self.folder} holds records that this tool did not write: "
                f"{', '.join(foreign[:10])}. {_OTHER_FOLDER}"
            )

    def _files(self):
        paths = (records.find_shards(self.folder, plan.split) for plan in self.plans)
        return sorted(path for each in paths for path in each)

    def clear(self):
        """Removes the splits to write from dataset.json, and their old files."""
        journal.sweep(self.folder)
        names = {plan.split: set(plan.shard_names) for plan in self.plans}
        stale = {split for split in names if names[split] - self.finished.keys()}
        kept = {s: shards for s, shards in self.info.splits.items() if s not in stale}
        if kept != self.info.splits:
            self._write_info(kept, self.info.labeled, self.info.num_unlabeled)
        for path in self._files():
            if path.name not in self.finished:
                path.unlink()

    def write(self, rules, skip_bad, engine):
        """Writes the files that are not finished yet."""
        to_do, plan_of = [], {}
        for plan in self.plans:
            self.journal.begin(plan)
            for name, listed in zip(plan.shard_names, plan.shards, strict=True):
                plan_of[name] = plan
                path = self.folder / name
                if name not in self.finished:
                    stats = {x: plan.stats[x] for pair in listed for x in pair.files}
                    task = tasks.Task(
                        self.spec, plan.split, path, listed, stats, rules, skip_bad
                    )
                    to_do.append(task)
        if not to_do:
            return
        total = sum(len(task.pairs) for task in to_do)
        with progress.track(total, unit="image", text=self.spec.name) as bar:
            for done in engine(to_do, advance=bar.update):
                self.journal.note(plan_of[done.shard.name], done)
                self.finished[done.shard.name] = done

    def finish(self, labeled):
        """Writes rejected.jsonl and, last, dataset.json.

        Args:
            labeled: Options of the list of labeled images.

        Raises:
            BuildError: All pairs of a split are bad. dataset.json does not list it.
            errors.UserError: A bad pair is in the list of labeled images.
        """
        splits = {
            plan.split: [self.finished[name].shard for name in plan.shard_names]
            for plan in self.plans
        }
        rejected = tuple(
            pair
            for plan in self.plans
            for name in plan.shard_names
            for pair in self.finished[name].rejected
        )
        self._write_rejected(rejected)
        num_records = {
            split: sum(shard.records for shard in shards)
            for split, shards in splits.items()
        }
        good = {split: splits[split] for split in splits if num_records[split]}
        listed = {plan.split: self._good_pairs(plan) for plan in self.plans}
        lists = _choose_labeled(labeled, listed) if len(good) == len(splits) else {}
        unlabeled = _count(listed, lambda pair: pair.is_unlabeled)
        others = self.info.splits.keys() - splits.keys()
        self._write_info(
            {**self.info.splits, **good},
            {**_only(self.info.labeled, others), **lists},
            {**_only(self.info.num_unlabeled, others), **unlabeled},
        )
        if len(good) < len(splits):
            self._raise_for_empty(splits.keys() - good.keys(), rejected)
        return Result(
            num_records,
            self.num_kept,
            rejected,
            num_unlabeled=unlabeled,
            num_classified=_count(listed, lambda pair: pair.image_classes is not None),
            labeled=lists,
            num_objects=self._num_objects(),
            num_converted=_count(listed, _is_converted),
            image_kind=self.info.spec.image_kind,
        )

    def _num_objects(self):
        """Returns `Result.num_objects`; multi-label masks are those of classes."""
        if self.spec.multi_label:
            return {}
        return {plan.split: plan.num_objects for plan in self.plans if plan.num_objects}

    def _good_pairs(self, plan):
        rejected = {
            pair["name"]
            for name in plan.shard_names
            for pair in self.finished[name].rejected
        }
        return [pair for pair in plan.pairs if pair.name not in rejected]

    def _raise_for_empty(self, splits, rejected):
        first = next(pair for pair in rejected if pair["split"] in splits)
        raise planning.BuildError(
            f"All pairs of {source_files.shorten(sorted(splits))} are bad, as listed "
            f"in {self.folder / REJECTED_FILE}. The first: "
            f"{first['reason'].rstrip('.')}. Check the folders."
        )

    def _read_rejected(self):
        path = self.folder / REJECTED_FILE
        data = path.read_bytes() if path.exists() else b""
        return journal.read_json_lines(data, path)

    def _write_rejected(self, rejected):
        path = self.folder / REJECTED_FILE
        built = {plan.split for plan in self.plans}
        lines = [x for x in self.rejected_before if x.get("split") not in built]
        lines += rejected
        if lines:
            text = "".join(json.dumps(pair) + "\n" for pair in lines)
            files.write_bytes(path, text.encode())
        else:
            path.unlink(missing_ok=True)

    def _write_info(self, splits, lists, counts):
        self.info = self._new_info(splits, lists, counts)
        if splits:
            records.write_info(self.folder, self.info)
        else:
            (self.folder / records.INFO_FILE).unlink(missing_ok=True)


def _is_converted(pair):
    return pair.image.lower().endswith(images.CONVERTED_SUFFIXES)


def _count(listed, is_counted):
    """Returns the number of pairs that count, of the splits that have some."""
    counts = {split: sum(map(is_counted, pairs)) for split, pairs in listed.items()}
    return {split: count for split, count in counts.items() if count}


def _only(values, splits):
    return {split: value for split, value in values.items() if split in splits}


_OTHER_FOLDER = "Build into another folder, or empty this one first."
