"""What a training run can be told: each field is a flag of `kerasseg.train`."""

import dataclasses

from kerasseg import errors, losses
from kerasseg.training import ranges, recipe_texts, schedules


def _flag(default, text, **metadata):
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the weights are found; the defaults are those of DeepLab v3, section 4."""

    num_steps: int = _flag(
        30_000, "Updates of the weights.", flag="training_number_of_steps"
    )
    batch_size: int = _flag(
        16,
        "Pictures of one update, over all devices; auto: 16, and auto:N: N, in as few "
        "parts as fit into memory, which is found out at the start.",
        flag="train_batch_size",
        parse=recipe_texts.batch_size,
    )
    accumulation_steps: int = _flag(
        1,
        "Parts in which a batch goes through a device, one after the other, where the "
        "whole does not fit into its memory.",
        flag="gradient_accumulation_steps",
    )
    loss: str = _flag(
        "crossentropy",
        f"What is minimised: one of {', '.join(losses.LOSSES)}; or a weighted sum, as "
        "in crossentropy:1,dice:0.5.",
    )
    hard_pixel_fraction: float = _flag(
        0.25,
        "Share of the labelled pixels that hard_pixel_crossentropy keeps.",
        loss_option="keep",
    )
    hard_pixel_threshold: float | None = _flag(
        None,
        "Probability of the true class below which hard_pixel_crossentropy keeps a "
        "pixel; hard_pixel_fraction is then the least share. None: the share alone.",
        loss_option="threshold",
    )
    focal_gamma: float = _flag(
        2.0, "How little focal counts what is almost right.", loss_option="gamma"
    )
    tversky_alpha: float = _flag(
        0.3, "Weight of what is false in tversky.", loss_option="alpha"
    )
    tversky_beta: float = _flag(
        0.7, "Weight of what is missed in tversky.", loss_option="beta"
    )
    tversky_exponent: float = _flag(
        1.0, "Exponent of tversky; focal Tversky: 0.75.", loss_option="exponent"
    )
    label_smoothing: float = _flag(
        0.0,
        "Share of the target spread over all classes.",
        loss_option="label_smoothing",
    )
    class_weights: str = _flag(
        "none",
        "Weight of each class in the loss: none, median_frequency (SegNet), enet "
        "(1 / ln(1.02 + share)), one number a class with commas between, or a FILE: "
        "lines of a class's name and its weight, or JSON, an object of these or a "
        "list in the order of the classes.",
    )
    border_weights: float = _flag(
        0.0,
        "Weight between two objects that touch, added to that of the class: U-Net's "
        "w0, 10 there. Records must hold instance numbers. 0: none.",
    )
    border_sigma: float = _flag(5.0, "How far border_weights reach, in pixels.")
    aux_loss_weight: float = _flag(0.4, "Weight of each auxiliary output's loss.")
    output_weights: str | None = _flag(
        None,
        "Weights of outputs by name, as in logits:0,aux_encoder:1; logits not named "
        "weighs 1, others aux_loss_weight. What weighs 0 is not computed, and layers "
        "that only it needs are not trained; where logits has such layers, validations "
        "score the heaviest output.",
    )
    optimizer: str = _flag(
        "sgd", "Optimizer.", choices=["sgd", "adam", "adamw", "rmsprop"]
    )
    momentum: float = _flag(0.9, "Momentum of sgd.")
    rmsprop_decay: float = _flag(0.9, "Decay of rmsprop's mean of squared gradients.")
    base_learning_rate: float = _flag(0.007, "Learning rate before any decay.")
    learning_policy: str = _flag(
        "poly", "Schedule.", choices=sorted(schedules.POLICIES)
    )
    learning_power: float = _flag(0.9, "Power of poly.")
    end_learning_rate: float = _flag(0.0, "Where poly and cosine end.")
    learning_rate_decay_step: int = _flag(
        2000,
        "Steps in which step and exponential fall by learning_rate_decay_factor once.",
    )
    learning_rate_decay_factor: float = _flag(
        0.1, "Factor of each drop of step, and of as many steps of exponential."
    )
    warmup_steps: int = _flag(0, "Steps of linear rise to the schedule, at the start.")
    head_learning_rate_factor: float = _flag(
        1.0, "Factor on the learning rate of everything but the encoder."
    )
    weight_decay: float = _flag(
        1e-4,
        "Of kernels, not of biases and batch norm. sgd, adam, rmsprop: added to the "
        "gradient (L2 of weight_decay / 2); adamw: decoupled.",
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
    jit_compile: str = _flag(
        "auto",
        "Compile the step with XLA, on one device. auto: on a GPU both ways are "
        "measured in the first steps, and the faster one goes on; never on a CPU.",
        choices=["auto", "on", "off"],
    )
    startup_delay_steps: int = _flag(
        15,
        "Steps from the start of one worker to that of the next where parameter "
        "servers are used; 0: all at once.",
    )
    profile: bool = _flag(
        False, "Write a profile of some steps near the start for TensorBoard."
    )
    save_interval_steps: int = _flag(500, "Steps between checkpoints.")
    eval_interval_steps: int = _flag(
        1000, "Steps between validations; there is one at the end in any case."
    )
    eval_limit: int | None = _flag(
        None, "Pictures of a validation; none: the whole split."
    )
    early_stopping_validations: int = _flag(
        0, "Validations without a better mean IoU after which training ends; 0: never."
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
        ranges.check(self)
        if self.batch_size % self.accumulation_steps:
            raise errors.UserError(
                f"A batch of {self.batch_size} cannot be cut into "
                f"{self.accumulation_steps} equal parts: choose "
                f"`gradient_accumulation_steps` among its divisors."
            )
        losses.weighted_sum(self.loss_weights(), **self.loss_options())
        self.named_output_weights()
        if self.border_weights:
            self._check_border_weights()

    def _check_border_weights(self):
        for name in self.loss_weights():
            try:
                losses.weighted_sum({name: 1.0}, pixel_weights=None)
            except ValueError:
                raise errors.UserError(
                    f"`border_weights={self.border_weights}` weighs pixels, and {name} "
                    "is no sum over pixels: choose `loss=crossentropy`, or 0."
                ) from None

    def schedule(self):
        """Returns the learning rate as a function of the step."""
        options = {
            "poly": {
                "power": self.learning_power,
                "end_learning_rate": self.end_learning_rate,
            },
            "cosine": {"end_learning_rate": self.end_learning_rate},
        }
        for policy in ("step", "exponential"):
            options[policy] = {
                "decay_steps": self.learning_rate_decay_step,
                "decay_factor": self.learning_rate_decay_factor,
            }
        return schedules.get(
            self.learning_policy,
            base_learning_rate=self.base_learning_rate,
            num_steps=self.num_steps,
            warmup_steps=self.warmup_steps,
            **options.get(self.learning_policy, {}),
        )

    def loss_weights(self) -> dict[str, float]:
        """Reads `loss` into the factor of each loss."""
        return recipe_texts.named_weights("loss", self.loss)

    def loss_options(self) -> dict:
        """Returns the options of the losses that differ from their defaults."""
        return {
            field.metadata["loss_option"]: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if "loss_option" in field.metadata
            and getattr(self, field.name) != field.default
        }

    def named_output_weights(self) -> dict[str, float]:
        """Reads `output_weights` into the weights of the outputs that it names."""
        if not self.output_weights:
            return {}
        return recipe_texts.named_weights("output_weights", self.output_weights)

    def repeats(self) -> tuple[list[str], int] | None:
        """Reads `repeat_classes` into class names and a number."""
        if not self.repeat_classes:
            return None
        return recipe_texts.repeats(self.repeat_classes)
