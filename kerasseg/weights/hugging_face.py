"""Networks of Hugging Face: the files of a repository that are needed, in the cache."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from kerasseg import errors
from kerasseg.system import files
from kerasseg.weights import cache, connections, downloads, licenses
from kerasseg.weights.catalogue import Entry, File
from kerasseg.weights.files import shards

PREFIX = "hf:"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_CONVERTER = "image_converter"  # Of presets of KerasHub.
CARD = "README.md"
# The first that exists is read.
WEIGHTS = (
    *("model.safetensors", f"model.safetensors{shards.INDEX}"),
    *("pytorch_model.bin", f"pytorch_model.bin{shards.INDEX}"),
)
_MAX_BYTES = 16 << 20  # Of other files.
_PART = r"([A-Za-z0-9](?:[\w.-]{0,94}\w)?)"
_NAME = re.compile(rf"(?:{PREFIX})?{_PART}/{_PART}(?:@{_PART})?", re.ASCII)


class Repository(NamedTuple):
    """A repository; the revision is a branch, a tag or a commit."""

    owner: str
    name: str
    revision: str = "main"

    def __str__(self):
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{PREFIX}{self.owner}/{self.name}{revision}"

    @property
    def folder(self) -> pathlib.Path:
        """Its folder in the cache."""
        return cache.folder("huggingface.co", self.owner, self.name, self.revision)

    @property
    def page(self) -> str:
        """Address of its page."""
        return f"{connections.hugging_face()}/{self.owner}/{self.name}"

    def url(self, file: str) -> str:
        """Returns the address of a file."""
        return f"{self.page}/resolve/{self.revision}/{file}"


def parse(text: str) -> Repository:
    """Returns the repository of a name.

    Args:
        text: "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION"; "hf:" may be missing.

    Raises:
        errors.UserError: It has another form.
    """
    match = _NAME.fullmatch(text)
    if match is None or ".." in text or "--" in text:
        raise errors.UserError(
            f"{text!r} is not a network of Hugging Face. Expected {PREFIX}OWNER/NAME "
            f"or {PREFIX}OWNER/NAME@REVISION, such as {PREFIX}nvidia/"
            "segformer-b0-finetuned-ade-512-512."
        )
    return Repository(match[1], match[2], match[3] or "main")


def download(
    repository: Repository, entry: Entry | None = None, accept_license: bool = False
) -> pathlib.Path:
    """Returns the path of the weights; downloads what is not in the cache.

    The configuration is downloaded before them, so that if they are there, all is.

    Args:
        repository: The repository.
        entry: Its entry in the catalogue, for the license; None for that of its card.
        accept_license: Whether a license that forbids commercial use is accepted.

    Raises:
        downloads.DownloadError: It cannot be downloaded.
        errors.UserError: It has no weights of a format that is read, or the license
            forbids commercial use and is not accepted.
    """
    folder = repository.folder
    name = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if name is None:
        url = repository.url(WEIGHTS[0])
        cache.check_online(url, folder / WEIGHTS[0])
        licenses.show_license(entry or _of_card(repository), accept_license)
        _optional(repository, CONFIG)
        _optional(repository, PREPROCESSOR)
    for candidate in WEIGHTS if name is None else (name,):
        path = _optional(repository, candidate, downloads.MAX_BYTES)
        if path is not None:
            if path.name.endswith(shards.INDEX):
                for shard in shards.file_names(path):
                    downloads.fetch(File(url=repository.url(shard)), folder)
            return path
    raise errors.UserError(
        f"{repository} has none of the files {', '.join(WEIGHTS)}. Check the name and "
        f"its files at {repository.page}."
    )


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what is known of the network whose files are in a folder.

    It is the content of config.json, with that of preprocessor_config.json as
    "preprocessor" and, of KerasHub's presets, of image_converter.json as
    "image_converter".

    Raises:
        errors.UserError: One of them is damaged.
    """
    config = _read_object(folder / CONFIG)
    for key, name in (
        ("preprocessor", PREPROCESSOR),
        (_CONVERTER, f"{_CONVERTER}.json"),
    ):
        if value := _read_object(folder / name):
            config[key] = value
    return config


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    value = files.read_json(path)
    if not isinstance(value, Mapping):
        raise errors.UserError(
            f"{path} is no JSON object, as it should be. Delete it, and it is "
            "downloaded again."
        )
    return dict(value)


def _of_card(repository):
    """Returns an entry with the license that the model card states."""
    card = _optional(repository, CARD)
    text = card.read_text("utf-8", "replace") if card is not None else ""
    found = licenses.of_card(text)
    return Entry(
        name=str(repository),
        family="",
        source=repository.page,
        license=found,
        trained_on="",
        non_commercial=licenses.is_non_commercial(found),
    )


def _optional(repository, name, max_bytes=_MAX_BYTES):
    """Downloads a file; returns None if the repository does not have it."""
    file = File(url=repository.url(name))
    try:
        return downloads.fetch(file, repository.folder, max_bytes=max_bytes)
    except downloads.DownloadError as error:
        if error.status == 404:
            return None
        raise
