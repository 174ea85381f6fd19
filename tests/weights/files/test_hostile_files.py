"""Files that are no weights, or are made to run programs or exhaust the memory."""

import contextlib
import io
import os
import pickle
import pickletools
import struct
import tracemalloc
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg import errors
from kerasseg.weights import files as weight_files
from kerasseg.weights.files import arrays, pickles, zip_archive
from tests.support import torch_format

ONES = torch_format.tensor(np.ones(4, "f4"))
LIMIT = 32 << 20  # Bytes that reading a small hostile file may allocate.


def read_bounded(path):
    """Reads a file; returns the error, None if it is read."""
    tracemalloc.start()
    try:
        weight_files.read(path)
    except errors.UserError as error:
        text = str(error)
        assert text.startswith(os.fspath(path)) and "\n" not in text
        return text
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < LIMIT
    return None


WRONG = [
    (b"", "empty"),
    (b"\n<!DOCTYPE html><html>", "an HTML or XML page.*Download it again"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff\xe0", "a JPEG image"),
    (b"\x1f\x8b\x08", "compressed by gzip"),
    (b"\x93NUMPY\x01\0", "a NumPy array without a name"),
    (b"\x08\x08\x12\x07pytorch\x1a\x05", "an ONNX model"),
    (b"\x1c\0\0\0TFL3", "a TFLite model"),
    (b"Not found\n", "text, which starts with 'Not found'"),
    (bytes(257) + b"ustar", "a tar archive"),
    (b"\0\1\2\3\4\5\6\7\x08", "of an unknown kind, and starts with 00 01 02 03"),
]


@pytest.mark.parametrize("content, message", WRONG)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match=f"weights.pth: it is {message}"):
        weight_files.read(path)


@pytest.mark.parametrize(
    "entries, message",
    [
        (["a.npy", "b.npy"], r"an archive of NumPy arrays"),
        (["m/saved_model.pb"], "an archived SavedModel"),
        (["m/data.pkl", "m/constants.pkl"], "a TorchScript program"),
        (["m/data.pkl", "m/code/a.py"], "a TorchScript program"),
        (["m/constants.pkl"], "a TorchScript program"),
        (["readme.txt"], "a zip archive of 1 files without data.pkl"),
        (["a/data.pkl", "b/data.pkl"], "has 2 entries data.pkl"),
        ([], "a zip archive of 0 files without data.pkl"),
    ],
)
def test_other_archives_are_named(tmp_path, entries, message):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for name in entries:
            archive.writestr(name, b"x")
    with pytest.raises(errors.UserError, match=message):
        weight_files.read(tmp_path / "a.pth")


def test_missing_and_special_files_are_errors(tmp_path):
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        weight_files.read(tmp_path / "a")
    os.mkfifo(tmp_path / "a")
    with pytest.raises(errors.UserError, match="a named pipe, expected a regular"):
        weight_files.read(tmp_path / "a")
    with pytest.raises(errors.UserError, match=r"cannot be read .File name too long"):
        weight_files.read(tmp_path / ("a" * 300))


FUNCTIONS = [
    *("os.system", "posix.system", "nt.system", "subprocess.Popen", "builtins.eval"),
    *("builtins.exec", "__builtin__.eval", "runpy.run_path", "pickle.loads"),
    *("functools.reduce", "operator.attrgetter", "importlib.import_module"),
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_functions_that_run_programs_are_refused_anywhere(tmp_path, name, protocol):
    function = torch_format.Named(*name.rsplit(".", 1))
    evil = torch_format.Call(function, ("echo",))
    trees = {"a": ONES, "evil": evil}, {"model": {"a": ONES}, "args": [evil]}
    for tree in (*trees, evil, function):
        path = torch_format.write_zip(tmp_path / "a", tree, protocol=protocol)
        assert f"contains {name}, which weights do not need" in read_bounded(path)


def test_functions_of_other_packages_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "bad_package.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    evil = torch_format.Call(torch_format.Named("bad_package", "run"), ("x",), {"a": 1})
    path = torch_format.write_zip(tmp_path / "a", {"a": ONES, "evil": evil})
    found = weight_files.read(path)
    assert list(found) == ["a"] and found.left_out == ("evil",)


def test_attributes_of_functions_cannot_be_changed(tmp_path):
    rebuild = torch_format.Named("torch._utils", "_rebuild_tensor_v2")
    changed = torch_format.Call(
        rebuild, (ONES.storage, 0, (4,), (1,)), (None, {"__defaults__": (1,)})
    )
    path = torch_format.write_zip(tmp_path / "a", {"a": changed})
    assert weight_files.read(path)["a"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["INST", "OBJ", "EXT1", "EXT4", "PERSID"])
def test_opcodes_that_call_are_refused(tmp_path, name):
    code = next(op.code for op in pickletools.opcodes if op.name == name)
    argument = {"EXT1": b"\1", "EXT4": b"\1\0\0\0"}.get(name, b"os\nsystem\n")
    data = b"\x80\x02(" + code.encode("latin-1") + argument + b"."
    path = torch_format.write_zip(tmp_path / "a", None, data=data)
    message = read_bounded(path)
    assert f"the opcode {name}, which weights do not need" in message


CODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
PIECES = [
    *(b"(", b")", b"]", b"}", b"\x88", b"K\x03", b"\x85", b"q\0", b"h\0"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"),
    *(b"ctorch\nFloatStorage\n", b"X\1\0\0\0a", b"X\7\0\0\0storage", b"R", b"Q", b"b"),
    *(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"s", b"u", b"t", b"\x81"),
    *(b"\x8a\xff" + b"\x7f" * 255, b"\x8b\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8),
    *(b"ctorch._utils\n_rebuild_tensor_v3\n", b"ctorch\nSize\n", b"\x93"),
]


@hypothesis.settings(max_examples=250, deadline=None)
@hypothesis.given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(CODES)), max_size=25),
    st.binary(max_size=12),
)
def test_pickles_of_any_opcodes_are_read_or_refused(pieces, end):
    data = b"\x80\x02" + b"".join(pieces) + end + b"."
    load(data)


