"""A server with faults, and an own cache."""

import pytest

from kerasseg.weights import connections, downloads
from tests.support import weight_server

_VARIABLES = ("HF_TOKEN", "HF_ENDPOINT", "KERASSEG_OFFLINE", "HF_HUB_OFFLINE")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def server():
    """A server whose replies a test sets."""
    with weight_server.serving() as found:
        yield found


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The folder of the cache; downloads are retried without waiting."""
    for name in (*_VARIABLES, *_PROXIES, *map(str.upper, _PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(downloads, "WAIT", 0.0)
    monkeypatch.setattr(connections, "SECONDS", 5.0)
    return tmp_path / "keras" / "kerasseg" / "weights"
