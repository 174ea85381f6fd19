r"""Prints the table of architectures, each at its paper's setting.

python -m kerasseg.models [--markdown]

Trainable parameters, multiply-adds for one image of 513x513 pixels (of convolutions and
dense layers), and the stride of the deepest feature map, in pixels.
"""

from collections.abc import Sequence

from absl import flags

from kerasseg import cli, models, runtime

_MARKDOWN = flags.DEFINE_bool("markdown", False, "Print the table of README.md.")

_HEADINGS = "model", "parameters", "multiply-adds", "output stride", "paper"


def rows() -> list[tuple[str, ...]]:
    """Returns the headings, then the columns of each architecture, as text."""
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
    """Formats the table for README.md, with links in their short form."""
    heading, *others = rows()
    lines: list[tuple[str, ...]] = [heading, ("---", "---:", "---:", "---:", "---")]
    for name, *numbers, paper in others:
        short = paper.removeprefix("https://").removeprefix("arxiv.org/abs/")
        lines.append((f"`{name}`", *numbers, f"[{short}]({paper})"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: Sequence[str]) -> None:
    """Prints a line for each architecture."""
    del argv
    runtime.start_tensorflow()  # The modules that define the models import Keras.
    print(markdown() if _MARKDOWN.value else plain())


if __name__ == "__main__":
    cli.run(main)