@pytest.mark.parametrize("code", CODES)
def test_each_opcode_is_read_or_refused(code):
    stacks = b"", b"(", b"]", b"}(K\1", b"ca\nb\n)", b"((K\1K\2", b"N", b"})"
    ends = b"", b"\1", b"\1\0\0\0\1", b"a\nb\n", b"\xff" * 9, b"1\n", b"'a'\n"
    for stack in stacks:
        for end in ends:
            load(b"\x80\x02" + stack + code + end + b".")


def load(data):
    """Loads a pickle, which may raise nothing but `errors.UserError`."""
    with contextlib.suppress(errors.UserError):
        pickles.load(io.BytesIO(data), len(data))


def bomb_of_references():
    """A list of lists of lists, each of which has ten times the one before."""
    levels = b"".join(b"](" + b"h%c" % i * 10 + b"eq%c" % (i + 1) for i in range(40))
    return b"\x80\x02K\1q\0" + levels + b"."


def bomb_of_keys():
    """A key of nested tuples, whose hash takes 2 ** 60 steps."""
    return b"\x80\x02}K\1" + b"2\x86" * 60 + b"Ns."


def bomb_of_copies():
    """Copies of a list of pairs as dictionaries, 7 bytes each."""
    pairs = b"](" + b"".join(b"K%cK\1\x86" % (i % 256) for i in range(50_000)) + b"e"
    copies = b"ccollections\nOrderedDict\nh\0R" * 10_000
    return b"\x80\x02" + pairs + b"\x85q\0" + copies + b"."


@pytest.mark.parametrize(
    "data",
    [
        bomb_of_references(),
        bomb_of_keys(),
        b"\x80\x02" + b"](" * 10_000 + b".",  # Depth.
        b"\x80\x02Nr\xff\xff\xff\xff.",  # Place 2 ** 32 - 1 in the memo.
        b"\x80\x02T\xff\xff\xff\x7fab.",  # Text of 2 GiB.
        b"\x80\x04\x95" + b"\xff" * 8 + b"N.",  # A frame of 2 ** 64 bytes.
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",  # A bytearray of 2 ** 63 bytes.
        b"\x80\x02I" + b"9" * 100_000 + b"\n.",
    ],
)
def test_small_pickles_use_little_memory_and_time(tmp_path, data):
    assert read_bounded(torch_format.write_zip(tmp_path / "a", None, data=data))


def test_the_steps_of_a_pickle_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_STEPS", 300_000)
    path = torch_format.write_zip(tmp_path / "a", None, data=bomb_of_copies())
    with pytest.raises(errors.UserError, match="more than 300,000 steps"):
        weight_files.read(path)
    monkeypatch.setattr(pickles, "MAX_BYTES", 1000)
    with pytest.raises(errors.UserError, match="more than 1,000 bytes besides"):
        weight_files.read(path)


def expanded(*shape):
    return torch_format.Tensor(ONES.storage, 0, shape, (0,) * len(shape))


