"""Predicts pictures on the machines of a Ray cluster.

Each worker holds the network and predicts some pictures at a time, as the local engine
does; results are written by the workers, into a folder that all machines must see. Ray
itself would try a picture that kills its worker for ever: here it is tried twice.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib

from kerasseg import errors
from kerasseg.system import progress

_PICTURES = 32  # To a worker at a time.
_TRIES = 2


def run(job, pictures: dict[str, pathlib.Path], *, num_workers=None) -> list[str]:
    """Predicts pictures; `RAY_ADDRESS` names the cluster, else this machine is one.

    Args:
        job: `prediction.Job`.
        pictures: What `inference.find_images` returned.
        num_workers: Processes in all; by default one a GPU, without GPUs one a machine.

    Returns:
        What could not be predicted, "NAME: reason" each.

    Raises:
        ImportError: Ray is not installed.
        ChildProcessError: A worker cannot start.
        ValueError: There are more workers than the cluster has room for.
        OSError: A result cannot be written.
    """
    if not pictures:
        return []
    ray = _import_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False)
    try:
        job = dataclasses.replace(job, **_absolute(job))
        with progress.track(len(pictures), unit="picture", text="predicting") as bar:
            failures = []
            for count, failed in _Pool(ray, job, num_workers).results(pictures):
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
            "`engine=ray` needs Ray: pip install kerasseg[ray], or leave the flag out"
        ) from error
    return ray


def _absolute(job):
    """Workers have a working folder of their own."""
    paths = {name: getattr(job, name) for name in ("workdir", "export_dir")}
    paths["output_dir"] = job.output_dir
    return {name: os.path.abspath(path) for name, path in paths.items() if path}


class _Worker:
    """Holds the network, in a process of its own."""

    def __init__(self, job):
        self._open = contextlib.ExitStack()
        self._predict = self._open.enter_context(job.open())

    def wait(self):
        """Returns when the network is there."""

    def predict(self, pictures):
        """See `prediction.Job.open`."""
        return self._predict(pictures)


@dataclasses.dataclass(frozen=True)
class _Part:
    pictures: dict[str, pathlib.Path]
    tries: int = 0


class _Pool:
    """Workers, each busy with one part of the pictures."""

    def __init__(self, ray, job, num_workers):
        self._ray, self._job = ray, job
        num_gpus = int(ray.cluster_resources().get("GPU", 0))
        num_machines = sum(node["Alive"] for node in ray.nodes())
        options = {"num_cpus": 1, "num_gpus": min(num_gpus, 1)}
        self._class = ray.remote(**options, scheduling_strategy="SPREAD")(_Worker)
        self._refuse_too_many(num_workers or 1, num_gpus)
        self._idle = self._start(num_workers or num_gpus or num_machines)

    def _refuse_too_many(self, count, num_gpus):
        """Ray itself would wait for ever, and without a word."""
        room = num_gpus or int(self._ray.cluster_resources().get("CPU", 0))
        if count > room:
            what = "GPUs" if num_gpus else "cores"
            raise errors.UserError(
                f"`workers={count}`: the cluster has {room} {what}, and each worker "
                "needs one. Give fewer, or none for the usual number"
            )

    def _start(self, count):
        started = [self._class.remote(self._job) for _ in range(count)]
        try:
            self._ray.get([worker.wait.remote() for worker in started])
        except self._ray.exceptions.RayError as error:
            raise ChildProcessError(
                f"A worker of Ray cannot start: {error}. It must see the network and "
                "have the same kerasseg as this machine"
            ) from error
        return started

    def results(self, pictures):
        """Yields how many pictures are done, and those of them that failed."""
        waiting = collections.deque(_cut(pictures))
        running: dict = {}
        while waiting or running:
            while waiting and self._idle:
                worker, part = self._idle.pop(), waiting.popleft()
                running[worker.predict.remote(part.pictures)] = worker, part
            (done,), _ = self._ray.wait(list(running))
            worker, part = running.pop(done)
            try:
                failures = self._ray.get(done)
            except self._ray.exceptions.RayActorError:
                self._idle += self._start(1)
                waiting += _again(part)
                lost = _lost(part)
                yield len(lost), lost
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            else:
                self._idle.append(worker)
                yield len(part.pictures), failures


def _cut(pictures):
    items = list(pictures.items())
    starts = range(0, len(items), _PICTURES)
    parts = (items[start : start + _PICTURES] for start in starts)
    return [
        _Part({name: pathlib.Path(path).absolute() for name, path in part})
        for part in parts
    ]


def _again(part):
    """Which of the pictures killed the worker shows when each is tried alone."""
    if part.tries + 1 >= _TRIES:
        return []
    return [_Part({name: path}, part.tries + 1) for name, path in part.pictures.items()]


def _lost(part):
    if part.tries + 1 < _TRIES:
        return []
    return [
        f"{path}: it kills what predicts it; tried twice"
        for path in part.pictures.values()
    ]
