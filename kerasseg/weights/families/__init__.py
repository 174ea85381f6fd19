"""Families of weights: the naming rules of one library each.

A module registers a function `(shapes, config) -> Network | None`: from the names and
shapes of the arrays of a file, and what is known of it otherwise, to the network that
it is of; None if it is of another family. `config` is the content of a `config.json`,
or the entry "config" of the catalogue; empty if nothing is known.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kerasseg import datasets, errors
from kerasseg.system import registry
from kerasseg.weights.networks import Network, Shapes

Recognizer = Callable[[Shapes, Mapping[str, Any]], Network | None]
_FAMILIES: registry.Registry[Recognizer] = registry.Registry("family", __name__)
register = _FAMILIES.register


def list_families() -> list[str]:
    """Returns the names of the families, sorted."""
    return sorted(_FAMILIES)


def recognize(
    shapes: Shapes,
    config: Mapping[str, Any] | None = None,
    *,
    family: str | None = None,
) -> Network:
    """Finds out what network weights are of.

    Args:
        shapes: Shapes of the arrays, by their names.
        config: What is known of the network; see the package.
        family: Name of its family; None if it is not known.

    Raises:
        errors.UserError: No family has such a network, or more than one has.
    """
    names = list_families() if family is None else [family]
    found = {}
    for name in names:
        network = _FAMILIES.lookup(name)(shapes, config or {})
        if network is not None:
            found[name] = network
    if len(found) > 1:
        raise errors.UserError(
            f"The arrays can be of a network of {' and of '.join(found)}. Give the "
            "`family`."
        )
    if not found:
        examples = ", ".join(sorted(shapes)[:3])
        raise errors.UserError(
            f"Weights of {len(shapes)} arrays, such as {examples}, are not those of a "
            f"network that is known here. Known are networks of {', '.join(names)}; "
            "docs/weights.md lists them."
        )
    return next(iter(found.values()))


def classes_of(dataset: str, num_classes: int) -> dict[str, Any]:
    """Returns `class_names` and `palette` of a `Network` trained on a data set.

    Empty if the network has another number of classes.
    """
    spec = datasets.get(dataset)
    if num_classes != spec.num_classes:
        return {}
    return {"class_names": spec.class_names, "palette": spec.palette.tolist()}
