"""The hyperparameters of a run: each field is a flag of `kerasseg.train`.

Read without TensorFlow, so that wrong values are reported at once.
"""

import dataclasses
import math
import typing

from kerasseg import errors
from kerasseg.system.option_fields import option
from kerasseg.training import schedules


class FittedBatch(int):
    """A batch size whose number of micro-batches is found at the start."""

    def __str__(self):
        return f"auto:{int(self)}"


def parse_batch_size(text: str | int) -> int:
    """Reads a batch size: a number, "auto" or "auto:NUMBER".

    Raises:
        errors.UserError: It is none of these.
    """
    number, kind = str(text), int  # type: tuple[str, type[int]]
    if number == "auto" or number.startswith("auto:"):
        number, kind = number[len("auto:") :] if ":" in number else "16", FittedBatch
    if not number.isdecimal() or int(number) < 1:
        raise errors.UserError(
            f"`train_batch_size={text}` is not a batch size. Give a number of images "
            f"from 1, auto or auto:NUMBER."
        )
    return kind(number)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the defaults are those of DeepLab v3, section 4."""

    training_number_of_steps: int = option(
        30_000, "Number of training steps, that is, updates of the weights."
    )
    train_batch_size: int = option(
        16,
        "Number of images per training step, over all devices. With auto:N, a batch "
        "of N images is split into the smallest number of micro-batches that fit into "
        "memory; auto means auto:16.",
        parse=parse_batch_size,
    )
    gradient_accumulation_steps: int = option(
        1,
        "Number of micro-batches into which each device splits its batch, to save "
        "memory. Their gradients are accumulated before the update. Batch norm "
        "normalizes each micro-batch by its own statistics; its moving averages are "
        "those of the whole batch.",
    )
    activation: str = option(
        "softmax",
        "How logits become probabilities: softmax, of classes that exclude each other; "
        "or sigmoid, with one logit for two classes, or one for each class of "
        "multi-label records. The losses are then those of each logit.",
        choices=["softmax", "sigmoid"],
    )
    loss: str = option(
        "crossentropy",
        "Loss, or a weighted sum of losses, as in crossentropy:1,dice:0.5. "
        "docs/training.md lists the losses.",
    )
    hard_pixel_fraction: float = option(
        0.25,
        "Fraction of the labeled pixels of an image, those with the highest loss, "
        "over which hard_pixel_crossentropy is computed.",
        loss_option="keep",
    )
    hard_pixel_threshold: float | None = option(
        None,
        "If set, hard_pixel_crossentropy is computed over the pixels whose labeled "
        "class has a probability below this value, and at least over "
        "hard_pixel_fraction of the pixels.",
        loss_option="threshold",
    )
    focal_gamma: float = option(
        2.0,
        "Focusing parameter gamma of the focal loss. 0 gives the cross-entropy.",
        loss_option="gamma",
    )
    tversky_alpha: float = option(
        0.3, "Weight of false positives in the Tversky loss.", loss_option="alpha"
    )
    tversky_beta: float = option(
        0.7, "Weight of false negatives in the Tversky loss.", loss_option="beta"
    )
    tversky_exponent: float = option(
        1.0,
        "Exponent of the Tversky loss. 0.75 gives the focal Tversky loss.",
        loss_option="exponent",
    )
    label_smoothing: float = option(
        0.0,
        "Label smoothing of the cross-entropy losses: fraction of the target that is "
        "distributed evenly over all classes.",
        loss_option="label_smoothing",
    )
    class_weights: str = option(
        "none",
        "Weights of the classes in the loss: none; median_frequency (as in SegNet); "
        "enet, which is 1 / ln(1.02 + frequency); comma-separated numbers in the "
        "order of the classes; or a file. The file has a class name and its weight on "
        "each line, or is JSON: an object with weights by class name, or a list of "
        "weights.",
    )
    border_weights: float = option(
        0.0,
        "Additional weight of pixels between two touching objects (w0 in the U-Net "
        "paper, where it is 10). Requires records with instance masks. 0 disables it.",
    )
    border_sigma: float = option(
        5.0,
        "Distance in pixels over which border_weights decay (sigma in the U-Net "
        "paper).",
    )
    aux_loss_weight: float = option(
        0.4, "Loss weight of each auxiliary output of the network."
    )
    output_weights: str | None = option(
        None,
        "Loss weights of the network's outputs by name, as in logits:0,aux_encoder:1. "
        "Default: 1 for logits, and aux_loss_weight for the others. Outputs with "
        "weight 0 are not computed, and layers that only they use are not trained. If "
        "this leaves layers of the output logits untrained, validations evaluate the "
        "output with the largest weight instead.",
    )
    train_proposals: int = option(
        2000,
        "Number of regions from which Mask R-CNN draws those of a training step, in "
        "an image, and from each level before non-maximum suppression.",
    )
    rois_per_image: int = option(
        512,
        "Number of regions of an image, at most a quarter of them objects, on which "
        "the heads of Mask R-CNN are trained.",
    )
    max_instances: int = option(
        100, "Maximum number of objects in a training crop; the largest are kept."
    )
    min_instance_area: int = option(
        16,
        "Objects with fewer pixels in a training crop are neither learned nor "
        "background.",
    )
    optimizer: str = option(
        "sgd", "Optimizer.", choices=["sgd", "adam", "adamw", "rmsprop"]
    )
    momentum: float = option(0.9, "Momentum of the optimizer sgd.")
    rmsprop_decay: float = option(
        0.9,
        "Decay of the moving average of squared gradients of the optimizer rmsprop.",
    )
    base_learning_rate: float = option(
        0.007, "Learning rate at the end of the warm-up, before any decay."
    )
    learning_policy: str = option(
        "poly", "Learning rate schedule.", choices=sorted(schedules.POLICIES)
    )
    learning_power: float = option(0.9, "Exponent of the schedule poly.")
    end_learning_rate: float = option(
        0.0, "Final learning rate of the schedules poly and cosine."
    )
    learning_rate_decay_step: int = option(
        2000,
        "Number of steps after which the schedules step and exponential have "
        "multiplied the learning rate by learning_rate_decay_factor.",
    )
    learning_rate_decay_factor: float = option(
        0.1,
        "Factor of the schedules step and exponential, see learning_rate_decay_step.",
    )
    learning_rate_boundaries: str | None = option(
        None,
        "Steps after the warm-up at which the schedule step decays, such as "
        "60000,80000, in place of learning_rate_decay_step.",
    )
    warmup_steps: int = option(
        0,
        "Number of steps at the start in which the learning rate increases "
        "linearly to base_learning_rate.",
    )
    head_learning_rate_factor: float = option(
        1.0,
        "Factor by which the learning rate of all layers outside the encoder is "
        "multiplied.",
    )
    weight_decay: float = option(
        1e-4,
        "Weight decay of kernels; biases and batch norm have none. With sgd, adam and "
        "rmsprop it is an L2 penalty (weight_decay / 2 times the squared weights), "
        "with adamw it is decoupled.",
    )
    gradient_clip_norm: float = option(
        0.0, "Maximum global norm of the gradients. 0 disables clipping."
    )
    fine_tune_batch_norm: bool = option(
        True,
        "Train batch norm. With --nofine_tune_batch_norm, its weights and moving "
        "statistics are frozen.",
    )
    batch_norm_decay: float | None = option(
        None,
        "Momentum of the moving statistics of batch norm. Default: that of the "
        "architecture.",
    )
    ema_decay: float = option(
        0.0,
        "Decay of an exponential moving average of the weights. Validations evaluate "
        "the averaged weights, which are also those of the best model. 0 disables it.",
    )
    mixed_precision: str = option(
        "none",
        "Half-precision data type in which layers compute, or none for float32.",
        choices=["none", "float16", "bfloat16"],
    )
    jit_compile: str = option(
        "auto",
        "Whether to compile the training step with XLA. on requires a single device. "
        "auto never compiles on a CPU or with several devices; on one GPU it measures "
        "both variants during the first steps and uses the faster one.",
        choices=["auto", "on", "off"],
    )
    startup_delay_steps: int = option(
        15,
        "With --strategy=parameter_server, number of steps between the starts of two "
        "workers. With 0, all workers start immediately.",
    )
    profile: bool = option(
        False, "Record a profile of some steps near the start for TensorBoard."
    )
    save_interval_steps: int = option(500, "Number of steps between checkpoints.")
    eval_interval_steps: int = option(
        1000,
        "Number of steps between validations. There is always a validation after "
        "the last step.",
    )
    eval_limit: int | None = option(
        None, "Maximum number of images of a validation. Default: the whole split."
    )
    early_stopping_validations: int = option(
        0,
        "Stop after this number of validations without an improvement of the mean "
        "IoU, or of the mask AP of objects. 0 disables early stopping.",
    )
    repeat_classes: str | None = option(
        None,
        "Oversampling of rare classes: with bicycle,chair:3, each epoch contains the "
        "images with one of these classes three times.",
    )
    skip_bad_records: int = option(
        0,
        "Maximum number of damaged training records to skip. If there are more, "
        "training stops.",
    )

    def __post_init__(self):
        """Checks every value that can be checked without the data or the network."""
        _check_ranges(self)
        if self.train_batch_size % self.gradient_accumulation_steps:
            raise errors.UserError(
                f"`train_batch_size={self.train_batch_size}` is not divisible by "
                f"`gradient_accumulation_steps={self.gradient_accumulation_steps}`. "
                f"Choose one of its divisors."
            )
        if (
            isinstance(self.train_batch_size, FittedBatch)
            and self.gradient_accumulation_steps > 1
        ):
            raise errors.UserError(
                f"`train_batch_size={self.train_batch_size}` finds the number of "
                f"micro-batches itself. Leave out "
                f"`gradient_accumulation_steps={self.gradient_accumulation_steps}`, or "
                f"give a number of images."
            )
        for name in ("loss_weights", "output_loss_weights", "repeats", "schedule"):
            getattr(self, name)()

    def schedule(self) -> schedules.Schedule:
        """Returns the learning rate as a function of the step."""
        names = schedules.options(self.learning_policy)
        given = {name: getattr(self, name) for name in names if hasattr(self, name)}
        if self.learning_rate_boundaries:
            given["boundaries"] = _parse_steps(self.learning_rate_boundaries)
            given.pop("learning_rate_decay_step", None)
        return schedules.get(
            self.learning_policy,
            base_learning_rate=self.base_learning_rate,
            num_steps=self.training_number_of_steps,
            warmup_steps=self.warmup_steps,
            **given,
        )

    def loss_weights(self) -> dict[str, float]:
        """Returns the weight of each loss of `loss`."""
        return _parse_weights("loss", self.loss)

    def loss_options(self) -> dict[str, typing.Any]:
        """Returns the options of the losses that differ from their defaults."""
        return {
            field.metadata["loss_option"]: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if "loss_option" in field.metadata
            and getattr(self, field.name) != field.default
        }

    def output_loss_weights(self) -> dict[str, float]:
        """Returns the weights of the outputs that `output_weights` names."""
        if not self.output_weights:
            return {}
        return _parse_weights("output_weights", self.output_weights)

    def repeats(self) -> tuple[list[str], int] | None:
        """Returns the class names of `repeat_classes` and the number of repeats."""
        if not self.repeat_classes:
            return None
        names, separator, times = self.repeat_classes.rpartition(":")
        if not separator or not times.isdigit():
            raise errors.UserError(
                f"`repeat_classes={self.repeat_classes}` is not a list of class names "
                f"and a number. Give it as in bicycle,chair:3."
            )
        return names.split(","), int(times)


# Names of loss options by the names of their flags, for messages.
LOSS_OPTION_FLAGS = {
    field.metadata["loss_option"]: field.name
    for field in dataclasses.fields(Recipe)
    if "loss_option" in field.metadata
}

_FROM_1 = (
    *("training_number_of_steps", "train_batch_size", "gradient_accumulation_steps"),
    *("save_interval_steps", "eval_interval_steps", "eval_limit"),
    *("train_proposals", "rois_per_image", "max_instances", "min_instance_area"),
)
_FROM_0 = (
    *("early_stopping_validations", "startup_delay_steps", "skip_bad_records"),
    *("weight_decay", "gradient_clip_norm", "aux_loss_weight"),
    *("head_learning_rate_factor", "border_weights"),
)
_FRACTIONS = ("momentum", "rmsprop_decay", "ema_decay")


def _check_ranges(recipe):
    def check(name: str, valid, expected):
        value = getattr(recipe, name)
        if value is not None and not valid(value):
            raise errors.UserError(f"`{name}` must be {expected}, got {value}.")

    for name in _FROM_1:
        check(name, lambda value: value >= 1, "at least 1")
    for name in _FROM_0:
        check(name, lambda value: 0 <= value < math.inf, "finite and at least 0")
    for name in _FRACTIONS:
        check(name, lambda value: 0 <= value < 1, "at least 0 and below 1")
    check("batch_norm_decay", lambda value: 0 <= value <= 1, "from 0 to 1")
    check("border_sigma", lambda value: 0 < value < math.inf, "finite and above 0")


def _parse_steps(text):
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise errors.UserError(
            f"`learning_rate_boundaries={text}` is not a list of steps. Give it as in "
            f"60000,80000."
        ) from None


def _parse_weights(field, text):
    """Reads `name:weight` pairs separated by commas; a name alone has weight 1."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, separator, number = part.strip().partition(":")
        try:
            weight = float(number) if separator else 1.0
        except ValueError:
            weight = math.nan
        if not name or name in weights or not 0 <= weight < math.inf:
            raise errors.UserError(
                f"`{field}={text}` is not a list of names with weights from 0, each "
                f"name once. Give it as in one:1,other:0.5."
            )
        weights[name] = weight
    return weights
