"""Weights are opened by name, of the catalogue and Hugging Face, and by path."""

import gzip
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from kerasseg import errors
from kerasseg.weights import (
    archives,
    catalogue,
    families,
    hugging_face,
    licenses,
    open_weights,
)
from kerasseg.weights.catalogue import Entry, File
from kerasseg.weights.networks import Network
from tests.support.weight_server import Reply

safetensors = pytest.importorskip("safetensors.numpy")
ARRAYS = {
    "net.weight": np.arange(8, dtype="f4").reshape(2, 4, 1, 1),
    "net.bias": np.ones(2, "f4"),
}
CONTENT = safetensors.save(ARRAYS)
pytestmark = pytest.mark.usefixtures("cache")
REPOSITORY = "/owner/tiny.net/resolve/main"


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A family of which the file `ARRAYS` is; returns what it was called with."""
    configs = []

    def recognize(shapes, config):
        configs.append(dict(config))
        if set(shapes) != set(ARRAYS):
            return None
        kind = config.get("kind", "model")
        num_classes = 21 if config.get("voc") else 2
        return Network(
            family="tiny",
            model="tiny",
            source=lambda _: None,
            kind=kind,
            num_classes=num_classes,
        )

    monkeypatch.setattr(families, "_FAMILIES", _Registry({"tiny": recognize}))
    return configs


class _Registry(dict):
    def lookup(self, name):
        return self[name]


@pytest.fixture
def entries(monkeypatch):
    """The entries of the catalogue, which a test adds to."""
    found = {}
    monkeypatch.setattr(catalogue, "entries", lambda: found)

    def add(name="tiny/net", files=(), **values):
        values = {"license": "MIT", "source": "https://example.com", **values}
        entry = Entry(name=name, family="tiny", trained_on="", files=files, **values)
        found[name] = entry
        return entry

    return add


def hub(server, monkeypatch, **files):
    """Serves files of a repository of Hugging Face."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = f"{REPOSITORY}/{name.replace('__', '.')}"
        kind = "application/json" if path.endswith(".json") else "text/plain"
        server.replies[path] = Reply(data, headers={"Content-Type": kind})


def requested(server):
    return [path.rpartition("/")[2] for path, _ in server.requests]


def test_names_of_the_catalogue_are_downloaded_once(server, cache, entries, caplog):
    server.replies["/net"] = Reply(CONTENT)
    file = File(url=f"{server.url}/net", num_bytes=len(CONTENT))
    entry = entries(files=(file,), config={"voc": True}, dataset="pascal_voc")
    opened = open_weights("tiny/net")
    assert opened.entry is entry and opened.path == cache / "tiny" / "net" / "net"
    np.testing.assert_array_equal(opened.arrays["net.weight"], ARRAYS["net.weight"])
    assert opened.network.class_names[15] == "person"
    assert opened.network.palette[0] == [0, 0, 0]
    assert "License of tiny/net: MIT" in caplog.text
    caplog.clear()
    open_weights("tiny/net", kind="model", family="tiny")
    assert requested(server) == ["net"] and not caplog.text


def test_classes_of_another_number_are_not_named(server, entries):
    server.replies["/net"] = Reply(CONTENT)
    entries(files=(File(url=f"{server.url}/net"),), dataset="pascal_voc")
    assert not open_weights("tiny/net").network.class_names


def test_a_license_without_commercial_use_is_accepted_first(server, entries):
    server.replies["/net"] = Reply(CONTENT)
    file = File(url=f"{server.url}/net")
    entries(files=(file,), license="CC-BY-NC-4.0", non_commercial=True)
    with pytest.raises(errors.UserError, match="`accept_license=True`") as caught:
        open_weights("tiny/net")
    assert "CC-BY-NC-4.0" in str(caught.value) and not server.requests
    assert caught.value.fields == ("accept_license",)
    open_weights("tiny/net", accept_license=True)


def test_files_put_there_by_hand_are_opened_offline(
    server, cache, entries, monkeypatch
):
    monkeypatch.setenv("KERASSEG_OFFLINE", "1")
    entries(files=(File(url=f"{server.url}/net"),))
    path = cache / "tiny" / "net" / "net"
    with pytest.raises(errors.UserError, match=f"download {server.url}/net to {path}"):
        open_weights("tiny/net")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert open_weights("tiny/net").path == path


def test_the_kind_is_checked_before_the_download(server, entries):
    entries(files=(File(url=f"{server.url}/net"),), kind="encoder")
    with pytest.raises(errors.UserError, match="Give it as `backbone_weights`"):
        open_weights("tiny/net", kind="model")
    assert not server.requests
    with pytest.raises(errors.UserError, match="`kind=net` must be one of"):
        open_weights("tiny/net", kind="net")


