"""Prints the table of architectures: python -m kerasseg.models."""

from kerasseg import models


def main():
    """Prints a line for each architecture: name, parameters, paper."""
    for name in models.list_models():
        facts = models.facts(name)
        millions = f"{facts.params / 1e6:.1f} M"
        print(f"{name:<24}{millions:>9}   {facts.paper}")


if __name__ == "__main__":
    main()
