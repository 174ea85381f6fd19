"""How a run learns from few labels: each field is a flag of `train`.

Read without TensorFlow, so that wrong values are reported at once.
"""

import dataclasses
import math

from kerasseg import errors
from kerasseg.system.option_fields import option

NO_METHOD = NO_STAGE = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewLabels:
    """How a run learns from few labels; see docs/few_labels.md.

    Attributes:
        min_confidence: With `semi="consistency"`, smallest probability of the teacher's
            class with which a pixel is learned. Above 1, none is.
    """

    semi: str = option(
        NO_METHOD,
        "Method that also learns from images without labels: consistency, a mean "
        "teacher with strong augmentation and CutMix; adversarial, a discriminator of "
        "label maps; gan, a generator of images; from image-level classes, em_adapt, "
        "which assigns pixels to them, and cam, which classifies images. With none, "
        "only labeled images are read. See docs/few_labels.md.",
    )
    stage: str = option(
        NO_STAGE,
        "Stage of the training of DecoupledNet: classification, which learns the "
        "image-level classes of all images; then segmentation, which learns the masks "
        "of the labeled images, with the run of the first stage as "
        "--initial_checkpoint. With none, the network is trained as any other.",
        choices=[NO_STAGE, "classification", "segmentation"],
    )
    combinatorial_crops: bool = option(
        False,
        "With --stage=segmentation, train on the bounding boxes of all subsets of the "
        "classes of an image instead of whole images.",
    )
    unlabeled_batch_size: int | None = option(
        None,
        "Number of images without labels per training step, over all devices. "
        "Default: train_batch_size.",
    )
    labeled_weight: float = option(
        1.0, "Weight of the loss on labeled images, with any method of --semi."
    )
    unlabeled_weight: float = option(
        1.0,
        "Weight of the loss of --semi=consistency, em_adapt or cam on images without "
        "labels.",
    )
    unlabeled_ramp_up_steps: int = option(
        0,
        "With --semi=consistency, number of steps in which unlabeled_weight rises from "
        "nearly 0 (0.007 of it) to its value.",
    )
    background_area: float = option(
        0.4,
        "With --semi=em_adapt, fraction of an image that is assigned to class 0 first, "
        "if the image shows it. Classes that follow can take some of it.",
    )
    foreground_area: float = option(
        0.2,
        "With --semi=em_adapt, fraction of an image that is assigned to each other "
        "class that it shows, in random order.",
    )
    cam_sharpness: float = option(
        0.0,
        "With --semi=cam, how near the score of an image for a class is to the maximum "
        "of the logits of its pixels: r of log(mean(exp(r x))) / r. With 0 it is their "
        "mean, which objects that fill the image suit; 5 suits smaller ones.",
    )
    min_confidence: float = 0.95
    strong_views: int = option(
        1, "With --semi=consistency, number of strongly augmented views of an image."
    )
    strong_augmentations: str = option(
        "hsv_jitter:0.8,gaussian_blur:0.5",
        "With --semi=consistency, color augmentations of the strong views with their "
        "probabilities, as in --augmentations.",
    )
    cutmix_probability: float = option(
        0.5,
        "With --semi=consistency, probability that a strong view contains a rectangle "
        "of another image.",
    )

    adversarial_weight: float = option(
        0.01, "Weight of the adversarial loss of --semi=adversarial on labeled images."
    )
    semi_adversarial_weight: float = option(
        0.001,
        "Weight of the adversarial loss of --semi=adversarial on images without "
        "labels.",
    )
    self_taught_weight: float = option(
        0.1,
        "Weight of the loss of --semi=adversarial on the network's own classes, where "
        "the discriminator's probability of a label exceeds self_taught_threshold.",
    )
    self_taught_start_step: int = option(5000, "First step with self_taught_weight.")
    self_taught_threshold: float = option(
        0.2,
        "Probability of being a label above which the discriminator trusts a pixel.",
    )
    discriminator_learning_rate: float = option(
        1e-4,
        "Learning rate of the discriminator of --semi=adversarial; it decays as "
        "base_learning_rate does.",
    )
    gan_weight: float = option(
        1.0, "Weight of the losses of --semi=gan that tell real from generated images."
    )
    gan_conditional: bool = option(
        False,
        "With --semi=gan, use the image-level classes of the images without labels, "
        "where the records have them: the generator gets them, and a pixel is real if "
        "it has one of them.",
    )
    generator_learning_rate: float = option(
        2e-4,
        "Learning rate of the generator of --semi=gan; it decays as "
        "base_learning_rate does.",
    )
    generator_filters: int = option(
        1024, "Channels of the first layer of the generator of --semi=gan."
    )

    def __post_init__(self):
        """Checks the ranges."""

        def check(name, valid, expected):
            value = getattr(self, name)
            if value is not None and not valid(value):
                raise errors.UserError(f"`{name}` must be {expected}, got {value}.")

        if self.stage != NO_STAGE and self.semi != NO_METHOD:
            raise errors.UserError(
                f"`semi={self.semi}` learns from images without labels, which "
                f"`stage={self.stage}` does not read. Leave out one of them."
            )
        if self.combinatorial_crops and self.stage != "segmentation":
            raise errors.UserError(
                f"`combinatorial_crops` is for `stage=segmentation`, and the stage is "
                f"{self.stage}. Leave it out, or choose that stage."
            )
        for name in ("unlabeled_batch_size", "strong_views", "generator_filters"):
            check(name, lambda value: value >= 1, "at least 1")
        for name in (
            *("labeled_weight", "unlabeled_weight", "min_confidence"),
            "adversarial_weight",
            *("semi_adversarial_weight", "self_taught_weight", "gan_weight"),
            *("self_taught_start_step", "discriminator_learning_rate"),
            "unlabeled_ramp_up_steps",
            *("generator_learning_rate", "cam_sharpness"),
        ):
            check(name, lambda value: 0 <= value < math.inf, "finite and at least 0")
        for name in (
            *("cutmix_probability", "self_taught_threshold"),
            *("background_area", "foreground_area"),
        ):
            check(name, lambda value: 0 <= value <= 1, "from 0 to 1")

    @property
    def learns_tags(self) -> bool:
        """Whether image-level classes are learned, and no labels of pixels."""
        return self.stage == "classification"

    @property
    def mixes_pairs(self) -> bool:
        """Whether CutMix mixes pairs of images."""
        return self.semi == "consistency" and self.cutmix_probability > 0


def check_activation(options: FewLabels, activation: str) -> None:
    """Checks that a method or a stage has the classes that it needs.

    Args:
        options: The method and the stage.
        activation: See `Recipe.activation`.

    Raises:
        errors.UserError: They are not classes of a softmax.
    """
    for name, without in (("semi", NO_METHOD), ("stage", NO_STAGE)):
        if activation != "softmax" and getattr(options, name) != without:
            raise errors.UserError(
                f"`{name}={getattr(options, name)}` needs classes that exclude each "
                f"other, of `activation=softmax`. Leave out `activation={activation}` "
                f"or `{name}`."
            )
