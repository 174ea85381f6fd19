"""Hostile and odd inputs of predict: each fails alone, and nothing is lost."""

import os
import pathlib
import re
import shutil
import tempfile
import time
import zlib

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg import images, inference, predict
from kerasseg.inference import files, reading, video_reader, videos
from kerasseg.system import names, processes
from tests.support import commands, levels, slow_readers, tiny

KINDS = ("index", "color", "overlay", "contours")
PNG = tiny.png(levels.IMAGE)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return levels.make_workdir(tmp_path_factory.mktemp("run"))


# What to write at a path; each returns whether the item has a result.


def image(path):
    path.write_bytes(PNG)
    return True


def cut(path):
    path.write_bytes(PNG[: len(PNG) // 2])
    return False


def empty(path):
    path.touch()
    return False


def page(path):
    path.write_bytes(b"<html>")
    return False


def pipe(path):
    os.mkfifo(path)
    return False


def endless(path):
    path.symlink_to("/dev/zero")
    return False


def circle(path):
    path.symlink_to(path.name)
    return False


def gone(path):
    path.symlink_to("nowhere")
    return False


def sparse(path):
    """A file of 1 TiB that takes no room on the disk."""
    path.touch()
    os.truncate(path, 2**40)
    return False


def bomb(path):
    """20,000 x 20,000 pixels in a header."""
    data = bytearray(PNG)
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    return False


CONTENTS = (image, cut, empty, page, pipe, endless, circle, gone, sparse, bomb)
# Bytes of names; "/" and NUL are the only ones that cannot occur.
ODD = (b"\n", b"\r", b"\x1b[2J", b"\xe9", b"\xff\xfe", b"\\", b"\\n", b":", b" ", b"%d")
STEMS = st.one_of(
    st.lists(st.sampled_from(ODD), max_size=3).map(b"".join),
    st.binary(max_size=12).map(lambda b: re.sub(rb"[/\0]", b"_", b)),
    st.integers(200, 247).map(lambda n: b"a" * n),
)


def items():
    """Draws files: a name that is not used twice, and its content."""
    each = st.tuples(STEMS, st.sampled_from(CONTENTS))
    return st.lists(each, min_size=1, max_size=8)


def check(workdir, drawn):
    """Predicts what was drawn and compares what was done with what was given."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = pathlib.Path(temporary, "in"), pathlib.Path(temporary, "out")
        folder.mkdir()
        good, bad = [], []
        for i, (stem, make) in enumerate(drawn):
            name = os.fsdecode(b"%d" % i + stem) + ".jpg"
            (good if make(folder / name) else bad).append(name)
        status = commands.run(
            predict.main,
            *(f"--workdir={workdir}", f"--input={folder}", f"--output_dir={out}"),
            f"--output={','.join(KINDS)}",
        )
        assert status == (2 if bad else 0)
        results = {path.stem for path in (out / "index").glob("*")}
        assert results == {name.removesuffix(".jpg") for name in good}
        failed = out / "failed.txt"
        lines = failed.read_text("utf-8").splitlines() if failed.exists() else []
        assert len(lines) == len(bad)
        for name in bad:
            paths = names.printable(folder / name), repr(str(folder / name))
            assert any(text in line for line in lines for text in paths), name


@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(drawn=items())
def test_bad_files_and_odd_names_fail_alone(workdir, drawn):
    check(workdir, drawn)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_bad_files_and_odd_names_fail_alone_for_minutes(workdir):
    end = time.monotonic() + 600

    @hypothesis.settings(max_examples=10**6, deadline=None, database=None)
    @hypothesis.given(drawn=items())
    def run(drawn):
        if time.monotonic() < end:
            check(workdir, drawn)

    run()


def test_every_kind_of_bad_file_fails_alone(workdir, capfd):
    check(workdir, [(b"", make) for make in CONTENTS])
    output, errors = capfd.readouterr()
    assert "1 of 10 are in" in output
    assert "Traceback" not in errors
    for text in (
        "is a named pipe, expected a regular file",
        "is a device, expected a regular file",
        "Too many levels of symbolic links",
        "20000 x 20000 = 400,000,000 pixels",
        "reading it needs too much memory",
    ):
        assert text in errors


@pytest.mark.parametrize("length", [200, 247, 251])
def test_a_long_name_never_ends_the_run(workdir, tmp_path, capfd, length):
    # 251 letters and ".json" are 256, one more than a name may have.
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    image(folder / ("a" * length + ".jpg"))
    image(folder / "b.jpg")
    arguments = [f"--workdir={workdir}", f"--input={folder}", f"--output_dir={out}"]
    status = commands.run(predict.main, *arguments, "--output=index,contours")
    assert status == (2 if length == 251 else 0)
    stems = {
        path.stem for kind in ("index", "contours") for path in (out / kind).iterdir()
    }
    assert stems == {"b"} | (set() if length == 251 else {"a" * length})
    output, errors = capfd.readouterr()
    assert ("its result cannot be written (File name too long)" in errors) == (
        length == 251
    )
    assert f"{1 if length == 251 else 2} of 2 are in" in output


@hypothesis.given(st.binary(max_size=20))
def test_printable_names_are_one_line_and_lossless(data):
    text = names.printable(os.fsdecode(data))
    assert len(text.splitlines()) <= 1
    text.encode()
    assert b"\x1b" not in text.encode()
    # A form that any reader can undo.
    parts = re.split(r"(\\\\|\\[nrt]|\\x..|\\u....)", text)
    plain = {r"\\": b"\\", r"\n": b"\n", r"\r": b"\r", r"\t": b"\t"}
    undone = b"".join(
        plain[part]
        if part in plain
        else bytes([int(part[2:], 16)])
        if part.startswith(r"\x")
        else chr(int(part[2:], 16)).encode()
        if part.startswith(r"\u")
        else part.encode()
        for part in parts
    )
    assert undone == data


def test_an_image_that_takes_too_long_fails_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_READ", slow_readers.sleeping_image)
    monkeypatch.setattr(files, "_SECONDS", 5.0)
    segmenter = inference.Segmenter(
        levels.build_model(), tiny.SPEC.class_names, tiny.SPEC.palette
    )
    paths = {name: tmp_path / f"{name}.png" for name in ("a", "slow")}
    for path in paths.values():
        image(path)
    failures = inference.predict_files(segmenter, paths, tmp_path / "out")
    assert failures == [f"{paths['slow']}: reading it takes more than 5 s"]
    assert (tmp_path / "out/index/a.png").exists()


# Videos.


def write_video(path, values=(10, 100)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (48, 32))
    for value in values:
        writer.write(levels.red(np.full((32, 48), value))[..., ::-1].copy())
    writer.release()
    return path


def test_bad_videos_fail_alone(workdir, tmp_path, capfd):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    good = write_video(folder / "good.mp4")
    odd = os.fsdecode(b"caf\xe9 %d\n.mp4")
    shutil.copy(good, folder / odd)
    (folder / "list.avi").write_text(f"#EXTM3U\n#EXTINF:1,\n{good}\n")
    (folder / "concat.mkv").write_text(f"ffconcat version 1.0\nfile {good}\n")
    pipe(folder / "pipe.mp4")
    endless(folder / "zero.webm")
    gone(folder / "gone.mov")
    status = commands.run(
        predict.main,
        *(f"--workdir={workdir}", f"--input={folder}", f"--output_dir={out}"),
        "--output=index,color",
    )
    output, errors = capfd.readouterr()
    assert status == 2
    assert "2 of 7 are in" in output
    assert "Traceback" not in errors
    assert len((out / "failed.txt").read_text().splitlines()) == 5
    for name in ("good", odd.removesuffix(".mp4")):
        assert (out / "color" / f"{name}.mp4").stat().st_size
        assert len(list((out / "index" / name).iterdir())) == 2


@pytest.mark.parametrize(
    ("replacement", "reason"),
    [
        (slow_readers.crash, "it crashes its reader"),
        pytest.param(slow_readers.sleep, "takes more than 5 s", marks=pytest.mark.slow),
    ],
)
def test_a_video_that_crashes_or_blocks_its_reader_is_reported(
    tmp_path, monkeypatch, replacement, reason
):
    path = write_video(tmp_path / "clip.mp4")
    monkeypatch.setattr(videos, "_SECONDS", 5.0)
    with videos.Frames(path, max_pixels=10**6) as frames:
        monkeypatch.setattr(videos.video_reader, "next_frame", replacement)
        with pytest.raises(images.ImageError, match=reason):
            list(frames)


def test_the_readers_limit_their_memory(tmp_path):
    path = tmp_path / "a.png"
    image(path)
    with processes.Processes(slow_readers.memory_limit, 1) as call:
        for reader in (reading.read, video_reader.start):
            assert call(reader, path) < 6 * 2**30
