"""Finds files by a glob pattern: every folder once, and brackets in names."""

import collections
import glob
import os
import re
from collections.abc import Iterator


def find(pattern: str) -> list[str]:
    """Returns the paths that match a pattern, without folders, sorted.

    `**` matches folders of any depth. It follows links, but each folder is searched
    once, also if it contains a link to itself. Hidden files are left out.

    Args:
        pattern: As for `glob`, from `literal_brackets`.

    Raises:
        OSError: A folder cannot be read.
    """
    return sorted({path for path in _expand(pattern) if not os.path.isdir(path)})


def literal_brackets(pattern: str, *, any_text: str = "*") -> str:
    """Escapes the brackets of files and folders that exist with brackets in the name.

    Other brackets stay sets of characters.

    Args:
        pattern: As for `glob`.
        any_text: A text in the pattern that stands for any text, as "*" does.
    """
    if "[" not in pattern:
        return pattern

    def exists(start):
        return next(glob.iglob(start.replace(any_text, "*")), None) is not None

    done = ""
    for part in re.split("(/)", pattern):
        escaped = part.replace("[", "[[]")
        has_wildcard = "*" in part or "?" in part or any_text in part
        if exists(done + escaped) and not (has_wildcard and exists(done + part)):
            done += escaped
        else:
            done += part
    everywhere = pattern.replace("[", "[[]")
    if not find(done.replace(any_text, "*")):
        done = everywhere if find(everywhere.replace(any_text, "*")) else done
    return done


def _expand(pattern):
    """Yields the paths that match, some perhaps more than once."""
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    i = parts.index("**")
    before = "/".join(parts[:i])
    after = "/".join(parts[i + 1 :]) or "*"
    starts = glob.iglob(before) if before else ["/" if i else ""]
    for start in filter(os.path.isdir, starts) if i else starts:
        for folder in folders(start):
            yield from _expand(os.path.join(glob.escape(folder), after))


def folders(root: str) -> Iterator[str]:
    """Yields a folder and those below it, each once, without hidden ones.

    Links are followed after all other folders.

    Args:
        root: The folder; "" for the current one.

    Raises:
        OSError: A folder cannot be read.
    """
    visited = set()
    links = collections.deque([root])
    while links:
        remaining = [links.popleft()]
        while remaining:
            folder = remaining.pop()
            status = os.stat(folder or os.curdir)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            yield folder
            below = [entry for entry in _entries(folder) if entry.is_dir()]
            links += [_join(folder, e.name) for e in below if e.is_symlink()]
            remaining += [_join(folder, e.name) for e in below if not e.is_symlink()]


def _entries(folder):
    with os.scandir(folder or os.curdir) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: entry.name)


def _join(folder, name):
    return os.path.join(folder, name) if folder else name
