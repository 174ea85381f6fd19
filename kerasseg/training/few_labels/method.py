"""What a method of learning from images without labels consists of."""

import abc
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasseg import errors, pipeline
from kerasseg.distribution import WorkerGroup
from kerasseg.pipeline import augment
from kerasseg.training.few_labels import METHODS, NO_METHOD
from kerasseg.training.few_labels.options import FewLabels
from kerasseg.training.network import Network
from kerasseg.training.objective import Objective, Sums
from kerasseg.training.optimizers import GroupedOptimizer, JoinedOptimizer
from kerasseg.training.recipe import Recipe
from kerasseg.training.state import TrainState


class Term(NamedTuple):
    """A weighted term of the loss.

    Attributes:
        total: Sum over pixels, float32.
        per: What it is the mean over: "labeled" for the labeled pixels, or a key of
            `Method.counts`.
    """

    total: tf.Tensor
    per: str


class Method(abc.ABC):
    """Terms of the loss, and networks that are trained beside the segmenter.

    Created in the scope of the strategy.

    Args:
        student: The network that is trained. It returns logits, or a dict with them.
        average: The moving average of the student, or None.
        options: Options of the method.
        num_classes: Number of classes.

    Attributes:
        networks: Networks that are trained beside the student, by name.
        min_crop_size: Smallest height and width of a crop in pixels.
        needs_tags: Whether it learns from image-level classes only.
    """

    min_crop_size: ClassVar[int] = 1
    needs_tags: ClassVar[bool] = False

    def __init__(
        self,
        student: keras.Model,
        average: keras.Model | None,
        options: FewLabels,
        num_classes: int,
    ):
        self.student, self.average = student, average
        self.options, self.num_classes = options, num_classes
        self.networks: dict[str, keras.Model] = {}

    @property
    def views(self) -> pipeline.Views:
        """The strong views of images without labels that the terms need."""
        return pipeline.Views(tags=self.needs_tags)

    def optimizers(self) -> Mapping[str, keras.optimizers.Optimizer]:
        """Returns an optimizer for each of `networks`, not yet built."""
        return {}

    def samples(self) -> np.ndarray | None:
        """Returns generated images for the log, uint8 RGB, all of one size; or None."""
        return None

    def counts(self, batch: dict) -> Mapping[str, tf.Tensor]:
        """Returns the numbers of pixels that terms are means over, float32 scalars.

        Args:
            batch: See `terms`.
        """
        return {"unlabeled": count(batch["unlabeled_valid"])}

    @abc.abstractmethod
    def terms(self, batch: dict, logits: tf.Tensor, seed: tf.Tensor) -> dict[str, Term]:
        """Returns the terms of the loss of a batch by name.

        Args:
            batch: A batch of labeled images, and one of `pipeline.unlabeled_dataset`.
            logits: Logits of the labeled images, float32
                `[batch, height, width, classes]`.
            seed: int64 `[2]`: the step, and the number of the micro-batch.
        """


class SemiObjective:
    """The loss of labeled images plus the terms of a method.

    Args:
        supervised: The loss of the labeled images.
        method: The method.

    The loss of the labeled images is multiplied by `labeled_weight` of its options.

    Attributes:
        model: The network that is trained.
        weight_map: See `Objective`.
        evaluated: See `Objective`.
    """

    def __init__(self, supervised: Objective, method: Method):
        self.supervised, self.method = supervised, method
        self.model = supervised.model
        self.weight_map = supervised.weight_map
        self.evaluated = supervised.evaluated

    def prepare(self, batch: dict, replica: tf.distribute.ReplicaContext) -> dict:
        """Adds the factors that turn the sums of terms into means.

        The step divides all sums by the number of labeled pixels of the global batch.

        Args:
            batch: The batch of a replica.
            replica: Its context.
        """
        counts = {
            "labeled": self.supervised.count(batch["label"]),
            **self.method.counts(batch),
        }
        totals = replica.all_reduce("sum", list(counts.values()))
        labeled, *others = (tf.maximum(total, 1.0) for total in totals)
        images = tf.shape(batch["image"])[:1]
        factors = {
            f"factor_{name}": tf.fill(images, labeled / other)
            for name, other in zip(list(counts)[1:], others, strict=True)
        }
        return {**batch, "factor_labeled": tf.ones(images), **factors}

    def sums(self, batch: dict, seed: tf.Tensor) -> Sums:
        """Computes the loss of a batch, see `Objective.sums`.

        Args:
            batch: What `prepare` returned, or an equal part of it.
            seed: int64 `[2]`: the step, and the number of the micro-batch.
        """
        outputs = self.model(batch["image"], training=True)
        loss, count = self.supervised(outputs, batch["label"], batch.get("weight"))
        loss *= self.method.options.labeled_weight
        parts = {"supervised": loss}
        for name, term in self.method.terms(batch, logits_of(outputs), seed).items():
            parts[name] = term.total * batch[f"factor_{term.per}"][0]
            loss += parts[name]
        return Sums(loss, count, parts)


