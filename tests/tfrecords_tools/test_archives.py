"""Downloads as zip and tar: row 11 of docs/datasets.md."""

import gzip
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from kerasseg import records
from tests.support import faults, published, trees
from tfrecords_tools.converters import archives

ZEROS = bytes(32 << 20)  # Compressed to a thousandth of its size.


def zip_of(path, members, *, links=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
        for name, target in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return path


def tar_of(path, members, *, links=(), kind=tarfile.SYMTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return path


MAKERS = pytest.mark.parametrize(
    ("make", "ending"), [(zip_of, "zip"), (tar_of, "tgz")], ids=["zip", "tar"]
)


@pytest.fixture
def inner(tmp_path):
    folder = tmp_path / "around" / "inner"
    folder.mkdir(parents=True)
    return folder


def refused(path, reason):
    """Checks that an archive is refused and that nothing was unpacked."""
    top = path.parent.parent
    before = sorted(top.rglob("*"))
    with pytest.raises(archives.ArchiveError, match=reason) as caught:
        archives.unpack([path])
    assert path.name in str(caught.value)
    assert sorted(top.rglob("*")) == before


@MAKERS
def test_plain_files_are_unpacked_next_to_the_archive(inner, make, ending):
    path = make(
        inner / f"a.{ending}", [("top/a.txt", b"one"), ("./top/b/c.txt", b"two")]
    )
    folder = archives.unpack([path])
    assert folder == inner / f"{path.name}.unpacked"
    assert (folder / "top" / "a.txt").read_bytes() == b"one"
    assert (folder / "top" / "b" / "c.txt").read_bytes() == b"two"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@MAKERS
@pytest.mark.parametrize(
    "name",
    ["../escaped", "a/../../escaped", "/tmp/escaped", "..\\escaped", "C:\\escaped"],
)
def test_members_outside_of_the_folder_are_refused(inner, make, ending, name):
    path = make(inner / f"a.{ending}", [("fine", b"x"), (name, b"x")])
    refused(path, "would be written outside of the folder")


@MAKERS
@pytest.mark.parametrize("target", ["/etc/passwd", "../..", "fine"])
def test_links_are_refused(inner, make, ending, target):
    path = make(inner / f"a.{ending}", [("fine", b"x")], links=[("link", target)])
    refused(path, "link is a link or a device")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_hard_links_and_devices_are_refused(inner, kind):
    path = tar_of(inner / "a.tar.gz", [], links=[("odd", "fine")], kind=kind)
    refused(path, "odd is a link or a device")


@MAKERS
def test_a_member_that_expands_a_thousandfold_is_refused(inner, make, ending):
    path = make(inner / f"a.{ending}", [("fine", b"x"), ("zeros", ZEROS)])
    assert path.stat().st_size < len(ZEROS) / 900
    refused(path, "with zeros it would expand to more than 200 times")


def test_one_expanding_member_among_many_is_refused(inner):
    noise = np.random.default_rng(0).bytes(len(ZEROS) // 100)
    refused(zip_of(inner / "a.zip", [("noise", noise), ("zeros", ZEROS)]), "with zeros")


def test_many_members_that_expand_together_are_refused(inner):
    parts = [(f"part{i}", bytes(1 << 20)) for i in range(20)]
    refused(
        zip_of(inner / "a.zip", parts), "with part16 it would expand to more than 200"
    )


@pytest.mark.parametrize("size", [1 << 17, 3 << 30])
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("first", [True, False])
def test_long_names_are_refused_before_they_are_read(inner, size, format, first):
    # The header of the name says how long it is; only one block of it is there.
    kind = tarfile.GNUTYPE_LONGNAME if format == tarfile.GNU_FORMAT else tarfile.XHDTYPE
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, size
    plain = tarfile.TarInfo("fine").tobuf()
    path = inner / "a.tar.gz"
    parts = [] if first else [plain]
    data = b"".join([*parts, header.tobuf(format), bytes(1024), plain, bytes(1024)])
    path.write_bytes(gzip.compress(data))
    tracemalloc.start()
    refused(path, f"a name or an attribute in it has {size:,} bytes")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@MAKERS
def test_names_that_no_disk_takes_are_refused(inner, make, ending):
    path = make(inner / f"a.{ending}", [("fine", b"x"), ("a" * 300, b"x")])
    refused(path, "in it is too long for this disk")


@MAKERS
def test_files_of_two_archives_must_not_hide_each_other(inner, make, ending):
    first = make(inner / f"a.{ending}", [("a", b"x"), ("b", b"y")])
    second = make(inner / f"b.{ending}", [("c", b"z"), ("a", b"z")])
    with pytest.raises(
        archives.ArchiveError, match="a occurs in it twice, or in another"
    ):
        archives.unpack([first, second])
    assert sorted(inner.iterdir()) == [first, second]


@MAKERS
@pytest.mark.parametrize("num_bytes", [30, 300])
def test_cut_archives_are_refused(inner, make, ending, num_bytes):
    noise = np.random.default_rng(0).bytes(5000)
    path = make(inner / f"a.{ending}", [("noise", noise), ("more", noise)])
    faults.cut(path, num_bytes)
    refused(path, "damaged or protected|the download is complete")


def test_a_plain_tar_that_is_cut_between_its_files_is_refused(inner):
    path = inner / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("a", "b"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    os.truncate(path, 2 * 512)  # A header and a block of data per file.
    refused(path, "damaged or protected .it is truncated")


def test_flipped_bits_are_found(inner):
    noise = np.random.default_rng(0).bytes(5000)
    path = zip_of(inner / "a.zip", [("noise", noise)])
    faults.flip_bit(path, 1000)
    refused(path, "damaged or protected .*CRC")


def test_files_that_are_not_an_archive_are_refused(inner):
    (inner / "a.zip").write_bytes(b"<html>Not found</html>")
    refused(inner / "a.zip", "expected a folder, or a zip or tar archive. Check that")


def test_what_was_unpacked_before_is_reused_unless_the_archive_changed(inner):
    path = zip_of(inner / "a.zip", [("a", b"x")])
    folder = archives.unpack([path])
    (folder / "a").write_bytes(b"mine")
    assert (archives.unpack([path]) / "a").read_bytes() == b"mine"
    os.utime(path, ns=(1, 1))
    with pytest.raises(
        archives.ArchiveError, match="was unpacked from other archives, or"
    ):
        archives.unpack([path])


def test_what_killed_processes_left_is_removed_and_what_others_do_is_not(inner):
    path = zip_of(inner / "a.zip", [("a", b"x")])
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {x: inner / f".a.zip.unpacked.tmp-{x}" for x in (dead.pid, 1, "mine")}
    for folder in names.values():
        folder.mkdir()
    archives.unpack([path])
    assert [x.exists() for x in names.values()] == [False, True, True]


def test_processes_that_unpack_the_same_archive_share_one_folder(inner, monkeypatch):
    path = zip_of(inner / "a.zip", [("a", b"x")])
    real = archives._rename

    def second_first(temporary, folder):
        monkeypatch.undo()
        shutil.copytree(temporary, folder)  # As another process would.
        real(temporary, folder)

    monkeypatch.setattr(archives, "_rename", second_first)
    folder = archives.unpack([path])
    assert sorted(inner.iterdir()) == [path, folder]


def test_names_with_commas_are_archives_too(inner):
    path = zip_of(inner / "a,b.zip", [("a", b"x")])
    other = zip_of(inner / "c.zip", [("a", b"x")])
    assert archives.find(str(path)) == [path]
    assert archives.find(f"{other},{inner / 'nothing.zip'}") == []
    assert archives.find(f"{other},{other}") == [other, other]


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    noise = np.random.default_rng(0).bytes(1_500_000)
    path = zip_of(tmp_path / "a.zip", [("noise", noise)])
    with faults.small_disk(tmp_path / "disk", "2m") as disk:
        moved = disk / "a.zip"
        moved.write_bytes(path.read_bytes())
        with pytest.raises(OSError, match="No space left"):
            archives.unpack([moved])
        assert os.listdir(disk) == ["a.zip"]


def packed(folder, path, top=""):
    """Packs the files of a folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    names = [top + file.relative_to(folder).as_posix() for file in files]
    members = [(x, file.read_bytes()) for x, file in zip(names, files, strict=True)]
    return zip_of(path, members) if path.suffix == ".zip" else tar_of(path, members)


def run_build(*flags):
    return faults.run(["-m", "tfrecords_tools.build", "--workers=1", *flags])


def test_the_command_finds_the_folder_in_an_archive(tmp_path):
    trees.voc(tmp_path / "voc", ["2007_a"], ["2007_b"])
    path = packed(tmp_path / "voc", tmp_path / "trainval.tar.gz", "VOCdevkit/VOC2012/")
    flags = [f"--source_dir={path}", f"--records_dir={tmp_path / 'r'}"]
    done = run_build("--dataset=pascal_voc", *flags)
    assert done.returncode == 0, done.stderr
    assert "train: 1 record\n" in done.stdout
    example = records.parse_example(records.open_split(tmp_path / "r", "val").read(0))
    image_path = tmp_path / "voc" / "JPEGImages" / "2007_b.jpg"
    assert example["image"] == image_path.read_bytes()
    done = run_build("--dataset=camvid", *flags)
    assert done.returncode == 2
    assert "was unpacked, but does not hold the data set" in done.stderr


def test_sbd_may_be_an_archive_too(tmp_path):
    voc = trees.voc(tmp_path / "voc", ["2007_a"], ["2007_b"])
    sbd = trees.sbd(tmp_path / "sbd", ["2009_e"], [], np.zeros((12, 16), np.uint8))
    path = packed(sbd, tmp_path / "benchmark.tgz", "benchmark_RELEASE/dataset/")
    flags = [f"--source_dir={voc}", f"--records_dir={tmp_path / 'r'}"]
    done = run_build("--dataset=pascal_voc", f"--sbd_dir={path}", *flags)
    assert "trainaug: 2 records" in done.stdout, done.stderr
    done = run_build("--dataset=pascal_voc", f"--sbd_dir={path}x", *flags)
    assert done.returncode == 0
    assert "trainaug is skipped: SBD's folder" in done.stdout


def test_the_command_accepts_several_archives(tmp_path):
    folder = tmp_path / "cityscapes"
    names = ["train/aachen/aachen_0", "val/munster/munster_0"]
    published.cityscapes(folder, dict.fromkeys(names, np.full((12, 16), 7)))
    paths = [
        packed(folder / name, tmp_path / f"{name}.zip", f"{name}/")
        for name in ("leftImg8bit", "gtFine")
    ]
    done = run_build(
        "--dataset=cityscapes",
        f"--source_dir={paths[0]},{paths[1]}",
        f"--records_dir={tmp_path / 'r'}",
        "--splits=train,val",
    )
    assert "train: 1 record\nval: 1 record\n" in done.stdout, done.stderr
