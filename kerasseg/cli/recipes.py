"""Lists the recipes of kerasseg.train, or copies one to change it.

kerasseg recipes
kerasseg recipes --copy=shapes/quickstart [--output_dir=DIR]
kerasseg train --recipe=shapes/quickstart --records_dir=DIR --workdir=DIR

A recipe is a flag file: architecture, data set, and all settings of the training. A
copy is written to experiments/NAME.flags in the current folder, or in --output_dir.
kerasseg train started in the same folder then uses the copy, with --recipe=NAME and
with --flagfile=experiments/NAME.flags.
"""

import pathlib
import re
from collections.abc import Sequence

from absl import flags

from kerasseg import cli, errors
from kerasseg.system import files, packaged

_COPY = flags.DEFINE_string("copy", None, "Name of the recipe to copy.")
flags.declare_key_flag("output_dir")


def listing() -> str:
    """Returns a line for each recipe: its name, and the first sentence of its head."""
    recipes = packaged.recipes()
    width = max(map(len, recipes), default=0)
    return "\n".join(f"{name:<{width}}  {_summary(recipes[name])}" for name in recipes)


def _summary(path):
    head, _, _ = path.read_text("utf-8").partition("\n#\n")
    text = " ".join(line.lstrip("# ") for line in head.splitlines())
    sentence = re.match(r"(.*?[.:])(\s|$)", text)
    return (sentence[1] if sentence else text).rstrip(".:")


def copy(name: str, output_dir: str | pathlib.Path) -> pathlib.Path:
    """Copies a recipe to `<output_dir>/experiments/<name>.flags`; returns the path.

    Raises:
        errors.UserError: There is no such recipe, or the file exists.
    """
    source = packaged.find("recipe", name, packaged.recipes(), "kerasseg recipes")
    target = pathlib.Path(output_dir, packaged.RECIPES, f"{name}.flags")
    if target.exists():
        raise errors.UserError(
            f"{target} exists and is not overwritten. Delete it, or choose another "
            f"`output_dir`."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(target, source.read_bytes())
    return target


def main(argv: Sequence[str]) -> None:
    """Turns flags into arguments of `copy`, or prints the list."""
    del argv
    if _COPY.value is None:
        print(listing())
        return
    print(f"Wrote {copy(_COPY.value, cli.OUTPUT_DIR.value or '.')}.")


if __name__ == "__main__":
    cli.run(main)
