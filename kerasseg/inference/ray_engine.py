"""Prediction on the machines of a Ray cluster.

Each worker holds the network, predicts some images at a time like the local engine, and
writes their results into a folder that all machines share. Ray itself would retry an
image that crashes its worker forever: here it is tried twice.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from kerasseg import errors
from kerasseg.inference import resuming
from kerasseg.inference.job import Job
from kerasseg.system import names, progress

_CHUNK_SIZE = 32  # Images for a worker at a time.
_TRIES = 2


def run(
    job: Job,
    paths: Mapping[str, pathlib.Path],
    *,
    num_workers: int | None = None,
    journal: resuming.Journal | None = None,
    kinds: Sequence[str] | None = None,
) -> list[str]:
    """Predicts images on the cluster that `RAY_ADDRESS` names, or on this machine.

    Args:
        job: The network and its options.
        paths: Images and videos by name, see `find_images`.
        num_workers: Number of worker processes; None: one per GPU, or one per machine
            without GPUs.
        journal: Gets an entry for each image and video that is done.
        kinds: Kinds of the entries; None for those of the job.

    Returns:
        A line "PATH: reason" for each image or video that failed.

    Raises:
        errors.MissingPackageError: Ray is not installed.
        ChildProcessError: A worker cannot start.
        errors.UserError: The cluster has too few GPUs or cores for the workers.
        OSError: A result cannot be written.
    """
    if not paths:
        return []
    ray = _import_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False)
    try:
        job = dataclasses.replace(job, **_absolute(job))
        with progress.track(len(paths), unit="image", text="predicting") as bar:
            failures = []
            pool = _Pool(ray, job, num_workers, journal, kinds)
            for count, failed in pool.results(paths):
                failures += failed
                bar.update(count)
        return failures
    finally:
        ray.shutdown()


def _import_ray():
    try:
        import ray
    except ImportError as error:
        raise errors.MissingPackageError(
            "`engine=ray` needs Ray: pip install 'kerasseg[ray]', or leave it out"
        ) from error
    return ray


def _absolute(job):
    """Returns absolute paths: a worker has another working directory."""
    paths = {name: getattr(job, name) for name in ("workdir", "export_dir")}
    paths["output_dir"] = job.output_dir
    return {name: os.path.abspath(path) for name, path in paths.items() if path}


class _Worker:
    """Holds the network in its own process."""

    def __init__(self, job):
        self._open = contextlib.ExitStack()
        self._predict = self._open.enter_context(job.open())

    def wait(self):
        """Returns when the network is loaded."""

    def predict(self, paths):
        """Returns the lines of failures, see `Job.open`, and what is done."""
        done = _Done({})
        return self._predict(paths, journal=done), done.sources


@dataclasses.dataclass(frozen=True)
class _Done:
    """Collects what a worker adds to its journal; this process writes the entries."""

    sources: dict[str, resuming.Source | None]

    def add(self, name, path, found, kinds):
        del path, kinds
        self.sources[name] = found


@dataclasses.dataclass(frozen=True)
class _Chunk:
    paths: dict[str, pathlib.Path]
    tries: int = 0


class _Pool:
    """Workers, each busy with one chunk of the images."""

    def __init__(self, ray, job, num_workers, journal=None, kinds=None):
        self._kinds = kinds
        self._ray, self._job, self._journal = ray, job, journal
        num_gpus = int(ray.cluster_resources().get("GPU", 0))
        num_machines = sum(node["Alive"] for node in ray.nodes())
        options = {"num_cpus": 1, "num_gpus": min(num_gpus, 1)}
        self._class = ray.remote(**options, scheduling_strategy="SPREAD")(_Worker)
        self._refuse_too_many(num_workers or 1, num_gpus)
        self._idle = self._start(num_workers or num_gpus or num_machines)

    def _refuse_too_many(self, count, num_gpus):
        """Raises `errors.UserError`, where Ray would wait forever and silently."""
        room = num_gpus or int(self._ray.cluster_resources().get("CPU", 0))
        if count > room:
            unit = "GPUs" if num_gpus else "cores"
            raise errors.UserError(
                f"`workers={count}`: the cluster has {room} {unit}, and each worker "
                f"needs one. Give fewer, or leave it out for the default"
            )

    def _start(self, count):
        started = [self._class.remote(self._job) for _ in range(count)]
        try:
            self._ray.get([worker.wait.remote() for worker in started])
        except self._ray.exceptions.RayError as error:
            raise ChildProcessError(
                f"A Ray worker cannot start: {error}. Its machine needs access to the "
                f"network's files, and the same version of kerasseg as this one"
            ) from error
        return started

    def results(self, paths):
        """Yields the number of images of a chunk, and the lines of their failures."""
        waiting = collections.deque(_chunks(paths))
        running: dict = {}
        while waiting or running:
            while waiting and self._idle:
                worker, chunk = self._idle.pop(), waiting.popleft()
                running[worker.predict.remote(chunk.paths)] = worker, chunk
            (call,), _ = self._ray.wait(list(running))
            worker, chunk = running.pop(call)
            try:
                failures, done = self._ray.get(call)
            except self._ray.exceptions.RayActorError:
                self._idle += self._start(1)
                waiting += _retries(chunk)
                failures = _crashes(chunk)
                yield len(failures), failures
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            else:
                self._idle.append(worker)
                self._note(chunk.paths, done)
                yield len(chunk.paths), failures

    def _note(self, paths, done):
        """Adds to the journal what a worker has done, with its sources."""
        if self._journal is not None:
            kinds = self._kinds or self._job.predicted_kinds
            for name, found in done.items():
                self._journal.add(name, paths[name], found, kinds)


def _chunks(paths):
    absolute = [(name, pathlib.Path(path).absolute()) for name, path in paths.items()]
    starts = range(0, len(absolute), _CHUNK_SIZE)
    return [_Chunk(dict(absolute[i : i + _CHUNK_SIZE])) for i in starts]


def _retries(chunk):
    """Returns a chunk for each image, to find the one that crashed the worker."""
    if chunk.tries + 1 >= _TRIES:
        return []
    return [_Chunk({name: path}, chunk.tries + 1) for name, path in chunk.paths.items()]


def _crashes(chunk):
    if chunk.tries + 1 < _TRIES:
        return []
    return [
        f"{names.printable(path)}: it crashes its worker; tried twice"
        for path in chunk.paths.values()
    ]
