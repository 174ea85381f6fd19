"""The catalogue: published weights by name, one JSON file per family.

Every value was read at the address "source" of its entry.
"""

import dataclasses
import fnmatch
import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from kerasseg import errors
from kerasseg.system import packaged

KINDS = ("model", "encoder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A file of an entry.

    Attributes:
        url: Its address.
        sha256: SHA-256 in hexadecimal, or as many of its first digits as are
            published; empty if none are.
        num_bytes: Size; None if it is not published.
    """

    url: str
    sha256: str = ""
    num_bytes: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """Published weights.

    Attributes:
        name: Such as "torchvision/deeplabv3_resnet50_coco_voc".
        family: Name of the family; see `families`.
        source: Address where the other values were read.
        license: SPDX identifier of the weights, or the words of the source.
        non_commercial: Whether the license forbids commercial use.
        trained_on: Training set, as the source describes it.
        files: Its files; for a network of Hugging Face empty.
        hugging_face: "OWNER/NAME" of a network of Hugging Face; empty for others.
        kind: One of `KINDS`: "encoder" is one without a head for segmentation.
        dataset: Name in `datasets` of the data set whose classes it has; empty if it is
            none of them.
        config: What its family must know of it besides its arrays.
        score: Published mean IoU in percent; None if none is published.
        protocol: Images and settings of the score, as the source describes them.
        evaluate: Flags of `kerasseg.evaluate` that follow the protocol.
    """

    name: str
    family: str
    source: str
    license: str
    trained_on: str
    non_commercial: bool = False
    files: tuple[File, ...] = ()
    hugging_face: str = ""
    kind: str = "model"
    dataset: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    score: float | None = None
    protocol: str = ""
    evaluate: str = ""


@functools.cache
def entries() -> dict[str, Entry]:
    """Returns all entries by name, sorted."""
    found = {}
    for path in importlib.resources.files(__name__).iterdir():
        if path.name.endswith(".json"):
            for name, values in json.loads(path.read_text("utf-8")).items():
                files = tuple(File(**file) for file in values.pop("files", ()))
                found[name] = Entry(name=name, files=files, **values)
    return dict(sorted(found.items()))


def list_weights(pattern: str | None = None, kind: str | None = None) -> list[str]:
    """Returns the names of published weights, sorted.

    Args:
        pattern: Pattern of the names, such as "torchvision/*" or "*ade20k*"; None for
            all.
        kind: "model", or "encoder" for those without a head for segmentation; None for
            both.

    Raises:
        UserError: Unknown kind.
    """
    if kind not in (None, *KINDS):
        raise errors.UserError(f"`kind={kind}` must be one of {KINDS}, or None.")
    return [
        name
        for name, entry in entries().items()
        if kind in (None, entry.kind) and fnmatch.fnmatchcase(name, pattern or "*")
    ]


def is_name(text: str) -> bool:
    """Returns whether a text is a name of weights, perhaps a wrong one, or a path."""
    families = {name.partition("/")[0] for name in entries()}
    return text.startswith("hf:") or text.partition("/")[0] in families


def lookup(name: str) -> Entry:
    """Returns an entry.

    Raises:
        errors.UserError: There is none of this name; the message suggests similar ones.
    """
    if name not in entries():
        similar = packaged.suggestion(name, entries())
        raise errors.UserError(
            f"There are no weights named {name!r}.{similar} "
            "kerasseg.list_weights() returns all names, and hf:OWNER/NAME is a network "
            "of Hugging Face."
        )
    return entries()[name]
