"""What is trained: the class of every pixel, or the objects of an image.

The stages of DecoupledNet are two more tasks, see `few_labels.stages`.
"""

import abc
import functools
import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerasseg import evaluation, inference, pipeline
from kerasseg.images.class_rules import ClassRule
from kerasseg.pipeline import augment
from kerasseg.system import progress
from kerasseg.training.instance_objective import InstanceObjective
from kerasseg.training.objective import Objective
from kerasseg.training.recipe import Recipe


class Task(abc.ABC):
    """How networks of one kind are trained and scored.

    Attributes:
        score: Key of the score of which the best model has the highest.
        shown: Scores in the log and the curves: their names by their keys.
        columns: Keys of the scores in scores.csv.
    """

    score: ClassVar[str]
    shown: ClassVar[Mapping[str, str]]
    columns: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def objective(self, model, recipe: Recipe, class_weights: np.ndarray | None):
        """Creates the loss of a model."""

    def order(
        self, reader: pipeline.ImageReader, order: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Returns what an epoch consists of: the `order` of `training_dataset`.

        Args:
            reader: Reader of the training split.
            order: Record indices, such as those of `pipeline.oversample`; None for each
                record once.

        Returns:
            Record indices, or numbers of the task's own; None for all records.

        Raises:
            errors.UserError: There is nothing to train on.
        """
        return pipeline.labeled_order(reader, order)

    @abc.abstractmethod
    def training_dataset(
        self,
        reader: pipeline.ImageReader,
        augmentation: augment.Augmentation,
        objective,
        recipe: Recipe,
        **options,
    ) -> tf.data.Dataset:
        """Returns the batches, see `pipeline.training_dataset` for the options."""

    @abc.abstractmethod
    def scorer(
        self, model: keras.Model, augmentation: augment.Augmentation
    ) -> Callable[..., dict]:
        """Returns a function of a reader, and `limit` and `on_batch`, to the scores."""

    def prediction_options(self, augmentation: augment.Augmentation) -> dict:
        """Returns how the network is to be applied, for the metadata of a model."""
        del augmentation
        return {}


class Semantic(Task):
    """The class of every pixel."""

    score = "mean_iou"
    shown: ClassVar = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}
    columns = ("mean_iou", "pixel_accuracy", "mean_accuracy")

    def objective(self, model, recipe, class_weights):
        """Creates the loss of a model."""
        return Objective(model, recipe, class_weights)

    def training_dataset(self, reader, augmentation, objective, recipe, **options):
        """Returns batches of images and labels, and weights of pixels."""
        del recipe
        return pipeline.training_dataset(
            reader, augmentation, weight_map_fn=objective.weight_map, **options
        )

    def scorer(self, model, augmentation):
        """Returns a function that computes the mean IoU and accuracies."""
        del augmentation

        @functools.cache  # Its graphs are those of all validations.
        def predictor(multi_label):
            return inference.Predictor(model, rule=ClassRule(multi_label=multi_label))

        def score(reader, **options):
            multi_label = reader.split.spec.multi_label
            return evaluation.evaluate(predictor(multi_label), reader, **options).scores

        return score


class Instances(Task):
    """The objects of an image."""

    score = "mask_ap"
    shown: ClassVar = {
        "mask_ap": "mask AP",
        "mask_ap50": "mask AP50",
        "box_ap": "box AP",
    }
    columns = (*shown, "mean_iou")

    def __init__(self):
        self._counts = pipeline.InstanceCounts()

    def objective(self, model, recipe, class_weights):
        """Creates the loss of a model; objects have no class weights."""
        del class_weights
        return InstanceObjective(model, recipe)

    def training_dataset(self, reader, augmentation, objective, recipe, **options):
        """Returns batches of images and their objects."""
        del objective
        chosen = pipeline.InstanceOptions(
            max_instances=recipe.max_instances,
            min_instance_area=recipe.min_instance_area,
        )
        return pipeline.instance_training_dataset(
            reader, augmentation, options=chosen, counts=self._counts, **options
        )

    def scorer(self, model, augmentation):
        """Returns a function that computes the average precisions of COCO.

        Raises:
            errors.MissingPackageError: pycocotools is not installed.
        """
        evaluation.pycocotools()  # Not first after many steps.
        detector = inference.Detector(model, **self.prediction_options(augmentation))

        def score(reader, **options):
            if self._counts["images"]:
                progress.log(f"Trained on {self._counts.describe()}")
            scores = evaluation.evaluate_instances(detector, reader, **options).scores
            # Scores are None, or missing, if no image has an object.
            missing = [name for name in self.columns if scores.get(name) is None]
            return {**scores, **dict.fromkeys(missing, math.nan)}

        return score

    def prediction_options(self, augmentation):
        """Returns the size to which images are resized, that of the training."""
        return {
            "min_side": augmentation.min_resize_value,
            "max_side": augmentation.max_resize_value,
        }


TASKS: dict[str, type[Task]] = {"semantic": Semantic, "instance": Instances}
