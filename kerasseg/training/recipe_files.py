"""Flag files of recipes, read without defining a flag."""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from typing import Any

from kerasseg import errors
from kerasseg.system import files, option_fields, packaged
from kerasseg.training.augmentation_options import AugmentationOptions
from kerasseg.training.few_labels import FewLabels
from kerasseg.training.recipe import Recipe

_CLASSES = (Recipe, AugmentationOptions, FewLabels)
# Flags of a recipe that say where the data are and where the run is written.
_OF_THE_RUN = ("dataset", "records_dir", "workdir", "train_split", "eval_split", "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is trained with.

    Attributes:
        recipe: The hyperparameters.
        images: The augmentation.
        few_labels: How few labels are learned from.
        model: Name of the architecture, or None.
        model_options: Its options, as `key=value` texts.
    """

    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    images: AugmentationOptions = dataclasses.field(default_factory=AugmentationOptions)
    few_labels: FewLabels = dataclasses.field(default_factory=FewLabels)
    model: str | None = None
    model_options: tuple[str, ...] = ()

    def replace(self, changes: Mapping[str, Any]) -> "Settings":
        """Returns settings with other values of some flags, by name.

        Raises:
            errors.UserError: There is no such flag, or a value is wrong.
        """
        known: dict[str, tuple[Any, type]] = {}
        for cls in _CLASSES:
            known |= {field.name: (field, kind) for field, kind in _fields(cls)}
        for name in changes:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=3)
                hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
                raise errors.UserError(
                    f"There is no setting `{name}`.{hint} docs/training.md lists the "
                    "flags of kerasseg.train, which are the settings."
                )
        values = {
            name: option_fields.convert(*known[name], value)
            for name, value in changes.items()
        }

        def changed(options):
            names = {field.name for field in dataclasses.fields(options)}
            own = {name: value for name, value in values.items() if name in names}
            return dataclasses.replace(options, **own)

        return dataclasses.replace(
            self,
            recipe=changed(self.recipe),
            images=changed(self.images),
            few_labels=changed(self.few_labels),
        )

    def lines(self) -> list[str]:
        """Returns all values as lines of a flag file."""
        options = (self.recipe, self.images, self.few_labels)
        lines = [line(field.name, getattr(x, field.name)) for x, field in _all(options)]
        lines += [line("model", self.model)]
        lines += [f"--model_option={text}" for text in self.model_options]
        return [text for text in lines if text]

    def default_lines(self) -> set[str]:
        """Returns those of `lines` that have the default value of their flag."""
        options = (self.recipe, self.images, self.few_labels)
        return {
            line(field.name, field.default)
            for x, field in _all(options)
            if getattr(x, field.name) == field.default
        }


def line(name: str, value: Any) -> str:
    """Returns a flag as a line of a flag file; "" for None."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return "" if value is None else f"--{name}={value}"


def _fields(cls):
    yield from option_fields.fields(cls)
    if cls is FewLabels:  # Its flag is shared with other commands.
        yield (
            next(f for f in dataclasses.fields(cls) if f.name == "min_confidence"),
            float,
        )


def _all(options):
    return [(each, field) for each in options for field, _ in _fields(type(each))]


def read(name: str | os.PathLike) -> Settings:
    """Reads the recipe of a name, such as "camvid/enet", or of a flag file.

    Where the data are and where the run is written is not read.

    Raises:
        errors.UserError: There is no such recipe, or a line is no flag of
            kerasseg.train.
    """
    path = os.fspath(name)
    if path.endswith(".flags") and os.path.isfile(path):
        text = files.read_text(path)
    else:
        plain = path.removeprefix(f"{packaged.RECIPES}/").removesuffix(".flags")
        found = packaged.find("recipe", plain, packaged.recipes(), "kerasseg recipes")
        text = found.read_text("utf-8")
    values: dict[str, Any] = {}
    model_options = []
    switches = {f.name for cls in _CLASSES for f, kind in _fields(cls) if kind is bool}
    for number, written in enumerate(text.splitlines(), 1):
        stripped = written.strip()
        if not stripped or stripped.startswith(("#", "//")):
            continue
        key, equals, value = stripped.removeprefix("-").removeprefix("-").partition("=")
        if not stripped.startswith("-") or (not equals and key not in switches):
            is_off = key.startswith("no") and key[2:] in switches
            if not stripped.startswith("-") or not is_off:
                raise errors.UserError(
                    f"{path}: line {number} is not a flag with a value, such as "
                    "`train_batch_size=8`."
                )
            key, value = key[2:], "false"
        if key == "model_option":
            model_options.append(value)
        elif key not in _OF_THE_RUN:
            values[key] = value if equals or value else "true"
    model = values.pop("model", None)
    return Settings(model=model, model_options=tuple(model_options)).replace(values)
