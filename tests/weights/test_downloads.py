"""Downloads from a server with faults: whole and verified, or a clear error."""

import email.utils
import errno
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error

import hypothesis
import pytest
from hypothesis import strategies as st

from kerasseg import errors
from kerasseg.weights import cache as cache_module
from kerasseg.weights import connections, downloads
from kerasseg.weights.catalogue import File
from tests.support import weight_server
from tests.support.weight_server import Reply

DATA = bytes(range(256)) * 1200  # 300 KiB.
OTHER = DATA[::-1]
DIGEST = hashlib.sha256(DATA).hexdigest()
PROGRAM = """
import sys
from kerasseg.weights import downloads
from kerasseg.weights.catalogue import File
print(downloads.fetch(File(url=sys.argv[1]), sys.argv[2]))
"""
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


def url_of(server):
    return f"{server.url}/a/net.pth?download=1"


def serve(server, reply):
    server.replies["/a/net.pth"] = reply
    return File(url=url_of(server), sha256=DIGEST[:8])


def refused(file, folder, match, **options):
    with pytest.raises(errors.UserError, match=match) as caught:
        downloads.fetch(file, folder, **options)
    return caught.value


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(server, folder):
    file = serve(server, Reply(DATA))
    for _ in range(2):
        assert downloads.fetch(file, folder).read_bytes() == DATA
    assert len(server.requests) == 1
    assert names(folder) == ["net.pth"]


def cut_after(num_bytes, reply=None):
    """Replies whole, but the first time only a number of bytes."""
    return lambda i: Reply(DATA, cut=None if i else num_bytes, **(reply or {}))


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(
    cuts=st.lists(st.integers(0, len(DATA) - 1), max_size=4),
    ranges=st.booleans(),
    etag=st.sampled_from(['"one"', 'W/"one"', ""]),
    is_published=st.booleans(),
)
def test_any_cuts_end_in_the_whole_file(cuts, ranges, etag, is_published):
    reply = {"ranges": ranges, "etag": etag}
    with weight_server.serving() as server, tempfile.TemporaryDirectory() as folder:
        server.replies["/net"] = lambda i: Reply(
            DATA, cut=cuts[i] if i < len(cuts) else None, **reply
        )
        file = File(url=f"{server.url}/net", sha256=DIGEST if is_published else "")
        assert downloads.fetch(file, folder).read_bytes() == DATA
        left = {*os.listdir(folder)} - {"net", "net.sha256"}
        assert not left


def test_the_rest_is_requested_only(server, folder):
    file = serve(server, cut_after(1000))
    downloads.fetch(file, folder)
    first, second = server.headers("/a/net.pth")
    assert "Range" not in first
    assert (second["Range"], second["If-Range"]) == ("bytes=1000-", '"one"')


def test_without_a_validator_or_hash_it_starts_again(server, folder):
    serve(server, cut_after(1000, {"etag": ""}))
    path = downloads.fetch(File(url=url_of(server)), folder)
    assert path.read_bytes() == DATA
    assert not any("Range" in headers for headers in server.headers("/a/net.pth"))


def test_a_file_that_has_changed_starts_again(server, folder):
    serve(
        server,
        lambda i: Reply(DATA, etag='"two"') if i else Reply(OTHER, cut=9999),
    )
    path = downloads.fetch(File(url=url_of(server)), folder)
    assert path.read_bytes() == DATA


def test_versions_are_not_mixed_if_the_server_ignores_the_condition(server, folder):
    file = serve(
        server, lambda i: Reply(DATA if i else OTHER, cut=None if i else 9, etag="")
    )
    assert downloads.fetch(file, folder).read_bytes() == DATA
    assert len(server.requests) == 3  # The mixture has a wrong hash.


def test_a_part_longer_than_the_file_is_removed(server, folder):
    file = serve(server, Reply(DATA))
    folder.mkdir()
    part = downloads._Part(folder / "net.pth")
    part.begin(file.url, '"one"', None)
    part.path.write_bytes(DATA + b"more")
    assert downloads.fetch(file, folder).read_bytes() == DATA


