"""Checks of the head of a request, before anything is done for it.

The Host protects a server on a loopback address from web pages whose name resolves to
it (DNS rebinding), and Sec-Fetch-Site from forms and scripts of other sites. Proxies
and servers that disagree about the end of a request let clients smuggle others in.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping

from kerasseg.serve.request_errors import RequestError

ANY = "*"
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::\d*)?", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_SAFE_METHODS = ("GET", "HEAD")
_SHOWN = 100


def allowed_hosts(given: str, host: str) -> frozenset[str]:
    """Returns the host names that requests may have.

    Args:
        given: Names separated by commas; "*" for any. Empty: the names of the loopback
            address if the server listens there, otherwise any.
        host: Address on which the server listens.
    """
    names = [name.strip().lower() for name in given.split(",") if name.strip()]
    if names:
        return frozenset(names)
    host = host.lower()
    if not host or not _is_loopback(host):
        return frozenset({ANY})
    return frozenset({*_LOOPBACK, f"[{host}]" if ":" in host else host})


def _is_loopback(host):
    """Returns whether a host is a loopback address, or a name of one."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:  # Listening fails, too.
        return False
    addresses = (str(address[0]).partition("%")[0] for *_, address in found)
    return all(ipaddress.ip_address(each).is_loopback for each in addresses)


def check_framing(scope: Mapping) -> None:
    """Checks the version of HTTP, and that the end of the request is unambiguous.

    Raises:
        RequestError: 400 or 505; the connection is closed.
    """
    if scope["http_version"] not in ("1.0", "1.1"):
        raise RequestError(
            505,
            f"HTTP/{scope['http_version']} is not supported; use HTTP/1.1.",
            close=True,
        )
    names = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" in names and (
        b"content-length" in names or scope["http_version"] == "1.0"
    ):
        raise RequestError(
            400,
            "Transfer-Encoding cannot be used with Content-Length or HTTP/1.0; leave "
            "one of them out.",
            close=True,
        )


def check_origin(scope: Mapping, allowed: Iterable[str]) -> None:
    """Checks the host that a request is for, and the site that it comes from.

    Args:
        scope: ASGI connection scope.
        allowed: Allowed host names; `ANY` allows all.

    Raises:
        RequestError: 421, another host; 403, another site.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host")
    if host is not None and not _is_allowed(host, allowed):
        raise RequestError(
            421,
            f"The host {host[:_SHOWN]!r} is not served here. Start the server with "
            f"this name in `allowed_hosts`.",
        )
    if scope["method"] in _SAFE_METHODS:
        return
    site = headers.get(b"sec-fetch-site", "").strip().lower()
    origin = headers.get(b"origin", "").partition("://")[2]
    foreign = not site and b"origin" in headers and not _is_allowed(origin, allowed)
    if site == "cross-site" or foreign:
        raise RequestError(
            403, "Requests from the pages of other sites are refused; use a proxy."
        )


def _is_allowed(host, allowed):
    match = _HOST.fullmatch(host.strip().lower())
    return ANY in allowed or (
        match is not None and match[1].removesuffix(".") in allowed
    )
