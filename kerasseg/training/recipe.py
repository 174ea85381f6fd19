"""What a training run can be told: each field is a flag of `kerasseg.train`."""

import dataclasses

from kerasseg import augment, schedules


def _flag(default, text, **metadata):
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the weights are found; the defaults are those of DeepLab v3, section 4."""

    num_steps: int = _flag(
        30_000, "Updates of the weights.", flag="training_number_of_steps"
    )
    batch_size: int = _flag(
        16, "Pictures of one update, over all devices.", flag="train_batch_size"
    )
    accumulation_steps: int = _flag(
        1,
        "Parts in which a batch goes through a device, one after the other, where the "
        "whole does not fit into its memory.",
        flag="gradient_accumulation_steps",
    )
    loss: str = _flag(
        "crossentropy",
        "What is minimised.",
        choices=["crossentropy", "hard_pixel_crossentropy"],
    )
    hard_pixel_fraction: float = _flag(
        0.25, "Share of the labelled pixels that hard_pixel_crossentropy keeps."
    )
    label_smoothing: float = _flag(0.0, "Share of the target spread over all classes.")
    class_weights: str = _flag(
        "none",
        "Weight of each class in the loss: none, median_frequency (SegNet), enet "
        "(1 / ln(1.02 + share)), or one number a class with commas between.",
    )
    aux_loss_weight: float = _flag(0.4, "Weight of each auxiliary head's loss.")
    optimizer: str = _flag("sgd", "Optimizer.", choices=["sgd", "adamw"])
    momentum: float = _flag(0.9, "Momentum of sgd.")
    base_learning_rate: float = _flag(0.007, "Learning rate before any decay.")
    learning_policy: str = _flag(
        "poly", "Schedule.", choices=["poly", "step", "cosine", "constant"]
    )
    learning_power: float = _flag(0.9, "Power of poly.")
    end_learning_rate: float = _flag(0.0, "Where poly and cosine end.")
    learning_rate_decay_step: int = _flag(2000, "Steps between the drops of step.")
    learning_rate_decay_factor: float = _flag(0.1, "Factor of each drop of step.")
    warmup_steps: int = _flag(0, "Steps of linear rise to the schedule, at the start.")
    head_learning_rate_factor: float = _flag(
        1.0, "Factor on the learning rate of everything but the encoder."
    )
    weight_decay: float = _flag(
        1e-4,
        "Of kernels, not of biases and batch norm. sgd: added to the gradient (L2 of "
        "weight_decay / 2); adamw: decoupled.",
    )
    gradient_clip_norm: float = _flag(0.0, "Largest norm of all gradients; 0: any.")
    fine_tune_batch_norm: bool = _flag(
        True, "Train batch norm; else its statistics and weights stay."
    )
    batch_norm_decay: float | None = _flag(
        None, "Decay of the moving statistics of every batch norm; none: the builder's."
    )
    ema_decay: float = _flag(
        0.0, "Decay of the moving average of the weights that is scored; 0: none."
    )
    mixed_precision: str = _flag(
        "none", "Precision of the layers.", choices=["none", "float16", "bfloat16"]
    )
    save_interval_steps: int = _flag(500, "Steps between checkpoints.")
    eval_interval_steps: int = _flag(
        1000, "Steps between validations; there is one at the end in any case."
    )
    eval_limit: int | None = _flag(
        None, "Pictures of a validation; none: the whole split."
    )
    repeat_classes: str | None = _flag(
        None,
        "Hard classes and how often an epoch shows the pictures with one of them, as "
        "in bicycle,chair:3.",
    )
    skip_bad_records: int = _flag(
        0, "Damaged records that are passed over before training stops."
    )

    def __post_init__(self):
        """Refuses numbers that no run can have."""
        for name in ("num_steps", "batch_size", "accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, got {getattr(self, name)}."
                )
        for name in ("save_interval_steps", "eval_interval_steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, got {getattr(self, name)}."
                )
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"A batch of {self.batch_size} cannot be cut into "
                f"{self.accumulation_steps} equal parts: choose "
                f"--gradient_accumulation_steps among its divisors."
            )

    def schedule(self):
        """Returns the learning rate as a function of the step."""
        options = {
            "poly": {
                "power": self.learning_power,
                "end_learning_rate": self.end_learning_rate,
            },
            "cosine": {"end_learning_rate": self.end_learning_rate},
            "step": {
                "decay_steps": self.learning_rate_decay_step,
                "decay_factor": self.learning_rate_decay_factor,
            },
        }
        return schedules.get(
            self.learning_policy,
            base_learning_rate=self.base_learning_rate,
            num_steps=self.num_steps,
            warmup_steps=self.warmup_steps,
            **options.get(self.learning_policy, {}),
        )

    def repeats(self) -> tuple[list[str], int] | None:
        """Reads `repeat_classes` into class names and a number."""
        if not self.repeat_classes:
            return None
        names, separator, times = self.repeat_classes.rpartition(":")
        if not separator or not times.isdigit():
            raise ValueError(
                f"--repeat_classes takes names and a number, as in bicycle,chair:3; "
                f"got '{self.repeat_classes}'."
            )
        return names.split(","), int(times)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationFlags:
    """The flags of `augment.Augmentation`, under TF DeepLab's names."""

    train_crop_size: str = _flag(
        "513", "Side of the training crop in pixels, or height,width."
    )
    min_scale_factor: float = _flag(0.5, "Smallest random scale.")
    max_scale_factor: float = _flag(2.0, "Largest random scale.")
    add_flipped_images: bool = _flag(True, "Mirror half of the pictures left-right.")
    rotation: float = _flag(0.0, "Largest random rotation, in degrees.")
    min_resize_value: int | None = _flag(
        None, "Length of the shorter side before the random scale."
    )
    max_resize_value: int | None = _flag(
        None, "Bound of the longer side before the random scale."
    )
    brightness: float = _flag(0.0, "Largest random shift, as a share of 255.")
    contrast: float = _flag(0.0, "Largest random change of the contrast's factor.")
    saturation: float = _flag(0.0, "Largest random change of the saturation's factor.")

    def augmentation(self, crop_size) -> augment.Augmentation:
        """Returns what the pipeline takes, with the crop's height and width."""
        values = dataclasses.asdict(self)
        del values["train_crop_size"]
        flip = values.pop("add_flipped_images")
        return augment.Augmentation(crop_size=crop_size, flip=flip, **values)
