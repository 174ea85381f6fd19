"""The hyperparameters of a run: each field is a flag of `kerasseg.train`.

Read without TensorFlow, so that wrong values are reported at once.
"""

import dataclasses
import math
import typing

from kerasseg import errors
from kerasseg.training import schedules

if typing.TYPE_CHECKING:
    from kerasseg.pipeline import augment


def _flag(default, text, **metadata):
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


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


def crop_size(text: str) -> tuple[int, int]:
    """Reads a crop size in pixels: `513`, or `360,480` for height and width.

    Raises:
        errors.UserError: It is neither.
    """
    try:
        sides = [int(part) for part in str(text).split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise errors.UserError(
            f"`train_crop_size={text}` is not a size in pixels. Give one number, or "
            f"height,width, as in 513 or 360,480."
        )
    return sides[0], sides[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the defaults are those of DeepLab v3, section 4."""

    training_number_of_steps: int = _flag(30_000, "Number of updates of the weights.")
    train_batch_size: int = _flag(
        16,
        "Images per update, over all devices. auto (16) and auto:N choose the number "
        "of micro-batches that fit into memory.",
        parse=parse_batch_size,
    )
    gradient_accumulation_steps: int = _flag(
        1,
        "Number of micro-batches that a device computes one after the other for each "
        "update, where a whole batch does not fit into its memory.",
    )
    loss: str = _flag(
        "crossentropy",
        "Loss, or a weighted sum of losses, as in crossentropy:1,dice:0.5. See "
        "kerasseg.losses.",
    )
    hard_pixel_fraction: float = _flag(
        0.25,
        "Fraction of the labeled pixels that hard_pixel_crossentropy keeps.",
        loss_option="keep",
    )
    hard_pixel_threshold: float | None = _flag(
        None,
        "hard_pixel_crossentropy keeps pixels whose true class has a lower "
        "probability, and at least hard_pixel_fraction of all. None: the fraction.",
        loss_option="threshold",
    )
    focal_gamma: float = _flag(
        2.0, "Exponent with which focal discounts easy pixels.", loss_option="gamma"
    )
    tversky_alpha: float = _flag(
        0.3, "Weight of false positives in tversky.", loss_option="alpha"
    )
    tversky_beta: float = _flag(
        0.7, "Weight of false negatives in tversky.", loss_option="beta"
    )
    tversky_exponent: float = _flag(
        1.0, "Exponent of tversky; 0.75 for focal Tversky.", loss_option="exponent"
    )
    label_smoothing: float = _flag(
        0.0,
        "Fraction of the target that is spread over all classes.",
        loss_option="label_smoothing",
    )
    class_weights: str = _flag(
        "none",
        "Weights of the classes in the loss: none, median_frequency (SegNet), enet "
        "(1 / ln(1.02 + frequency)), one number per class separated by commas, or a "
        "FILE with a class name and its weight on each line, or JSON: an object of "
        "weights by name, or a list in the order of the classes.",
    )
    border_weights: float = _flag(
        0.0,
        "Additional weight of pixels between two touching objects (U-Net's w0, 10 in "
        "its paper). The records must have instance masks. 0: none.",
    )
    border_sigma: float = _flag(5.0, "Range of border_weights, in pixels.")
    aux_loss_weight: float = _flag(0.4, "Weight of the loss of each auxiliary output.")
    output_weights: str | None = _flag(
        None,
        "Loss weights of outputs by name, as in logits:0,aux_encoder:1. Default: 1 "
        "for logits, aux_loss_weight for others. Outputs of weight 0 are not computed "
        "and layers that only they use are not trained; if logits has such layers, "
        "validations evaluate the output with the largest weight.",
    )
    optimizer: str = _flag(
        "sgd", "Optimizer.", choices=["sgd", "adam", "adamw", "rmsprop"]
    )
    momentum: float = _flag(0.9, "Momentum of sgd.")
    rmsprop_decay: float = _flag(0.9, "Decay of rmsprop's mean of squared gradients.")
    base_learning_rate: float = _flag(0.007, "Learning rate before any decay.")
    learning_policy: str = _flag(
        "poly", "Learning rate schedule.", choices=sorted(schedules.POLICIES)
    )
    learning_power: float = _flag(0.9, "Exponent of the poly schedule.")
    end_learning_rate: float = _flag(0.0, "Final learning rate of poly and cosine.")
    learning_rate_decay_step: int = _flag(
        2000,
        "Number of steps in which step and exponential decay by "
        "learning_rate_decay_factor.",
    )
    learning_rate_decay_factor: float = _flag(
        0.1, "Factor of each decay of step, and of an interval of exponential."
    )
    warmup_steps: int = _flag(
        0, "Number of steps in which the rate first rises linearly."
    )
    head_learning_rate_factor: float = _flag(
        1.0, "Factor on the learning rate of all layers but the encoder's."
    )
    weight_decay: float = _flag(
        1e-4,
        "Weight decay of kernels, not of biases and batch norm. sgd, adam, rmsprop: "
        "added to the gradient (L2 of weight_decay / 2); adamw: decoupled.",
    )
    gradient_clip_norm: float = _flag(
        0.0, "Largest global norm of the gradients; 0: no clipping."
    )
    fine_tune_batch_norm: bool = _flag(
        True, "Train batch norm; otherwise its statistics and weights are frozen."
    )
    batch_norm_decay: float | None = _flag(
        None, "Decay of the moving statistics of batch norm; None: the builder's."
    )
    ema_decay: float = _flag(
        0.0,
        "Decay of the exponential moving average of the weights, which is then "
        "evaluated; 0: none.",
    )
    mixed_precision: str = _flag(
        "none", "Precision of the layers.", choices=["none", "float16", "bfloat16"]
    )
    jit_compile: str = _flag(
        "auto",
        "Compile the step with XLA, on one device. auto: on a GPU the first steps "
        "measure both ways, and the faster one is used; never on a CPU.",
        choices=["auto", "on", "off"],
    )
    startup_delay_steps: int = _flag(
        15,
        "Steps between the starts of two workers of parameter servers; 0: all start "
        "at once.",
    )
    profile: bool = _flag(
        False, "Write a profile of some steps near the start for TensorBoard."
    )
    save_interval_steps: int = _flag(500, "Number of steps between checkpoints.")
    eval_interval_steps: int = _flag(
        1000, "Number of steps between validations; there is one at the end, too."
    )
    eval_limit: int | None = _flag(
        None, "Number of images of a validation; None: the whole split."
    )
    early_stopping_validations: int = _flag(
        0,
        "Stop after this number of validations without a better mean IoU; 0: never.",
    )
    repeat_classes: str | None = _flag(
        None,
        "Classes, and how often an epoch repeats images with one of them, as in "
        "bicycle,chair:3.",
    )
    skip_bad_records: int = _flag(
        0, "Number of damaged records that are skipped before training stops."
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
        options = schedules.options(self.learning_policy)
        return schedules.get(
            self.learning_policy,
            base_learning_rate=self.base_learning_rate,
            num_steps=self.training_number_of_steps,
            warmup_steps=self.warmup_steps,
            **{name: getattr(self, name) for name in options if hasattr(self, name)},
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """How training images are augmented; see `pipeline.augment.Augmentation`."""

    train_crop_size: str = _flag(
        "513", "Side of the training crop in pixels, or height,width."
    )
    min_scale_factor: float = _flag(0.5, "Smallest random scale.")
    max_scale_factor: float = _flag(2.0, "Largest random scale.")
    add_flipped_images: bool = _flag(True, "Flip half of the images left-right.")
    rotation: float = _flag(0.0, "Largest random rotation, in degrees.")
    elastic_deformation: float = _flag(
        0.0,
        "Elastic deformation: standard deviation, in pixels of the crop, of the "
        "displacements of a 3x3 grid, 10 in U-Net. 0: none.",
    )
    min_resize_value: int | None = _flag(
        None, "Length of the shorter side before the random scale."
    )
    max_resize_value: int | None = _flag(
        None, "Limit of the longer side before the random scale."
    )
    brightness: float = _flag(0.0, "Largest random shift, as a fraction of 255.")
    contrast: float = _flag(0.0, "Largest random change of the contrast factor.")
    saturation: float = _flag(0.0, "Largest random change of the saturation factor.")

    def __post_init__(self):
        """Checks the size of the crop."""
        crop_size(self.train_crop_size)

    def augmentation(self) -> "augment.Augmentation":
        """Returns the augmentation of the pipeline."""
        from kerasseg.pipeline import augment  # Starts TensorFlow.

        values = dataclasses.asdict(self)
        size = crop_size(values.pop("train_crop_size"))
        flip = values.pop("add_flipped_images")
        with errors.renamed({"flip": "add_flipped_images"}):
            return augment.Augmentation(crop_size=size, flip=flip, **values)