@pytest.mark.parametrize(
    "tree",
    [
        {"a": expanded(1 << 20, 1 << 11)},
        {"a": expanded(*[1 << 30] * 8)},
        {f"a{i}": expanded(1 << 18, i + 1) for i in range(9)},
    ],
)
@pytest.mark.parametrize("write", [torch_format.write_zip, torch_format.write_legacy])
def test_views_that_expand_are_refused(tmp_path, tree, write):
    assert "its arrays would take" in read_bounded(write(tmp_path / "a", tree))


def test_more_bytes_than_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(arrays, "MAX_BYTES", 1000)
    arrays.check_size(1000, 1000)
    with pytest.raises(errors.UserError, match="1,001 bytes, and at most 1,000"):
        arrays.check_size(1001, 1001)


@pytest.mark.parametrize("size", [5, 1 << 40])
@pytest.mark.parametrize("write", [torch_format.write_zip, torch_format.write_legacy])
def test_a_storage_that_claims_more_than_it_has_is_refused(tmp_path, size, write):
    stored = torch_format.Storage("0", bytes(16), "FloatStorage", size)
    tree = {"a": torch_format.Tensor(stored, 0, (4,), (1,))}
    assert "truncated or damaged" in read_bounded(write(tmp_path / "a", tree))


def test_compressed_zeros_are_refused(tmp_path):
    tree = {"a": torch_format.tensor(np.zeros(1 << 23, "f4"))}
    deflated = zipfile.ZIP_DEFLATED
    path = torch_format.write_zip(tmp_path / "a", tree, method=deflated)
    assert "its arrays would take" in read_bounded(path)


def test_a_zip_that_claims_large_entries_or_a_large_directory_is_refused(tmp_path):
    path = torch_format.write_zip(tmp_path / "a", {"a": ONES})
    content = path.read_bytes()
    start = content.rindex(b"PK\1\2") + 20  # Sizes in the directory.
    path.write_bytes(content[:start] + b"\xfe" * 8 + content[start + 8 :])
    assert "its arrays would take" in read_bounded(path)
    start = content.rindex(b"PK\5\6") + 12  # Size of the directory.
    path.write_bytes(content[:start] + b"\xfe" * 4 + content[start + 4 :])
    assert "its zip directory has" in read_bounded(path)
    size = zip_archive._MAX_DIRECTORY + 1
    zip64 = struct.pack("<4s36xQQ", b"PK\6\6", size, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1)
    path.write_bytes(content[: start - 12] + zip64 + locator + content[start - 12 :])
    assert "its zip directory has" in read_bounded(path)


def samples():
    """Returns small files of the formats that are read in Python."""
    folder, tree = io.BytesIO(), {"b": ONES, "n": "x", "m": {1: (2.5, None, True)}}
    torch_format.write_zip(folder, tree)

    class Path:
        def write_bytes(self, data):
            self.data = data

    legacy = torch_format.write_legacy(Path(), tree)
    return folder.getvalue(), legacy.data


SAMPLES = samples()


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.sampled_from(SAMPLES), st.data())
def test_changed_files_are_read_or_refused(tmp_path_factory, content, data):
    end = data.draw(st.integers(1, len(content)))
    changed = bytearray(content[:end] if data.draw(st.booleans()) else content)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(
            st.integers(0, 7)
        )
    path = tmp_path_factory.getbasetemp() / "changed.pth"
    path.write_bytes(changed)
    read_bounded(path)


@pytest.mark.parametrize("position", [20, 24])  # Compressed and original size.
def test_an_entry_is_no_larger_than_the_archive(tmp_path, position):
    (content,) = [bytearray(sample) for sample in SAMPLES if sample[:2] == b"PK"]
    content[content.rfind(b"PK\1\2") + position + 3] |= 0x40  # A gibibyte.
    (tmp_path / "changed.pth").write_bytes(content)
    assert read_bounded(tmp_path / "changed.pth")


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(
    st.sampled_from([b"", b"PK\3\4", b"\x80\2", b"\x89HDF\r\n\x1a\n", b"{", b"\0" * 8]),
    st.binary(max_size=200),
)
def test_random_bytes_are_refused(tmp_path_factory, start, content):
    path = tmp_path_factory.getbasetemp() / "random.pth"
    path.write_bytes(start + content)
    assert read_bounded(path)


def test_a_pickle_that_the_standard_library_reads_is_read_alike():
    tree = {"a": [1, -2, 3.5, "é", None, True, (), (1, 2, 3, 4)], 5: {"x": 2**70}}
    for protocol in range(1, 6):
        data = pickle.dumps(tree, protocol)
        assert pickles.load(io.BytesIO(data), len(data))[0] == tree
