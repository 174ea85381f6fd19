"""What an export must not tell of the machine it was made on: secrets and folders.

An export is given to others with its metadata.
"""

import re
from collections.abc import Mapping
from typing import Any

from kerasseg.system import names

_FOLDER = "..."  # Stands for the folders of a path.
# scheme://user:password@host/path?query#fragment
_SCHEME = r"[A-Za-z][\w+.-]*://"
_URL = re.compile(rf"(?P<scheme>{_SCHEME})(?P<rest>\S*)")
_NO_PORT = r":(?!\d*$).*"
_VALUE = re.compile(r"\A((?:--?\w+=)?(?:\w+=)?)(.*)\Z", re.DOTALL)
_PATH = re.compile(r"(~[\w.-]*)?/|[A-Za-z]:[\\/]|\\\\|\.\.[\\/]")


def redact(value: Any) -> Any:
    """Removes credentials and queries from URLs, and the folders from paths.

    Args:
        value: JSON value: its texts are redacted, at any depth. A text may be a flag,
            `--name=value`, whose value may be `key=value`, or a list with commas.
    """
    if isinstance(value, Mapping):
        return {key: redact(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redact(part) for part in value]
    return _redact_text(value) if isinstance(value, str) else value


def _redact_text(text):
    return re.sub(_VALUE, lambda match: match[1] + _redact_value(match[2]), text)


def _redact_value(value):
    if "://" in value:  # A comma may also be part of a password.
        urls = re.split(rf",(?={_SCHEME})", value)
        return ",".join(_URL.sub(_redact_url, url) for url in urls)
    parts = value.split(",")
    if all(_PATH.match(part) for part in parts):
        return ",".join(map(_redact_path, parts))
    # A comma may also be part of a path.
    return _redact_path(value) if _PATH.match(value) else value


def _redact_path(path):
    name = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    return f"{_FOLDER}/{name}" if name else _FOLDER


def _redact_url(match):
    rest = match["rest"]
    if match["scheme"].lower() == "file://":
        return match["scheme"] + _redact_path(rest)
    host = rest.partition("/")[0]
    if "@" in host:
        rest = host.rpartition("@")[2] + rest[len(host) :]
    elif re.search(_NO_PORT, host):  # A "/" in the password.
        rest = rest.rpartition("@")[2]
    host, slash, path = re.split(r"[?#]", rest)[0].partition("/")
    return match["scheme"] + re.sub(_NO_PORT, "", host) + slash + path


def escape(text: Any) -> str:
    """Returns a text that Markdown shows as it is, at any place of a line."""
    line = names.one_line(" ".join(str(text).split()))
    line = re.sub(r"([\\`*_{}\[\]|~#$])", r"\\\1", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # What would be a list or a rule at the start of a line.
    line = re.sub(r"(?<!\S)([-+=])(?=[-=]*(\s|$))", r"\\\1", line)
    line = re.sub(r"(?<!\S)(\d+)([.)])(?!\S)", r"\1\\\2", line)
    # Addresses without brackets are links, too.
    line = re.sub(r"(?i)(https?|ftp):", r"\1\\:", line)
    return re.sub(r"(?i)www\.", r"www\\.", line)


def link(text: str) -> str:
    """Returns a text as `escape` does, or a web address as a link."""
    if re.fullmatch(r"https?://[\w./~%:+,;=@-]+", text):
        return f"<{text}>"
    return escape(text)
