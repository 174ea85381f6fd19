"""Requests to servers of weights: addresses, redirects, tokens, and errors."""

import email.utils
import http.client
import ipaddress
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

import kerasseg
from kerasseg import errors
from kerasseg.system import names

SECONDS = 30.0  # Without any data, after which a connection is given up.
_MAX_REDIRECTS = 8
_MAX_WAIT = 60.0  # Seconds, if the server asks for more.
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_BY_HAND = "Download it with a browser, as described below."


class DownloadError(errors.UserError, OSError):
    """A file cannot be downloaded.

    Attributes:
        status: Status of HTTP, such as 404; None if it is not the reason.
        is_temporary: Whether it may succeed later.
        seconds: How long the server asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        is_temporary: bool = False,
        seconds: float = 0.0,
    ):
        super().__init__(message)
        self.status = status
        self.is_temporary = is_temporary
        self.seconds = seconds


def hugging_face() -> str:
    """Returns the address of Hugging Face, or of the mirror that HF_ENDPOINT names."""
    address = os.environ.get("HF_ENDPOINT", "").strip() or "https://huggingface.co"
    check_address(address)
    return address.rstrip("/")


def check_address(url: str) -> None:
    """Checks that an address is one of HTTPS, or of HTTP on this machine.

    Raises:
        DownloadError: It is another one.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises ValueError.
    except ValueError:
        parts, host = urllib.parse.urlsplit(""), ""
    is_known = parts.scheme == "https" or (
        parts.scheme == "http" and _is_loopback(host)
    )
    if not is_known or not host or parts.username is not None:
        raise DownloadError(
            f"{_shown(url)} is not an address that starts with https:// and the name "
            "of a server. Correct it."
        )


def open_url(
    url: str, headers: Mapping[str, str] | None = None
) -> http.client.HTTPResponse:
    """Sends a request; proxies are those of the environment.

    The token of HF_TOKEN is sent to the server of `hugging_face` only, also if another
    one is redirected to.

    Args:
        url: The address.
        headers: Headers of the request.

    Raises:
        DownloadError: There is no response, or one with an error.
    """
    check_address(url)
    agent = f"kerasseg/{kerasseg.__version__}"
    request = urllib.request.Request(url, headers={"User-Agent": agent})
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    _authorize(request)
    opener = urllib.request.build_opener(_Redirects())
    try:
        return opener.open(request, timeout=SECONDS)
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise _of_status(url, error) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise interrupted(error) from error


def interrupted(error: Exception) -> DownloadError:
    """Returns the error for a connection that failed."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        text = names.one_line(str(reason))[:200]
        return DownloadError(
            f"The certificate of the server cannot be verified ({text}). If a proxy "
            "replaces it, set SSL_CERT_FILE to a file with that of the proxy."
        )
    if isinstance(reason, TimeoutError):
        return DownloadError(
            f"The server sent nothing for {SECONDS:g} seconds.", is_temporary=True
        )
    text = names.one_line(str(reason))[:200].rstrip(".") or type(reason).__name__
    return DownloadError(f"The connection failed ({text}).", is_temporary=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to servers whose identity is verified, too."""

    max_redirections = _MAX_REDIRECTS

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        fp.close()  # Otherwise its text is read, however long it is.
        check_address(newurl)
        if newurl.startswith("http:") and req.full_url.startswith("https:"):
            raise DownloadError(
                f"The server redirects to {_shown(newurl)}, without encryption, which "
                f"is not followed. {_BY_HAND}"
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            _authorize(request)
        return request


def _authorize(request):
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token or _origin(request.full_url) != _origin(hugging_face()):
        return
    if not (token.isascii() and token.isprintable()):
        raise DownloadError(
            "HF_TOKEN is not a token: it has characters that none has. Copy it again."
        )
    # Is not sent to what the server redirects to.
    request.add_unredirected_header("Authorization", f"Bearer {token}")


def _origin(url):
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, port


def _is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _of_status(url, error):
    """Returns the error for a response that is none of the file."""
    status = error.code
    if 300 <= status < 400:
        return DownloadError(
            f"The server redirects more than {_MAX_REDIRECTS} times, in a loop or to "
            f"an address that is not followed. {_BY_HAND}",
            status=status,
        )
    if status in (401, 403):
        return DownloadError(_refused(url, status), status=status)
    if status in (404, 410):
        return DownloadError(
            f"The server has no such file (status {status}). Check the name, or "
            "whether it has moved.",
            status=status,
        )
    reason = names.one_line(str(error.reason))[:80]
    busy = "receives too many requests" if status == 429 else "has an error"
    return DownloadError(
        f"The server {busy} (status {status}, {reason}).",
        status=status,
        is_temporary=status in _TEMPORARY,
        seconds=_retry_after(error.headers.get("Retry-After", "")),
    )


def _refused(url, status):
    if _origin(url) != _origin(hugging_face()):
        return f"The server refuses access (status {status}). {_BY_HAND}"
    page = url.partition("/resolve/")[0]
    if os.environ.get("HF_TOKEN", "").strip():
        return (
            f"The token of HF_TOKEN has no access (status {status}). Check the name, "
            f"and whether its terms are accepted at {page}."
        )
    return (
        f"There is no such network, or it needs a token (status {status}). Check the "
        f"name at {page}, accept its terms there, and set HF_TOKEN to a token."
    )


def _retry_after(text):
    """Returns the seconds of a header, a number or a date."""
    try:
        seconds = float(text)
    except ValueError:
        parsed = email.utils.parsedate_tz(text)
        seconds = email.utils.mktime_tz(parsed) - time.time() if parsed else 0.0
    return min(max(0.0, seconds), _MAX_WAIT) if seconds == seconds else 0.0


def _shown(url):
    return repr(names.one_line(url)[:200])
