"""Prediction on the workers of a Ray cluster."""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys
from unittest import mock

import pytest

from kerasseg.inference import ray_engine, resuming
from tests.support import fake_ray, levels, tiny

SOURCE = resuming.Source(size=3, modified=4)


@dataclasses.dataclass
class Job:
    """Records its calls; some images crash it, some fail, one fills the disk."""

    calls: list
    kinds: tuple = ("index",)

    @property
    def predicted_kinds(self):
        return self.kinds

    @contextlib.contextmanager
    def open(self):
        yield self._predict

    def _predict(self, paths, journal):
        self.calls.append(sorted(paths))
        if any(name.startswith("crash") for name in paths):
            raise fake_ray.DiedError
        if "full" in paths:
            raise OSError(28, "No space left on device")
        for name in {*paths} - {"bad"}:
            journal.add(name, paths[name], SOURCE, self.kinds)
        return [f"{path}: broken" for name, path in paths.items() if name == "bad"]


def results(ray, names, num_workers=None, journal=None):
    """Returns the number of images, the failures, and the images of each call."""
    job = Job([])
    pool = ray_engine._Pool(ray, job, num_workers, journal)
    actual = list(pool.results({name: pathlib.Path(f"/{name}.png") for name in names}))
    failures = [line for _, failed in actual for line in failed]
    return sum(count for count, _ in actual), failures, job.calls


def test_images_are_distributed_in_chunks_of_32():
    count, failures, calls = results(fake_ray.FakeRay(), [f"{i:03}" for i in range(70)])
    assert (count, failures) == (70, [])
    assert [len(names) for names in calls] == [32, 32, 6]


def test_an_image_that_crashes_its_worker_is_tried_twice():
    ray = fake_ray.FakeRay()
    names = ["a", "bad", "crash1", "b", "crash2"]
    count, failures, calls = results(ray, names)
    # All together; then each alone, to find out which one it was.
    assert calls == [sorted(names), ["a"], ["bad"], ["crash1"], ["b"], ["crash2"]]
    assert count == len(names)
    assert failures == [
        "/bad.png: broken",
        "/crash1.png: it crashes its worker; tried twice",
        "/crash2.png: it crashes its worker; tried twice",
    ]
    assert ray.num_started == 4  # Each of the three that crashed is replaced.


def test_only_what_a_worker_has_done_is_in_the_journal():
    journal = mock.create_autospec(resuming.Journal, instance=True)
    results(fake_ray.FakeRay(), ["a", "bad", "crash", "b"], journal=journal)
    assert sorted(call.args for call in journal.add.call_args_list) == [
        (name, pathlib.Path(f"/{name}.png"), SOURCE, ("index",)) for name in "ab"
    ]


@pytest.mark.parametrize(
    ("gpus", "given", "room"), [(0, 3, "2 cores"), (4, 5, "4 GPUs")]
)
def test_more_workers_than_gpus_or_cores_are_an_error(gpus, given, room):
    ray = fake_ray.FakeRay(gpus)
    with pytest.raises(ValueError, match=f"`workers={given}`: .* has {room}, .* fewer"):
        results(ray, ["a"], given)
    assert not ray.num_started


def test_an_error_in_a_worker_is_raised():
    with pytest.raises(OSError, match="No space left"):
        results(fake_ray.FakeRay(), ["a", "full"])


@pytest.mark.parametrize(
    ("gpus", "machines", "given", "expected"),
    [(0, 1, None, 1), (0, 3, None, 3), (8, 2, None, 8), (8, 2, 5, 5)],
)
def test_there_is_one_worker_per_gpu_or_machine(gpus, machines, given, expected):
    ray = fake_ray.FakeRay(gpus, machines)
    results(ray, ["a"], given)
    assert ray.num_started == expected


def test_a_worker_that_cannot_load_the_network_is_an_error():
    with pytest.raises(ChildProcessError, match=r"cannot start: .*version of kerasseg"):
        ray_engine._Pool(fake_ray.FakeRay(), object(), None)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'kerasseg\[ray\]"):
        ray_engine.run(Job([]), {"a": pathlib.Path("a.png")})


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs kerasseg[ray]")
def test_the_results_equal_those_of_the_local_engine(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    for i in range(40):
        image = levels.red([[i, 70 + i, 3], [200, 2 * i, 9]])
        (tmp_path / f"inputs/{i % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"inputs/{i % 3}/{i}.png").write_bytes(tiny.png(image))
    (tmp_path / "inputs/broken.png").write_bytes(b"none")
    actual = {}
    for engine in ("local", "ray"):
        output = tmp_path / engine
        done = predict(f"--engine={engine}", tmp_path / "inputs", output, workdir)
        assert done.returncode == 2, done.stderr
        assert "Failed (1):" in done.stderr
        actual[engine] = {
            str(path.relative_to(output)): path.read_bytes()
            for path in output.rglob("*.png")
        }
    assert len(actual["local"]) == 80
    assert actual["ray"] == actual["local"]


def predict(engine, inputs, output, workdir):
    """Runs the command, with Ray's workers at normal priority."""
    given = [f"--input={inputs}", f"--output_dir={output}", f"--workdir={workdir}"]
    return subprocess.run(
        [sys.executable, "-m", "kerasseg.predict", engine, *given],
        env={**os.environ, "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
