"""Finds the commands and flags that messages print, as a user would copy them.

`templates` finds the texts of messages in the code, so that a new message with a
command is not missed.
"""

import ast
import pathlib
import re
import shlex

from absl import flags

ROOT = pathlib.Path(__file__).parents[2]
PLACEHOLDERS = re.compile(r"=(FILE|DIR|NAME|N)\b")
_COMMAND = re.compile(r"python -m ([\w.]+)")
_FLAG = re.compile(r"(?<![\w'\"=/-])--([a-z_]+)")
_REMEDY = re.compile(r"python -m [\w.]+|--[a-z_]+=|`[a-z_]+=[^\0`]|pip install")


def _words(text):
    """Yields the flags at the start of a text, as a shell parses them."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="")
    lexer.whitespace_split, lexer.commenters = True, ""
    while True:
        try:
            word = lexer.get_token()
        except ValueError:  # An apostrophe in the sentence after it.
            return
        if word is None or not word.startswith("--"):
            return
        plain = word.rstrip(".,;:)")
        yield plain
        if plain != word:  # The end of a sentence.
            return


def commands(text):
    """Returns (module, flags) of each printed command with flags."""
    text = text.replace("\\\n", " ")
    found = [(m[1], list(_words(text[m.end() :]))) for m in _COMMAND.finditer(text)]
    return [(module, words) for module, words in found if words]


def alternatives(text, given):
    """Returns the groups of flags that a message proposes, without those given.

    Flags side by side belong together. Flags without a value count if they are
    switches.
    """
    groups, end = [], 0
    for match in _FLAG.finditer(text):
        if match.start() < end:
            continue
        words = list(_words(text[match.start() :]))
        end = match.start() + len(" ".join(words))
        if words and all(map(_is_complete, words)) and not {*words} <= {*given}:
            groups.append(words)
    return groups


def _is_complete(word):
    name, equals, _ = word[2:].partition("=")
    known = flags.FLAGS
    return name in known and (bool(equals) or known[name].boolean)


def replaced(given, new):
    """Returns flags in which new ones replace those of the same name."""
    names = {word.partition("=")[0] for word in new}
    return [word for word in given if word.partition("=")[0] not in names] + list(new)


def templates(*folders):
    """Yields path, line and text of messages with a command or a flag with a value.

    In the text, values that are filled in are "\\0". Docstrings are left out.
    """
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for line, text in _strings(ast.parse(path.read_text())):
                if _REMEDY.search(text):
                    yield path.relative_to(ROOT), line, text


def _strings(tree):
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr):
                skipped.add(first.value)
        elif isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            values = (
                v.value if isinstance(v, ast.Constant) else "\0" for v in node.values
            )
            yield node.lineno, "".join(values)


def pattern(template):
    """Returns a regular expression of the messages that a template prints."""
    text = re.sub(r"`([a-z_]+)((?:=[^`]*)?)`", r"--\1\2", template)
    text = re.sub(r"(--[a-z_]+)=([^\s,;]*)", "\\1=\0", text)  # Perhaps in quotes.
    return re.compile(".+?".join(map(re.escape, re.split("\0+", text))), re.DOTALL)