def check(
    options: FewLabels,
    recipe: Recipe,
    augmentation: augment.Augmentation,
    strategy: tf.distribute.Strategy,
    group: WorkerGroup,
) -> None:
    """Raises `errors.UserError` if a method does not fit the other options of a run.

    Args:
        options: Options of the method.
        recipe: The hyperparameters.
        augmentation: Augmentation of the images.
        strategy: The strategy of the run.
        group: The workers of the run.
    """
    if options.semi == NO_METHOD:
        return
    if group.is_asynchronous:
        raise errors.UserError(
            f"`semi={options.semi}` does not train with parameter servers. Choose "
            f"another `strategy`."
        )
    method: type[Method] = METHODS.lookup(options.semi)
    smallest = method.min_crop_size
    if min(augmentation.crop_size) < smallest:
        height, width = augmentation.crop_size
        raise errors.UserError(
            f"`semi={options.semi}` needs crops of at least {smallest} x {smallest} "
            f"pixels, `train_crop_size={height},{width}` is smaller. Give a larger one."
        )
    parts = strategy.num_replicas_in_sync * recipe.gradient_accumulation_steps
    count = options.unlabeled_batch_size or recipe.train_batch_size
    if options.mixes_pairs and count // parts % 2:
        raise errors.UserError(
            f"`unlabeled_batch_size={count}` gives {count // parts} images to each of "
            f"{parts} devices or micro-batches, and CutMix needs an even number. Give "
            f"a multiple of {2 * parts}, or `cutmix_probability=0`."
        )


def add(
    state: TrainState,
    optimizer: GroupedOptimizer,
    objective: Objective,
    recipe: Recipe,
    options: FewLabels,
    network: Network,
) -> SemiObjective:
    """Adds a method to the state and the loss of a run, in the scope of its strategy.

    Args:
        state: The state at step 0.
        optimizer: Its optimizer.
        objective: The loss of the labeled images.
        recipe: The hyperparameters.
        options: Options of the method.
        network: What is trained.

    Raises:
        errors.UserError: The method cannot train this network.
    """
    if network.kind != "semantic" or "logits" not in objective.weights:
        raise errors.UserError(
            f"`semi={options.semi}` learns classes of pixels from the output logits, "
            f"which {state.model.name} does not train. Choose `semi=none`, a network "
            f"for semantic segmentation, or other `output_weights`."
        )
    create: type[Method] = METHODS.lookup(options.semi)
    method = create(objective.model, state.ema, options, network.num_classes)
    beside = [
        (method.networks[name], optimizer)
        for name, optimizer in method.optimizers().items()
    ]
    if beside:
        rate = recipe.base_learning_rate
        state.optimizer = JoinedOptimizer(optimizer, beside, rate)
        state.beside = list(method.networks.values())
    return SemiObjective(objective, method)


def samples(objective: object) -> Callable[[], np.ndarray | None] | None:
    """Returns the function of generated images of a loss; None if it has none."""
    if isinstance(objective, SemiObjective):
        return objective.method.samples
    return None


def call_frozen(network: keras.Model, inputs: tf.Tensor) -> tf.Tensor:
    """Calls a network for training, without gradients of the weights.

    Gradients flow to the inputs; moving averages stay as they are.
    """
    outputs, _ = network.stateless_call(
        [tf.stop_gradient(v.value) for v in network.trainable_variables],
        [v.value for v in network.non_trainable_variables],
        inputs,
        training=True,
    )
    return outputs


def logits_of(outputs: tf.Tensor | dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the logits among the outputs of a network."""
    return outputs["logits"] if isinstance(outputs, dict) else outputs


def count(valid: tf.Tensor) -> tf.Tensor:
    """Returns the number of true values, float32."""
    return tf.reduce_sum(tf.cast(valid, tf.float32))
