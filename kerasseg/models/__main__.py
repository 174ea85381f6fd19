"""Prints a table of the architectures, each in the configuration of its paper.

python -m kerasseg.models [--markdown]

The columns are the name for --model, the number of trainable parameters, the number of
multiply-adds (convolutions and dense layers) for an image of 513x513 pixels, the stride
of the deepest feature map (output stride), and the paper.
"""

from collections.abc import Sequence

from absl import flags

from kerasseg import cli, models
from kerasseg.system import runtime

_MARKDOWN = flags.DEFINE_bool(
    "markdown", False, "Print the table in Markdown, as in docs/architectures.md."
)

_HEADINGS = "model", "parameters", "multiply-adds", "output stride", "paper"


def rows() -> list[tuple[str, ...]]:
    """Returns the cells of the table, headings first."""
    lines: list[tuple[str, ...]] = [_HEADINGS]
    for name in models.list_models():
        metadata = models.metadata(name)
        params, macs = f"{metadata.params / 1e6:.2f} M", f"{metadata.macs / 1e9:.1f} G"
        lines.append((name, params, macs, str(metadata.output_stride), metadata.paper))
    return lines


def plain() -> str:
    """Formats the table for a terminal."""
    return "\n".join(
        f"{name:<24}{params:>11}{macs:>15}{stride:>15}   {paper}"
        for name, params, macs, stride, paper in rows()
    )


def markdown() -> str:
    """Formats the table for README.md, with short links."""
    heading, *others = rows()
    lines: list[tuple[str, ...]] = [heading, ("---", "---:", "---:", "---:", "---")]
    for name, *numbers, paper in others:
        short = paper.removeprefix("https://").removeprefix("arxiv.org/abs/")
        lines.append((f"`{name}`", *numbers, f"[{short}]({paper})"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    del argv
    runtime.start_tensorflow()  # The modules that define the models import Keras.
    print(markdown() if _MARKDOWN.value else plain())


if __name__ == "__main__":
    cli.run(main)