def test_damaged_states_of_a_part_start_again(server, folder):
    file = serve(server, Reply(DATA))
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(OTHER[:100])
    for text in ("{", "[]", '{"url": 1}', '{"url": "x", "validator": "y"}'):
        (folder / "net.pth.part.json").write_text(text)
        assert downloads.fetch(file, folder).read_bytes() == DATA
        (folder / "net.pth").unlink()
        (folder / "net.pth.part").write_bytes(OTHER[:100])


def test_a_complete_part_is_not_requested_again(server, folder):
    file = serve(server, Reply(DATA))
    folder.mkdir()
    part = downloads._Part(folder / "net.pth")
    part.begin(file.url, '"one"', len(DATA))
    part.path.write_bytes(DATA)
    assert downloads.fetch(file, folder).read_bytes() == DATA
    assert not server.requests


def test_a_connection_that_stalls_is_given_up_and_resumed(server, folder, monkeypatch):
    monkeypatch.setattr(connections, "SECONDS", 0.3)
    file = serve(server, lambda i: Reply(DATA, cut=None if i else 5000, stall=2))
    assert downloads.fetch(file, folder).read_bytes() == DATA
    assert server.headers("/a/net.pth")[1]["Range"] == "bytes=5000-"


def test_tries_without_progress_are_bounded(server, folder):
    file = serve(server, Reply(DATA, cut=10))
    refused(file, folder, r"ended after 10 of 307,200 bytes.*by hand, download http")
    assert len(server.requests) == downloads.TRIES
    assert names(folder) == ["net.pth.part", "net.pth.part.json"]


def test_a_size_that_is_stated_wrongly_is_noticed(server, folder):
    file = serve(server, Reply(DATA, length=len(DATA) + 5))
    refused(file, folder, r"ended after 307,200 of 307,205 bytes")
    file = serve(server, Reply(DATA, length=1000, etag='"two"'))
    refused(file, folder, "its SHA-256 is")
    assert names(folder) == []


