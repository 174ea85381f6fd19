"""Prediction by the workers of a Ray cluster."""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from kerasseg.inference import ray_engine
from tests import fake_ray, levels, tiny


@dataclasses.dataclass
class Job:
    """Notes what it predicts; some pictures kill it, some fail, one finds no disk."""

    seen: list

    @contextlib.contextmanager
    def open(self):
        yield self._predict

    def _predict(self, pictures):
        self.seen.append(sorted(pictures))
        if any(name.startswith("killer") for name in pictures):
            raise fake_ray.DiedError
        if "full" in pictures:
            raise OSError(28, "No space left on device")
        return [f"{path}: broken" for name, path in pictures.items() if name == "bad"]


def results(ray, names, num_workers=None):
    """Returns how many pictures were counted, what failed, and each call's pictures."""
    job = Job([])
    pool = ray_engine._Pool(ray, job, num_workers)
    found = list(pool.results({name: pathlib.Path(f"/{name}.png") for name in names}))
    failures = [line for _, failed in found for line in failed]
    return sum(count for count, _ in found), failures, job.seen


def test_pictures_are_dealt_32_at_a_time():
    count, failures, seen = results(fake_ray.FakeRay(), [f"{i:03}" for i in range(70)])
    assert (count, failures) == (70, [])
    assert [len(names) for names in seen] == [32, 32, 6]


def test_a_picture_that_kills_its_worker_is_tried_twice_and_the_others_are_done():
    ray = fake_ray.FakeRay()
    names = ["a", "bad", "killer1", "b", "killer2"]
    count, failures, seen = results(ray, names)
    # All at once; then each alone, as nobody knows which it was.
    assert seen == [sorted(names), ["a"], ["bad"], ["killer1"], ["b"], ["killer2"]]
    assert count == len(names)
    assert failures == [
        "/bad.png: broken",
        "/killer1.png: it kills what predicts it; tried twice",
        "/killer2.png: it kills what predicts it; tried twice",
    ]
    assert ray.num_started == 4  # Each of the three that died has one in its place.


@pytest.mark.parametrize(
    ("gpus", "given", "room"), [(0, 3, "2 cores"), (4, 5, "4 GPUs")]
)
def test_more_workers_than_there_is_room_for_are_an_error(gpus, given, room):
    ray = fake_ray.FakeRay(gpus)
    with pytest.raises(ValueError, match=f"`workers={given}`: .* has {room}, .* fewer"):
        results(ray, ["a"], given)
    assert not ray.num_started


def test_what_stops_a_worker_stops_all_with_its_own_error():
    with pytest.raises(OSError, match="No space left"):
        results(fake_ray.FakeRay(), ["a", "full"])


@pytest.mark.parametrize(
    ("gpus", "machines", "given", "wanted"),
    [(0, 1, None, 1), (0, 3, None, 3), (8, 2, None, 8), (8, 2, 5, 5)],
)
def test_there_is_a_worker_a_gpu_or_a_machine(gpus, machines, given, wanted):
    ray = fake_ray.FakeRay(gpus, machines)
    results(ray, ["a"], given)
    assert ray.num_started == wanted


def test_a_worker_that_cannot_open_the_network_is_told_and_not_started_for_ever():
    with pytest.raises(ChildProcessError, match=r"cannot start: .*same kerasseg"):
        ray_engine._Pool(fake_ray.FakeRay(), object(), None)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install kerasseg\[ray\]"):
        ray_engine.run(Job([]), {"a": pathlib.Path("a.png")})


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs kerasseg[ray]")
def test_the_bytes_are_those_of_the_local_engine(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    for i in range(40):
        image = levels.red([[i, 70 + i, 3], [200, 2 * i, 9]])
        (tmp_path / f"pictures/{i % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"pictures/{i % 3}/{i}.png").write_bytes(tiny.png(image))
    (tmp_path / "pictures/broken.png").write_bytes(b"none")
    found = {}
    for engine in ("local", "ray"):
        output = tmp_path / engine
        done = predict(f"--engine={engine}", tmp_path / "pictures", output, workdir)
        assert done.returncode == 2, done.stderr
        assert "Not predicted, 1:" in done.stderr
        found[engine] = {
            str(path.relative_to(output)): path.read_bytes()
            for path in output.rglob("*.png")
        }
    assert len(found["local"]) == 80
    assert found["ray"] == found["local"]


def predict(engine, pictures, output, workdir):
    """Runs the command; Ray's workers would give way to whatever else there is."""
    given = [f"--input={pictures}", f"--output_dir={output}", f"--workdir={workdir}"]
    return subprocess.run(
        [sys.executable, "-m", "kerasseg.predict", engine, *given],
        env={**os.environ, "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
