"""Checks of a running server after each test; modules ask for them by `usefixtures`."""

import pytest


@pytest.fixture
def stays_alive(request):
    """Checks after each test that a valid request succeeds."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").check_alive()


@pytest.fixture
def logs_no_traceback(request):
    """Checks after each test that the server has not printed a traceback."""
    yield
    if "server" in request.fixturenames:
        errors = request.getfixturevalue("server").errors.read_text()
        assert "Traceback" not in errors
