"""Finds files by a glob pattern: every folder once, and brackets in names."""

import collections
import glob
import os
import re
from collections.abc import Iterable, Iterator


def find(pattern: str) -> list[str]:
    """Returns the paths that match a pattern, without folders, sorted.

    `**` matches folders of any depth. It follows links, but each folder is searched
    once, also if it contains a link to itself. Hidden files are left out.

    Args:
        pattern: As for `glob`, from `literal_brackets`.

    Raises:
        OSError: A folder cannot be read.
    """
    paths = {path for path in _expand(pattern) if not os.path.isdir(path)}
    if "**" not in pattern.split("/"):
        return sorted(paths)
    real: dict[tuple[str, str], str] = {}  # The shortest path of each file.
    parents: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: (path.count("/"), path)):
        folder, name = os.path.split(path)
        parent = parents.setdefault(folder, os.path.realpath(folder))
        real.setdefault((parent, name), path)
    return sorted(real.values())


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


def count_by_suffix(paths: Iterable[str | os.PathLike]) -> str:
    """Returns the numbers of files by ending, each with the first files.

    Args:
        paths: The files.

    Returns:
        A text such as "2 .heic (a.heic, b.heic), 1 .txt (notes.txt)".
    """
    groups = collections.defaultdict(list)
    for path in sorted(str(os.fspath(path)) for path in paths):
        groups[os.path.splitext(path)[1].lower() or "without ending"].append(path)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    texts = [
        f"{len(group)} {suffix} ({', '.join(group[:2])}{', ...' * (len(group) > 2)})"
        for suffix, group in ordered[:_MAX_SUFFIXES]
    ]
    others = sum(len(group) for _, group in ordered[_MAX_SUFFIXES:])
    text = ", ".join([*texts, *([f"{others} others"] if others else [])])
    return text.encode(errors="backslashreplace").decode()  # Names may not be UTF-8.


_MAX_SUFFIXES = 8


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
