"""The one writer: from a data set's pairs to a folder of records.

Each file of records is one task that depends on its pairs only. It appears under its
name when it is whole, then the journal notes it; dataset.json comes last. So a build
that was killed goes on where it was, and the number of workers changes no byte.
"""

import dataclasses
import json
import os
import pathlib

from kerasseg import records
from kerasseg.system import files, lock, progress
from tfrecords_tools import texts
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import encoding, journal, planning, quarantine, tasks

REJECTED_FILE = "rejected.jsonl"


@dataclasses.dataclass(frozen=True)
class Result:
    """What a build made.

    Attributes:
        num_records: Records of each split.
        num_kept: Of all these, how many an earlier build had written.
        rejected: The pairs that were left out: dicts of "split", "name", "image",
            "label" and "reason".
    """

    num_records: dict[str, int]
    num_kept: int
    rejected: tuple[dict, ...]


def build_records(
    dataset: str,
    source: pairs.Source,
    records_dir: str | os.PathLike,
    *,
    splits,
    rules: encoding.Rules | None = None,
    skip_bad: bool = False,
    engine=quarantine.run,
) -> Result:
    """Builds the records of some splits; other splits in the folder stay as they are.

    Args:
        dataset: Name of the data set.
        source: Where its pictures are.
        records_dir: Folder of the records; it is made if there is none.
        splits: Names of splits.
        rules: What a pair must fulfil; the defaults if None.
        skip_bad: Leave bad pairs out and list them in rejected.jsonl, instead of
            stopping at the first.
        engine: What runs the tasks: `quarantine.run`, `beam_engine.run`, or a partial
            of one, with what it takes besides.

    Raises:
        BuildError: A pair is bad, or with `skip_bad` all of a split are; the folder
            holds other files, or another build is writing there.
        WriteError: The disk is full, or the folder cannot be written to.
        FileNotFoundError: The source lacks a folder or a list.
        ValueError: Unknown data set.
    """
    folder = pathlib.Path(records_dir)
    spec = pairs.facts(dataset, source)
    rules = rules or encoding.Rules()
    plans = [planning.make_plan(spec, split, source, rules) for split in splits]
    if not skip_bad:
        _refuse_missing(plans)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock.hold(folder):
            build = _Build(folder, spec, plans)
            build.clear()
            build.write(rules, skip_bad, engine)
            return build.finish()
    except lock.LockedError as error:
        raise planning.BuildError(error.strerror) from error
    except tasks.WriteError:
        raise
    except OSError as error:
        raise tasks.write_error(folder / records.INFO_FILE, error) from error


def _refuse_missing(plans):
    missing = [path for plan in plans for path in plan.missing]
    if not missing:
        return
    raise planning.BuildError(
        f"{len(missing)} listed files do not exist: {texts.some(missing)}. "
        "Add them, or leave their pairs out with `on_error=skip`"
    )


class _Build:
    """One run of the writer in one folder."""

    def __init__(self, folder, spec, plans):
        self.folder, self.spec, self.plans = folder, spec, plans
        self.info = self._read_info()
        self.journal = journal.Journal(folder)
        self._refuse_foreign_files()
        self.finished = {}
        for plan in plans:
            self.finished.update(self.journal.finished(plan))
        self.num_kept = sum(done.shard.records for done in self.finished.values())

    def _read_info(self):
        if not (self.folder / records.INFO_FILE).exists():
            return records.DatasetInfo(self.spec, {})
        try:
            info = records.read_info(self.folder)
        except ValueError as error:
            raise planning.BuildError(f"{error} {_OTHER_FOLDER}") from error
        if info.spec != self.spec:
            raise planning.BuildError(
                f"{self.folder} holds records of '{info.spec.name}' with "
                f"{info.spec.num_classes} classes, to be built is '{self.spec.name}' "
                f"with {self.spec.num_classes} classes. {_OTHER_FOLDER}"
            )
        return info

    def _refuse_foreign_files(self):
        """Never overwrites or removes records that this writer did not write."""
        shards = [shard for split in self.info.splits.values() for shard in split]
        known = self.journal.known_files() | {shard.name for shard in shards}
        foreign = [path.name for path in self._files() if path.name not in known]
        if foreign:
            raise planning.BuildError(
                f"{self.folder} holds records that this tool did not write: "
                f"{', '.join(foreign[:10])}. {_OTHER_FOLDER}"
            )

    def _files(self):
        found = (records.find_shards(self.folder, plan.split) for plan in self.plans)
        return sorted(path for paths in found for path in paths)

    def clear(self):
        """Takes the splits that must be written out of dataset.json and the folder."""
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
        with progress.track(total, unit="picture", text=self.spec.name) as bar:
            for done in engine(to_do, advance=bar.update):
                self.journal.note(plan_of[done.shard.name], done)
                self.finished[done.shard.name] = done

    def finish(self):
        """Writes rejected.jsonl and, last of all, dataset.json.

        Raises:
            BuildError: Every pair of a split is bad; it is not in dataset.json then.
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
            self._refuse_empty(splits.keys() - good.keys(), rejected)
        return Result(num_records, self.num_kept, rejected)

    def _refuse_empty(self, splits, rejected):
        first = next(pair for pair in rejected if pair["split"] in splits)
        raise planning.BuildError(
            f"Every pair of {texts.some(sorted(splits))} is bad, as "
            f"{self.folder / REJECTED_FILE} lists; the first: {first['reason']} Are "
            "these the right folders?"
        )

    def _write_rejected(self, rejected):
        path = self.folder / REJECTED_FILE
        text = files.read_text(path) if path.exists() else ""
        built = {plan.split for plan in self.plans}
        earlier = [json.loads(line) for line in text.splitlines()]
        lines = [pair for pair in earlier if pair["split"] not in built]
        lines += rejected
        if lines:
            text = "".join(json.dumps(pair) + "\n" for pair in lines)
            files.write_bytes(path, text.encode())
        else:
            path.unlink(missing_ok=True)

    def _write_info(self, splits):
        if splits:
            info = records.DatasetInfo(self.spec, splits)
            records.write_info(self.folder, info)
            self.info = info
        else:
            (self.folder / records.INFO_FILE).unlink(missing_ok=True)
            self.info = records.DatasetInfo(self.spec, {})


_OTHER_FOLDER = "Build into another folder, or empty this one first."
