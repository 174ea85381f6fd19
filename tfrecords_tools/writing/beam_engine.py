"""Runs the tasks of a build in a pipeline of Apache Beam, on any of its runners.

The runner only decides which machine writes which file. A worker writes the file of a
task into the folder of the build, which all machines must see, and a note next to it.
The program that started the pipeline reads the notes as they appear. A killed build
therefore resumes on Beam as it does without it.
"""

import dataclasses
import json
import pathlib
import shlex
import tempfile
import threading
from collections.abc import Callable, Iterator

from kerasseg import errors, records
from kerasseg.system import files
from tfrecords_tools.writing import journal, planning, quarantine, tasks

_POLL_SECONDS = 0.2
_FAILED = "failed.json"  # Why a task failed; tasks that follow do nothing then.


def run(
    to_do: list[tasks.Task], *, options: str = "", advance: Callable[[int], object]
) -> Iterator[journal.Finished]:
    """Yields the files as they are finished.

    Args:
        to_do: Tasks of a build.
        options: Options of the pipeline as in a shell, such as
            "--runner=DirectRunner --direct_num_workers=4".
        advance: Called here with the number of images of each finished file.

    Raises:
        BuildError: A task or the pipeline failed.
        WriteError: A file could not be written.
        errors.MissingPackageError: Apache Beam is not installed.
    """
    beam = _import_beam()
    folder = to_do[0].path.parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=journal.NOTES_PREFIX) as name:
        notes = pathlib.Path(name)
        given = beam.options.pipeline_options.PipelineOptions(shlex.split(options))
        pipeline = beam.Pipeline(options=given)
        # One file per bundle: Reshuffle prevents a runner from fusing them.
        items = pipeline | "Tasks" >> beam.Create(to_do, reshuffle=True)
        _ = items | "Write" >> beam.Map(_write, notes=notes)
        yield from _results(_Running(pipeline), notes, to_do, advance)


def _import_beam():
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
    except ImportError as error:
        raise errors.MissingPackageError(
            "`engine=beam` needs Apache Beam. It is not installed: pip install "
            "'kerasseg[beam]', or omit the option."
        ) from error
    return apache_beam


def _write(task, *, notes) -> None:
    """Writes one file, on any machine. A file that failed is not retried."""
    if (notes / _FAILED).exists():
        return
    try:
        # In a separate process: if an image crashes it, the pipeline must go on.
        (done,) = quarantine.run([task], num_workers=1, advance=lambda _: None)
        note, name = dataclasses.asdict(done), f"{task.path.name}.json"
    except (planning.BuildError, tasks.WriteError) as error:
        number = getattr(error, "errno", None)
        text = getattr(error, "strerror", None) or str(error)
        note, name = {"errno": number, "text": text}, _FAILED
    files.write_bytes(notes / name, json.dumps(note).encode())


class _Running:
    """A pipeline in a thread, because some runners return only at the end."""

    def __init__(self, pipeline):
        self._pipeline = pipeline
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._pipeline.run().wait_until_finish()
        except Exception as error:  # Each runner raises other errors.
            self._error = error

    def wait(self) -> None:
        """Waits for the end, successful or not."""
        self._thread.join()

    def has_ended(self, seconds: float) -> bool:
        """Waits for at most `seconds`, and returns whether the pipeline has ended.

        Raises:
            BuildError: The pipeline failed.
        """
        self._thread.join(seconds)
        if self._error is not None:
            raise planning.BuildError(
                f"The pipeline of Apache Beam failed: {self._error}. Finished files "
                "are kept. Run the same command again."
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
                "all machines share."
            )
        ended = running.has_ended(_POLL_SECONDS)
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
