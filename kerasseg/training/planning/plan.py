"""The plan: a flag file of kerasseg.train, with the reason of each line."""

import math
import textwrap
from typing import NamedTuple

import numpy as np

from kerasseg.training.planning import design as designing
from kerasseg.training.planning.budget import SECONDS_BETWEEN_CHECKPOINTS, Budget, Costs
from kerasseg.training.planning.design import Design
from kerasseg.training.planning.facts import Facts, Machine

AUGMENTATIONS = "hsv_jitter:0.5,gaussian_blur:0.25,cutmix:0.5"
_WIDTH = 88
_MAX_WEIGHT = 4.0
_BATCH_NORM_STEPS = 1000  # With fewer steps, the moving statistics are updated faster.


class Entry(NamedTuple):
    """Some flags and why they have these values."""

    flags: tuple[str, ...]
    reason: str


def entries(
    facts: Facts, machine: Machine, design: Design, costs: Costs, budget: Budget
) -> list[Entry]:
    """Returns the flags of a training.

    Args:
        facts: The data set.
        machine: The machine.
        design: Network, crop and batch.
        costs: Measured seconds.
        budget: Steps and validations.
    """
    return [
        *_network(design),
        *_steps(costs, budget, design, facts),
        *_images(facts, design, machine),
        *_loss(facts),
        *_optimizer(design, budget.steps),
        *_compilation(machine),
    ]


def text(title: str, listed: list[Entry]) -> str:
    """Returns the flag file.

    Args:
        title: What it is, and how it is used; its lines are kept.
        listed: What `entries` returns.
    """
    lines = [f"# {line}".rstrip() for line in title.splitlines()]
    for entry in listed:
        wrapped = textwrap.wrap(entry.reason, _WIDTH - 2)
        lines += ["", *(f"# {line}" for line in wrapped), *entry.flags]
    return "\n".join(lines) + "\n"


def _network(design):
    chosen = design.network
    options = (f"--model_option={text}" for text in chosen.options)
    yield Entry((f"--model={chosen.model}", *options), chosen.reason)


def _steps(costs, budget, design, facts):
    steps = budget.steps
    epochs = steps * design.batch_size / facts.num_train
    parts = ", ".join(f"{name} {value:.0f}" for name, value in budget.seconds.items())
    yield Entry(
        (f"--training_number_of_steps={steps}",),
        f"A step takes {costs.step:.3g} seconds here. Seconds of the parts: {parts}. "
        f"Each image is seen about {epochs:.1f} times.",
    )
    interval = math.ceil(steps / budget.num_validations)
    limit = budget.eval_limit
    flags = [f"--eval_interval_steps={interval}"]
    flags += [] if limit is None else [f"--eval_limit={limit}"]
    of = f"all {facts.num_val}" if limit is None else f"{limit} of {facts.num_val}"
    yield Entry(
        tuple(flags),
        f"Validations: {budget.num_validations}, of {of} images: {costs.image:.2g} "
        "seconds each. The best model is the one with the highest mean IoU.",
    )
    saved = max(1, min(interval, round(SECONDS_BETWEEN_CHECKPOINTS / costs.step)))
    yield Entry(
        (f"--save_interval_steps={saved}",), "A killed run loses at most a minute."
    )


def _images(facts, design, machine):
    height, width = design.crop
    size = f"{facts.size[0]} x {facts.size[1]}"
    reason = f"Images of {size} pixels (height x width) are small: the whole image."
    if not design.shows_whole_image:
        reason = (
            f"Of images of {size} pixels (height x width), as much as leaves time for "
            f"enough steps, at most {designing.FRACTION:g} of the sides."
        )
    yield Entry((f"--train_crop_size={height},{width}",), reason)
    kind = "a GPU" if machine.has_gpu else f"{machine.num_cores} CPU cores"
    yield Entry(
        (f"--train_batch_size={design.batch_size}",),
        f"Crops of a step, with which {kind} and the minutes allow enough steps.",
    )
    low, high, why = designing.scale_range(facts, design)
    yield Entry(
        (f"--min_scale_factor={low:g}", f"--max_scale_factor={high:g}"),
        f"Random scales: {why}.",
    )
    yield Entry(
        ("--add_flipped_images",),
        "Mirrored images look real. Change it to --noadd_flipped_images if left and "
        "right are different classes.",
    )
    yield Entry(
        (f"--augmentations={AUGMENTATIONS}",),
        "Light, focus and context vary; the augmentation of "
        "experiments/camvid/few_labels.flags.",
    )


def class_weights(pixels: tuple[int, ...]) -> list[float]:
    """Returns the weight of each class in the loss.

    The square root of median / frequency, from 1 to 4: rare classes get more weight, as
    experiments/camvid found to raise the mean IoU, and noise in their labels is not
    amplified without bound.

    Args:
        pixels: Labeled pixels of each class; 1 is the weight of classes without any.
    """
    counts = np.array(pixels, np.float64)
    occurs = counts > 0
    if not occurs.any():
        return [1.0] * len(pixels)
    ratio = np.median(counts[occurs]) / np.where(occurs, counts, np.inf)
    weights = np.where(occurs, np.clip(np.sqrt(ratio), 1, _MAX_WEIGHT), 1)
    return [round(float(weight), 1) for weight in weights]


def _loss(facts):
    weights = class_weights(facts.pixels)
    total = max(1, sum(facts.pixels))
    shares = ", ".join(
        f"{name} {count / total:.2%}"
        for name, count in zip(facts.class_names, facts.pixels, strict=True)
    )
    read = "all labels" if facts.num_read == facts.num_train else "a sample of labels"
    yield Entry(
        (f"--class_weights={','.join(f'{weight:g}' for weight in weights)}",),
        f"Rare classes count more, up to {_MAX_WEIGHT:g} times. Pixels in {read}: "
        f"{' '.join(shares.split())}.",
    )


def _optimizer(design, steps):
    chosen = design.network
    yield Entry(
        (
            "--optimizer=adamw",
            f"--base_learning_rate={chosen.base_learning_rate:g}",
            f"--head_learning_rate_factor={chosen.head_learning_rate_factor:g}",
            f"--weight_decay={chosen.weight_decay:g}",
        ),
        "AdamW needs few steps. The values are those of experiments/camvid; layers "
        "without pretrained weights learn faster than the encoder.",
    )
    warmup = min(100, max(5, steps // 20))
    yield Entry(
        (
            "--learning_policy=poly",
            "--learning_power=0.9",
            f"--warmup_steps={warmup}",
        ),
        "The learning rate grows in the first steps, and reaches 0 at the last step.",
    )
    decay = min(0.998, max(0.9, 1 - 10 / steps))
    yield Entry(
        (f"--ema_decay={decay:.4g}",),
        "The weights are averaged over about the last tenth of the steps.",
    )
    if steps < _BATCH_NORM_STEPS:
        yield Entry(
            ("--batch_norm_decay=0.97",),
            "With few steps, the statistics of batch norm have to follow faster.",
        )


def _compilation(machine):
    if machine.has_gpu:
        yield Entry(
            ("--jit_compile=off",),
            "The time of a step was measured without XLA.",
        )
