"""Prints the table of architectures: python -m kerasseg.models."""

from kerasseg import models

_HEADINGS = "model", "parameters", "multiply-adds", "output stride", "paper"


def rows() -> list[tuple[str, ...]]:
    """Lists what is known of each architecture, at its paper's setting.

    Returns:
        Name, trainable parameters, multiply-adds of a picture of 513x513, output
        stride and address of the paper, as texts.
    """
    known = {name: models.facts(name) for name in models.list_models()}
    return [
        (
            name,
            f"{facts.params / 1e6:.2f} M",
            f"{facts.macs / 1e9:.1f} G",
            str(facts.output_stride),
            facts.paper,
        )
        for name, facts in known.items()
    ]


def main():
    """Prints a line for each architecture."""
    for name, params, macs, stride, paper in (_HEADINGS, *rows()):
        print(f"{name:<24}{params:>11}{macs:>15}{stride:>15}   {paper}")


if __name__ == "__main__":
    main()
