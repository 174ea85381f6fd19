"""Finds files by a glob pattern: every folder once, and brackets in names."""

import collections
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator

_OnError = Callable[[OSError], object] | None


def find(pattern: str, *, on_error: _OnError = None) -> list[str]:
    """Returns the paths that match a pattern, without folders, sorted.

    `**` matches folders of any depth. It follows links, but each folder is searched
    once, also if it contains a link to itself. Hidden files are left out.

    Args:
        pattern: As for `glob`, from `literal_brackets`.
        on_error: Gets the error of a folder that `**` cannot search; None: it is
            raised.

    Raises:
        OSError: A folder cannot be read.
    """
    paths = {path for path in _expand(pattern, on_error) if not os.path.isdir(path)}
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

    def matches(each):
        return find(each.replace(any_text, "*"), on_error=lambda _: None)

    everywhere = pattern.replace("[", "[[]")
    return everywhere if not matches(done) and matches(everywhere) else done


def folder_before_wildcards(pattern: str) -> str:
    """Returns the folder that contains all matches of a pattern.

    Args:
        pattern: As for `glob`, from `literal_brackets`.
    """
    folders_ = pattern.split("/")[:-1]
    plain = itertools.takewhile(
        lambda part: not glob.has_magic(part.replace("[[]", "")), folders_
    )
    return "".join(part.replace("[[]", "[") + "/" for part in plain)


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


def _expand(pattern, on_error):
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
        for folder in folders(start, on_error=on_error):
            yield from _expand(os.path.join(glob.escape(folder), after), on_error)


def folders(root: str, *, on_error: _OnError = None) -> Iterator[str]:
    """Yields a folder and those below it, each once, without hidden ones.

    Links are followed after all other folders.

    Args:
        root: The folder; "" for the current one.
        on_error: As for `find`.

    Raises:
        OSError: A folder cannot be read.
    """
    return (folder for folder, _ in _scan(root, on_error))


def files(root: str, *, on_error: _OnError = None) -> Iterator[str]:
    """Yields what is not a folder in the folders of `folders`, also broken links.

    Args:
        root: The folder; "" for the current one.
        on_error: As for `find`.

    Raises:
        OSError: A folder cannot be read.
    """
    for folder, entries in _scan(root, on_error):
        for entry in entries:
            if not _is_folder(entry):
                yield _join(folder, entry.name)


def _scan(root, on_error):
    """Yields the folders of `folders`, and the visible entries of each."""
    visited = set()
    links = collections.deque([root])
    while links:
        remaining = [links.popleft()]
        while remaining:
            folder = remaining.pop()
            try:
                status = os.stat(folder or os.curdir)
                if (status.st_dev, status.st_ino) in visited:
                    continue
                visited.add((status.st_dev, status.st_ino))
                entries = _entries(folder)
            except OSError as error:
                if on_error is None:
                    raise
                on_error(error)
                continue
            yield folder, entries
            below = [entry for entry in entries if _is_folder(entry)]
            links += [_join(folder, e.name) for e in below if e.is_symlink()]
            remaining += [_join(folder, e.name) for e in below if not e.is_symlink()]


def _entries(folder):
    with os.scandir(folder or os.curdir) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: entry.name)


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _join(folder, name):
    return os.path.join(folder, name) if folder else name
