"""Trains a network: the one package where model, data and loss meet."""

from kerasseg.system import lazy

__all__ = [
    "AugmentationOptions",
    "Builder",
    "Data",
    "FewLabels",
    "Interrupted",
    "Recipe",
    "task_of",
    "train",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "augmentation_options": "AugmentationOptions",
        "data": "Data",
        "few_labels": "FewLabels",
        "few_labels.stages": "task_of",
        "network": "Builder",
        "recipe": "Recipe",
        "run": "train",
        "signals": "Interrupted",
    },
)