@pytest.mark.parametrize("length", [None, False])
def test_sizes_are_limited(server, folder, length):
    file = serve(server, Reply(DATA, length=length))
    refused(file, folder, "at most 1,000 are expected", max_bytes=1000)
    assert "net.pth" not in names(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1000


def test_a_published_size_is_compared(server, folder):
    serve(server, Reply(DATA))
    refused(File(url=url_of(server), num_bytes=5), folder, "307,200 bytes, expected 5")
    serve(server, Reply(DATA, length=False))
    refused(File(url=url_of(server), num_bytes=5), folder, "307,200 bytes, expected 5")


def test_a_wrong_hash_is_an_error_with_both_and_leaves_nothing(server, folder):
    serve(server, Reply(OTHER))
    wrong = hashlib.sha256(OTHER).hexdigest()
    file = File(url=url_of(server), sha256=DIGEST)
    refused(file, folder, f"SHA-256 is {wrong}, expected {DIGEST}")
    assert names(folder) == []
    assert len(server.requests) == 1


def test_a_hash_that_is_not_published_is_pinned(server, folder, caplog):
    serve(server, Reply(DATA * 4))
    file = File(url=url_of(server))
    path = downloads.fetch(file, folder)
    digest = hashlib.sha256(DATA * 4).hexdigest()
    assert f"Its SHA-256 is {digest}" in caplog.text
    assert (folder / "net.pth.sha256").read_text() == f"{digest}  net.pth\n"
    downloads.fetch(file, folder)
    path.write_bytes(OTHER)
    refused(file, folder, f"expected {digest}, that of .*net.pth.sha256")
    (folder / "net.pth.sha256").write_text("x")
    refused(file, folder, "has no SHA-256")


def test_a_read_only_cache_is_used(server, folder, monkeypatch):
    folder.mkdir()
    (folder / "net.pth").write_bytes(DATA)

    def write_bytes(*_):
        raise OSError(errno.EROFS, "read only")

    monkeypatch.setattr("kerasseg.system.files.write_bytes", write_bytes)
    downloads.fetch(File(url=url_of(server)), folder)


@pytest.mark.parametrize("variable", ["KERASSEG_OFFLINE", "HF_HUB_OFFLINE"])
def test_files_put_there_by_hand_are_used_offline(
    server, folder, monkeypatch, variable
):
    monkeypatch.setenv(variable, "1")
    file = serve(server, Reply(DATA))
    target = re.escape(str(folder / "net.pth"))
    refused(file, folder, rf"{variable}.*download {re.escape(file.url)} to {target}")
    folder.mkdir()
    (folder / "net.pth").write_bytes(OTHER)
    refused(file, folder, "damaged or another file")
    (folder / "net.pth").write_bytes(DATA)
    assert downloads.fetch(file, folder).read_bytes() == DATA
    assert not server.requests


@pytest.mark.parametrize(
    ("status", "match", "tries"),
    [
        (401, "refuses access .status 401", 1),
        (403, "refuses access .status 403", 1),
        (404, "no such file", 1),
        (429, "too many requests", downloads.TRIES),
        (500, "has an error .status 500", downloads.TRIES),
        (501, "has an error .status 501", 1),
    ],
)
def test_errors_of_the_server_are_named(server, folder, status, match, tries):
    refused(serve(server, Reply(b"no", status)), folder, match)
    assert len(server.requests) == tries


@pytest.mark.parametrize("status", [429, 503])
def test_temporary_errors_are_retried(server, folder, status):
    file = serve(
        server,
        lambda i: (
            Reply(DATA) if i > 1 else Reply(status=status, headers={"Retry-After": "0"})
        ),
    )
    assert downloads.fetch(file, folder).read_bytes() == DATA


def test_the_server_says_when_to_try_again():
    future = email.utils.formatdate(time.time() + 20, usegmt=True)
    assert connections._retry_after("7") == 7
    assert 15 < connections._retry_after(future) <= 20
    for text in ("", "-3", "nan", "soon", "Mon, 01 Jan 2001 00:00:00 GMT"):
        assert connections._retry_after(text) == 0
    assert connections._retry_after("1e9") == 60


@pytest.mark.parametrize(
    ("kind", "data", "match"),
    [
        ("text/html", b"<html><title>Please\n log in</title>", "'Please log in'"),
        ("application/octet-stream", b"\n<!DOCTYPE html>quota", "instead of the file"),
        ("application/json; charset=utf-8", b'{"error": "quota"}', "quota"),
    ],
)
def test_pages_are_no_files(server, folder, kind, data, match):
    file = serve(server, Reply(data, headers={"Content-Type": kind}))
    refused(file, folder, match)
    assert "net.pth" not in names(folder)
    assert len(server.requests) == 1


def test_a_compressed_response_is_refused(server, folder):
    file = serve(server, Reply(DATA, headers={"Content-Encoding": "gzip"}))
    refused(file, folder, "compressed the file .gzip")


def redirect(target, status=302):
    return Reply(status=status, headers={"Location": target})


def test_redirects_are_followed_with_the_range(server, folder):
    file = serve(server, redirect("/b/other"))
    server.replies["/b/other"] = cut_after(100)
    assert downloads.fetch(file, folder).read_bytes() == DATA
    assert folder.joinpath("net.pth").exists()
    assert server.headers("/b/other")[1]["Range"] == "bytes=100-"


def test_redirects_end(server, folder):
    refused(serve(server, redirect("/a/net.pth")), folder, "redirects more than 8")
    for i in range(20):
        server.replies[f"/{i}"] = redirect(f"/{i + 1}")
    refused(serve(server, redirect("/0")), folder, "redirects more than 8")


@pytest.mark.parametrize(
    "target", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///etc/passwd"]
)
def test_redirects_to_other_protocols_are_refused(server, folder, target):
    refused(serve(server, redirect(target)), folder, "is not|not followed")
    assert len(server.requests) == 1


def test_encryption_is_not_given_up():
    handler = connections._Redirects()
    request = connections.urllib.request.Request("https://example.com/a")

    class Body:
        def close(self):
            pass

    with pytest.raises(connections.DownloadError, match="without encryption"):
        handler.redirect_request(request, Body(), 302, "", {}, "http://127.0.0.1:1/a")


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a", "https:///a", "https://me:pw@example.com/a", "ftp:x"],
)
def test_addresses_without_encryption_or_with_passwords_are_refused(folder, url):
    refused(File(url=url), folder, "https://")


