"""The stages in which DecoupledNet is trained, as tasks of the trainer.

Source: https://arxiv.org/abs/1506.04924 (Hong et al.), section 4.
"""

import dataclasses

from kerasseg import errors, models
from kerasseg.pipeline import augment, augmentations
from kerasseg.training.few_labels.classification import Classification
from kerasseg.training.few_labels.options import (
    NO_STAGE,
    FewLabels,
    check_activation,
)
from kerasseg.training.few_labels.segmentation import Segmentation
from kerasseg.training.recipe import Recipe
from kerasseg.training.tasks import TASKS, Task


def task(kind: str, options: FewLabels) -> Task:
    """Returns the task of a run.

    Args:
        kind: What the network predicts, one of `models.KINDS`.
        options: The stage.
    """
    if options.stage == "classification":
        return Classification()
    if options.stage == "segmentation":
        return Segmentation(options)
    return TASKS[kind]()


def task_of(name: str, options: FewLabels | None = None) -> Task:
    """Returns the task of a registered model."""
    return task(models.metadata(name).kind, options or FewLabels())


def check(
    options: FewLabels,
    recipe: Recipe,
    augmentation: augment.Augmentation,
    initial_checkpoint: str | None,
) -> None:
    """Raises `errors.UserError` if a stage does not fit the other options of a run.

    Args:
        options: The stage.
        recipe: The hyperparameters.
        augmentation: Augmentation of the images.
        initial_checkpoint: See `run.train`.
    """
    check_activation(options, recipe.activation)
    if options.stage == NO_STAGE:
        return
    unused = {
        "classification": Classification.unused,
        "segmentation": Segmentation.unused,
    }
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name in unused[options.stage] and value != field.default:
            raise errors.UserError(
                f"`{field.name}={value}` has no effect with `stage={options.stage}`. "
                f"Leave it out."
            )
    if mixes := augmentations.mixes(augmentation.augmentations):
        raise errors.UserError(
            f"`augmentations` has {', '.join(mixes)}, which mix several crops. With "
            f"`stage={options.stage}`, choose augmentations of colors only."
        )
    if options.stage == "segmentation" and not initial_checkpoint:
        raise errors.UserError(
            "`stage=segmentation` does not train the classification network. Train it "
            "with `stage=classification` first, and give the workdir of that run as "
            "`initial_checkpoint`."
        )
