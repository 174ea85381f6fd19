"""Runs the tasks of a build in a pipeline of Apache Beam, on any of its runners.

The runner only says which machine writes which file. A worker writes the file of a task
into the folder of the build, which all machines must see, and beside it a note of what
it wrote; the program that started the pipeline reads the notes as they come. So a build
that is killed goes on where it was, on Beam as without it.
"""

import collections.abc
import dataclasses
import json
import pathlib
import shlex
import tempfile
import threading

from kerasseg import errors, records
from kerasseg.system import files
from tfrecords_tools.writing import journal, planning, quarantine, tasks

_SECONDS_BETWEEN_LOOKS = 0.2
_FAILED = "failed.json"  # Why a task failed; those that follow do nothing then.


def run(
    to_do: list[tasks.Task], *, options: str = "", advance
) -> collections.abc.Iterator[journal.Finished]:
    """Yields the files as they are finished; see `quarantine.run`.

    Args:
        to_do: Tasks of a build.
        options: Options of the pipeline as a shell takes them, such as
            "--runner=DirectRunner --direct_num_workers=4".
        advance: Called here with the number of pictures of each file that is finished.

    Raises:
        BuildError: A task failed, or the pipeline did.
        WriteError: A file could not be written.
        ImportError: Apache Beam is not installed.
    """
    beam = _import_beam()
    folder = to_do[0].path.parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=journal.NOTES_PREFIX) as name:
        notes = pathlib.Path(name)
        given = beam.options.pipeline_options.PipelineOptions(shlex.split(options))
        pipeline = beam.Pipeline(options=given)
        # One file a bundle: Reshuffle keeps a runner from fusing them into one.
        items = pipeline | "Tasks" >> beam.Create(to_do, reshuffle=True)
        _ = items | "Write" >> beam.Map(_write, notes=notes)
        yield from _results(_Running(pipeline), notes, to_do, advance)


def _import_beam():
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
    except ImportError as error:
        raise errors.MissingPackageError(
            "`engine=beam` needs Apache Beam: pip install kerasseg[beam], or leave "
            "the flag out"
        ) from error
    return apache_beam


def _write(task, *, notes) -> None:
    """Writes one file, on whatever machine; a file that failed is not tried again."""
    if (notes / _FAILED).exists():
        return
    try:
        # In a process of its own: a picture may end it, and the pipeline must go on.
        (done,) = quarantine.run([task], num_workers=2, advance=lambda _: None)
        note, name = dataclasses.asdict(done), f"{task.path.name}.json"
    except (planning.BuildError, tasks.WriteError) as error:
        number = getattr(error, "errno", None)
        text = getattr(error, "strerror", None) or str(error)
        note, name = {"errno": number, "text": text}, _FAILED
    files.write_bytes(notes / name, json.dumps(note).encode())


class _Running:
    """A pipeline in a thread, as some runners return only when all is done."""

    def __init__(self, pipeline):
        self._pipeline = pipeline
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._pipeline.run().wait_until_finish()
        except Exception as error:  # Each runner has errors of its own.
            self._error = error

    def wait(self) -> None:
        """Waits for the end, whatever it is."""
        self._thread.join()

    def has_ended(self, seconds) -> bool:
        """Waits so long at most.

        Raises:
            BuildError: The pipeline failed.
        """
        self._thread.join(seconds)
        if self._error is not None:
            raise planning.BuildError(
                f"The pipeline of Apache Beam failed: {self._error}. Finished files "
                "are kept: run the same command again"
            ) from self._error
        return not self._thread.is_alive()


def _results(running, notes, to_do, advance):
    waiting = {f"{task.path.name}.json": task for task in to_do}
    ended = False
    while waiting:
        if ended:
            raise planning.BuildError(
                f"The pipeline of Apache Beam ended without {len(waiting)} of its "
                f"files: its workers do not see {notes.parent}. Give a folder that "
                "all machines share"
            )
        ended = running.has_ended(_SECONDS_BETWEEN_LOOKS)
        for name in sorted(path.name for path in notes.glob("*.json")):
            if name == _FAILED:
                running.wait()
                _raise(json.loads((notes / name).read_bytes()))
            if name in waiting:
                advance(len(waiting.pop(name).pairs))
                yield _read(notes / name)
    running.wait()


def _raise(note):
    if note["errno"] is None:
        raise planning.BuildError(note["text"])
    raise tasks.WriteError(note["errno"], note["text"])


def _read(path):
    note = json.loads(path.read_bytes())
    shard = records.Shard(**note["shard"])
    return journal.Finished(shard, tuple(note["rejected"]))