def test_the_token_is_sent_to_its_server_only(server, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with weight_server.serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.replies["/o/n/resolve/main/a"] = redirect("/moved/a", 307)
        hub.replies["/moved/a"] = redirect(f"{server.url}/a/net.pth")
        serve(server, Reply(DATA))
        downloads.fetch(File(url=f"{hub.url}/o/n/resolve/main/a"), folder)
        downloads.fetch(File(url=url_of(server)), folder)
        tokens = [headers.get("Authorization") for _, headers in hub.requests]
    assert tokens == ["Bearer hf_secret"] * 2
    assert not any("Authorization" in headers for _, headers in server.requests)


@pytest.mark.parametrize("token", ["", "hf_secret", "hf\n_secret"])
def test_without_access_the_token_is_named_and_not_shown(
    server, folder, monkeypatch, token
):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", token)
    server.replies["/o/n/resolve/main/a"] = Reply(status=401)
    error = refused(File(url=f"{server.url}/o/n/resolve/main/a"), folder, "HF_TOKEN")
    assert "secret" not in str(error)
    assert f"{server.url}/o/n" in str(error)


def test_a_full_disk_is_named_and_the_part_is_kept(server, folder, monkeypatch):
    file = serve(server, Reply(DATA, cut=3000))
    refused(file, folder, "ended after")
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    refused(file, folder, r"disk is full.*3,000 bytes are kept")


def test_ctrl_c_keeps_the_part(server, folder, monkeypatch):
    file = serve(server, Reply(DATA))
    read = downloads._read
    monkeypatch.setattr(downloads, "_CHUNK", 5000)

    def interrupted(response):
        part = folder / "net.pth.part"
        if part.stat().st_size >= 5000:
            raise KeyboardInterrupt
        return read(response)

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            downloads.fetch(file, folder)
    start = (folder / "net.pth.part").stat().st_size
    assert downloads.fetch(file, folder).read_bytes() == DATA
    assert server.headers("/a/net.pth")[1]["Range"] == f"bytes={start}-"


def start(server, folder):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url_of(server), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_killed_process_resumes(server, folder):
    serve(server, lambda i: Reply(DATA, delay=0 if i else 0.3))
    process = start(server, folder)
    part = folder / "net.pth.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    size = part.stat().st_size
    assert 0 < size < len(DATA)
    path = downloads.fetch(File(url=url_of(server)), folder)
    assert path.read_bytes() == DATA
    assert server.headers("/a/net.pth")[1]["Range"] == f"bytes={size}-"


def test_two_processes_download_once(server, folder):
    serve(server, Reply(DATA, delay=0.2))
    processes = [start(server, folder) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in outputs] == [str(folder / "net.pth")] * 2
    assert len(server.requests) == 1


def test_without_locks_no_two_processes_write_to_a_file(server, folder, monkeypatch):
    file = serve(server, Reply(DATA, cut=5))
    monkeypatch.setattr(cache_module.lock, "hold", _unlocked)
    refused(file, folder, "ended after")
    assert f"net.pth.{os.getpid()}.part" in names(folder)


def _unlocked(_):
    return cache_module.contextlib.nullcontext(False)


def test_proxies_are_those_of_the_environment(server, folder, monkeypatch):
    with weight_server.serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.replies["http://127.0.0.1:9/net"] = Reply(DATA)
        path = downloads.fetch(File(url="http://127.0.0.1:9/net"), folder)
    assert path.read_bytes() == DATA
    assert not server.requests


def test_reasons_of_failed_connections_are_named():
    certificate = connections.ssl.SSLCertVerificationError("unable to get issuer")
    error = connections.interrupted(urllib.error.URLError(certificate))
    assert "SSL_CERT_FILE" in str(error) and not error.is_temporary
    error = connections.interrupted(TimeoutError())
    assert "sent nothing" in str(error) and error.is_temporary


def test_a_refused_connection_is_an_error(folder):
    with weight_server.serving() as server:
        url = f"{server.url}/net"
    refused(File(url=url), folder, "The connection failed")


@pytest.mark.parametrize("end", ["", "a/", "..", "%2e%2e", "a%2f..%2fb%00", "%2fx%5cy"])
def test_names_of_files_are_plain(folder, end):
    refused(File(url=f"https://example.com/{end}"), folder, "plain file name")
    assert downloads.file_name("https://example.com/a/b%20c.pth?x=/y") == "b c.pth"
    assert not pathlib.Path(folder).exists()