def test_a_path_that_exists_goes_first(tmp_path, monkeypatch, entries, tiny):
    entries()
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "net").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    opened = open_weights("tiny/net")
    assert opened.entry is None and tiny == [{}]
    with pytest.raises(errors.UserError, match="expected those of an encoder"):
        open_weights(tmp_path / "tiny" / "net", kind="encoder")


@pytest.mark.parametrize("name", ["net.pth", "./net", "/no/net", "~/net"])
def test_a_missing_path_is_named(name):
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        open_weights(name)


def test_weights_of_no_known_network_are_named_by_their_source(tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(safetensors.save({"a": ARRAYS["net.bias"]}))
    with pytest.raises(errors.UserError, match=r"other\.pth: Weights of 1 arrays"):
        open_weights(path)


def test_a_network_of_hugging_face_has_its_configuration(
    server, cache, monkeypatch, tiny, caplog
):
    hub(
        server,
        monkeypatch,
        **{"model.safetensors": CONTENT, "config.json": {"voc": 1}},
        **{"preprocessor_config.json": {"size": 512}},
        **{"README.md": b"---\nlicense: apache-2.0\ntags: []\n---\n# Net\n"},
    )
    opened = open_weights("hf:owner/tiny.net")
    assert tiny == [{"voc": 1, "preprocessor": {"size": 512}}]
    assert opened.path == cache.joinpath(
        "huggingface.co", "owner", "tiny.net", "main", "model.safetensors"
    )
    assert "License of hf:owner/tiny.net: apache-2.0" in caplog.text
    count = len(server.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_weights("hf:owner/tiny.net").path == opened.path
    assert open_weights(opened.path.parent).network == opened.network or tiny[-1]
    assert tiny[0] == tiny[1] == tiny[2] and len(server.requests) == count


def test_shards_and_older_files_of_hugging_face_are_found(server, monkeypatch):
    names = {"net.weight": "a.safetensors", "net.bias": "b.safetensors"}
    shards = {
        file: safetensors.save({name: ARRAYS[name]}) for name, file in names.items()
    }
    index = {"model.safetensors.index.json": {"weight_map": names}}
    hub(server, monkeypatch, **index, **shards)
    assert {*open_weights("hf:owner/tiny.net").arrays} == {*ARRAYS}
    assert requested(server) == [
        *("README.md", "config.json", "preprocessor_config.json"),
        *("model.safetensors", "model.safetensors.index.json"),
        *("a.safetensors", "b.safetensors"),
    ]


def test_shards_of_other_folders_are_refused(server, monkeypatch):
    index = {"weight_map": {"net.weight": "../../a.safetensors"}}
    hub(server, monkeypatch, **{"pytorch_model.bin.index.json": index})
    with pytest.raises(errors.UserError, match="expected a plain file name"):
        open_weights("hf:owner/tiny.net")


def test_a_repository_without_weights_is_an_error(server, monkeypatch, caplog):
    hub(server, monkeypatch)
    with pytest.raises(errors.UserError, match="has none of the files"):
        open_weights("hf:owner/tiny.net")
    assert "License of hf:owner/tiny.net: not stated" in caplog.text


def test_the_license_of_a_card_is_accepted_first(server, monkeypatch):
    card = b"---\nlicense: cc-by-nc-4.0\n---\n"
    files = {"model.safetensors": CONTENT, "README.md": card}
    hub(server, monkeypatch, **files)
    with pytest.raises(errors.UserError, match=r"cc-by-nc-4\.0"):
        open_weights("hf:owner/tiny.net")
    assert requested(server) == ["README.md"]
    open_weights("hf:owner/tiny.net", accept_license=True)


def test_an_entry_may_be_of_hugging_face(server, monkeypatch, entries, tiny):
    hub(server, monkeypatch, **{"model.safetensors": CONTENT, "config.json": {"a": 1}})
    entries(hugging_face="owner/tiny.net", config={"voc": True})
    assert open_weights("tiny/net").entry.name == "tiny/net"
    assert tiny == [{"a": 1, "voc": True}]
    assert "README.md" not in requested(server)  # The catalogue states the license.


def test_damaged_configurations_are_errors(server, monkeypatch):
    hub(server, monkeypatch, **{"model.safetensors": CONTENT, "config.json": [1]})
    with pytest.raises(errors.UserError, match="is no JSON object"):
        open_weights("hf:owner/tiny.net")


@pytest.mark.parametrize(
    "name",
    [
        *("hf:", "hf:name", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@..", "hf:a/b@"),
        *("hf:a/b@x/y", "hf:a/b?x", "hf:a/b#x", "hf:a/b c", "hf:-a/b", "hf:a/\u0430"),
        *("hf:a/b@main\n", "hf:a%2f/b", "hf:a/b@a..b", "hf:" + "a" * 97 + "/b"),
    ],
)
def test_other_names_of_hugging_face_are_refused(name):
    with pytest.raises(errors.UserError, match="Expected hf:OWNER/NAME"):
        open_weights(name)


def test_names_of_hugging_face_are_parsed():
    assert hugging_face.parse("hf:a/b.c_d-1") == ("a", "b.c_d-1", "main")
    assert str(hugging_face.parse("a/b@v1.0")) == "hf:a/b@v1.0"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        (
            "---\ntags:\n  license: x\nlicense: 'other'\nlicense_name: n\n---\n",
            "other n",
        ),
        ("# No front matter\nlicense: mit\n", "not stated"),
        ("", "not stated"),
        ("---\nlicense:\n---\n", "not stated"),
    ],
)
def test_licenses_of_cards(card, expected):
    assert licenses.of_card(card) == expected


def test_licenses_without_commercial_use_are_recognized():
    for text in ("cc-by-nc-4.0", "CC-BY-NC-SA-3.0", "other non-commercial"):
        assert licenses.is_non_commercial(text)
    for text in ("mit", "apache-2.0", "ncsa", "not stated", "other"):
        assert not licenses.is_non_commercial(text)


def archive(members, path=None):
    """Returns a .tar.gz of pairs of a name, or a TarInfo, and the content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data) if info.isreg() else 0
            file.addfile(info, io.BytesIO(data))
    if path is not None:
        path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def test_archives_are_extracted_once(server, cache, entries):
    data = archive([("./net/model.safetensors", CONTENT), ("./net/readme", b"x")])
    server.replies["/net_1.tar.gz"] = Reply(data)
    entries(files=(File(url=f"{server.url}/net_1.tar.gz"),))
    for _ in range(2):
        opened = open_weights("tiny/net")
        assert {*opened.arrays} == {*ARRAYS}
        assert opened.path == cache / "tiny" / "net" / "net_1" / "net"
    assert requested(server) == ["net_1.tar.gz"]


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("member", "match"),
    [
        ("../evil", "leads out of its folder"),
        ("a/../../evil", "leads out of its folder"),
        ("/tmp/evil", "leads out of its folder"),
        (special("link", tarfile.SYMTYPE, "/etc/passwd"), "is a link or device"),
        (special("link", tarfile.LNKTYPE, "net"), "is a link or device"),
        (special("pipe", tarfile.FIFOTYPE), "is a link or device"),
        (special("device", tarfile.CHRTYPE), "is a link or device"),
    ],
)
def test_hostile_archives_leave_nothing(tmp_path, member, match):
    path = tmp_path / "a" / "net.tar.gz"
    path.parent.mkdir()
    archive([("net", b"x"), (member, b"")], path)
    with pytest.raises(errors.UserError, match=match):
        archives.unpack(path)
    assert [each.name for each in path.parent.iterdir()] == ["net.tar.gz"]
    assert not (tmp_path / "evil").exists()


def test_archives_that_expand_too_much_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "net.tar.gz"
    archive([("a", bytes(3 << 20))], path)
    with pytest.raises(errors.UserError, match="which weights do not"):
        archives.unpack(path)
    monkeypatch.setattr(archives, "_MAX_MEMBERS", 2)
    archive([(str(i), b"") for i in range(3)], path)
    with pytest.raises(errors.UserError, match="more than 2 files"):
        archives.unpack(path)
    header = special("a", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 30
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
    with pytest.raises(errors.UserError, match=r"header of 1,073,\d+,\d+ bytes"):
        archives.unpack(path)


def test_truncated_archives_are_damaged(tmp_path):
    path = tmp_path / "net.tar.gz"
    rng = np.random.default_rng(0)
    data = archive([("net", rng.bytes(5000))])
    for end in (5, 20, 1000, len(data) - 9):
        path.write_bytes(data[:end])
        with pytest.raises(errors.UserError, match="damaged"):
            archives.unpack(path)
    assert [each.name for each in tmp_path.iterdir()] == ["net.tar.gz"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / ".net.tmp-1"
    left.mkdir()
    path = tmp_path / "net.tar.gz"
    archive([("net", b"x")], path)
    assert (archives.unpack(path) / "net").read_bytes() == b"x"
    assert not left.exists()


def test_the_names_of_weights_are_listed_without_keras():
    code = (
        "import sys, kerasseg, kerasseg.weights; kerasseg.list_weights(); "
        "sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
