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

import numpy as np

from kerasseg import datasets, errors, images, records
from kerasseg.system import files, lock, progress
from tfrecords_tools.converters import pairs, registry, source_files
from tfrecords_tools.writing import (
    encoding,
    journal,
    label_rules,
    planning,
    quarantine,
    tasks,
)

REJECTED_FILE = "rejected.jsonl"
_NUM_CHECKED = 20  # Masks to check; if all masks hold 0 and 255, these do too.

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
        num_objects: Number of masks of objects for each image of a split, if objects
            have files of their own; with those of rejected pairs.
    """

    num_records: dict[str, int]
    num_kept: int
    rejected: tuple[dict, ...]
    missing_splits: dict[str, str] = dataclasses.field(default_factory=dict)
    num_objects: dict[str, list[int]] = dataclasses.field(default_factory=dict)


def build_records(
    dataset: str,
    source: pairs.Source,
    records_dir: str | os.PathLike,
    *,
    splits: Sequence[str] | None = None,
    rules: encoding.Rules | None = None,
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
        skip_bad: Skip bad pairs and list them in rejected.jsonl, instead of stopping at
            the first.
        engine: Function that runs the tasks: `quarantine.run` or `beam_engine.run`, or
            a partial of one with its options.

    Raises:
        BuildError: A pair is bad, or with `skip_bad` all pairs of a split are; the
            folder holds other files, or another build is writing there.
        WriteError: The disk is full, or the folder is not writable.
        errors.MissingFileError: The source lacks a folder or a list.
        errors.UserError: The data set is unknown, or the masks hold 0 and 255 and no
            rule tells what 255 means.
    """
    folder = pathlib.Path(records_dir)
    rules = rules or encoding.Rules()
    missing = {}
    if not splits:
        reasons = registry.find_splits(dataset, source)
        splits = [split for split, reason in reasons.items() if not reason]
        missing = {split: reason for split, reason in reasons.items() if reason}
    spec = registry.get_spec(dataset, source)
    instances = _Instances.of(dataset, source, spec)
    plans = [planning.make_plan(spec, split, source, rules) for split in splits]
    if dataset == pairs.OWN:
        _check_0_and_255(plans[0], spec.num_classes, rules.labels)
    if not skip_bad:
        _check_files(plans)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock.hold(folder):
            build = _Build(folder, spec, plans, instances)
            build.clear()
            build.write(rules, skip_bad, engine)
            return dataclasses.replace(build.finish(), missing_splits=missing)
    except lock.LockedError as error:
        raise planning.BuildError(error.strerror) from error
    except tasks.WriteError:
        raise
    except OSError as error:
        raise tasks.write_error(folder / records.INFO_FILE, error) from error


def _check_0_and_255(plan, num_classes, rules):
    """Refuses masks of 0 and 255 for two classes: all of one would be ignored."""
    if num_classes != 2 or rules.numbers:
        return
    listed = [pair for shard in plan.shards for pair in shard]
    chosen = np.linspace(0, len(listed) - 1, min(_NUM_CHECKED, len(listed))).astype(int)
    values: set[int] = set()
    for i in chosen.tolist():
        mask = _read_values(listed[i], rules)
        if mask is None:
            return
        values.update(np.unique(mask).tolist())
    if values == {0, datasets.IGNORE_LABEL}:
        raise errors.UserError(
            f"Masks such as {listed[0].label} hold only 0 and 255, and 255 is ignored, "
            "so there would be one class. Give `label_map=255:1` if 255 is the second "
            "class, or `label_map=255:255` to ignore it."
        )


def _read_values(pair, rules):
    """Returns the values of a mask; None if it has colors, is drawn, or is damaged."""
    if pair.shapes:
        return None
    try:
        data = files.read_bytes(pair.label)
        header = images.probe(data, name=pair.label)
        if label_rules.has_colors(header, rules):
            return None
        if header.format == "jpeg":
            pixels = images.DEFAULT_MAX_PIXELS
            return label_rules.read_colors(data, pixels, pair.label)[..., 0]
        return images.read_label(data, name=pair.label)
    except tasks.BAD:
        return None


def _check_files(plans):
    """Stops before anything is written, if it is clear that the build cannot end."""
    faults = [
        pair.fault
        for plan in plans
        for shard in plan.shards
        for pair in shard
        if pair.fault
    ]
    if faults:
        raise planning.BuildError(
            f"{source_files.count(faults, 'image has', 'images have')} annotations "
            f"that cannot be used. The first: {faults[0].rstrip('.')}. Correct them, "
            "or skip such images with `on_error=skip`."
        )
    missing = [path for plan in plans for path in plan.missing]
    if not missing:
        return
    raise planning.BuildError(
        f"{source_files.count(missing, 'listed file does', 'listed files do')} not "
        f"exist: {source_files.shorten(missing)}. Add what is missing, or skip such "
        "pairs with `on_error=skip`."
    )


class _Instances(NamedTuple):
    """What dataset.json says about the instances of a build."""

    version: int
    classes: tuple[str, ...]

    @classmethod
    def of(cls, dataset, source, spec):
        form = registry.instance_format(dataset, source)
        versions = {"objects": records.OBJECTS_VERSION}
        classes = registry.instance_classes(dataset, spec) if form else ()
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
            return self._new_info({})
        try:
            info = records.read_info(self.folder)
        except (ValueError, IsADirectoryError) as error:
            raise planning.BuildError(
                f"{str(error).rstrip('.')}. {_OTHER_FOLDER}"
            ) from error
        if info.spec != self.spec:
            raise planning.BuildError(
                f"{self.folder} holds records of '{info.spec.name}' with "
                f"{info.spec.num_classes} classes, but '{self.spec.name}' with "
                f"{self.spec.num_classes} classes is to be built. {_OTHER_FOLDER}"
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

    def _new_info(self, splits):
        return records.DatasetInfo(self.spec, splits, *self.instances)

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
            self._write_info(kept)
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

    def finish(self):
        """Writes rejected.jsonl and, last, dataset.json.

        Raises:
            BuildError: All pairs of a split are bad. dataset.json does not list it.
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
        self._write_info({**self.info.splits, **good})
        if len(good) < len(splits):
            self._raise_for_empty(splits.keys() - good.keys(), rejected)
        num_objects = {
            plan.split: plan.num_objects for plan in self.plans if plan.num_objects
        }
        return Result(num_records, self.num_kept, rejected, num_objects=num_objects)

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

    def _write_info(self, splits):
        if splits:
            info = self._new_info(splits)
            records.write_info(self.folder, info)
            self.info = info
        else:
            (self.folder / records.INFO_FILE).unlink(missing_ok=True)
            self.info = self._new_info({})


_OTHER_FOLDER = "Build into another folder, or empty this one first."
