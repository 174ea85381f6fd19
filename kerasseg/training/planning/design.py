"""Networks, crops and batches among which a plan chooses."""

import dataclasses
import math

from kerasseg import errors
from kerasseg.training.planning.facts import Facts, Machine

STRIDE = 32  # Sides of crops are multiples of it: no encoder has a larger stride.
_MIN_SIDE = 64
_SMALL_IMAGE = 288  # Images up to this side are not cropped.
# Of the sides of larger images: the crops of experiments/camvid.
FRACTION = 0.72
# Pixels of a crop and images of a batch, from the most expensive step on.
_ON_CPU = (
    *((147_456, 8), (92_160, 8), (65_536, 8), (49_152, 8), (49_152, 4)),
    *((25_600, 4), (16_384, 4)),
)
_ON_GPU = ((589_824, 16), (589_824, 8), (262_144, 16), (262_144, 8), *_ON_CPU)
_SMALLEST = 16_384 * 4  # Pixels of the cheapest step.
# Pixels that take as long as what a step costs besides its pixels.
_OVERHEAD_ON_CPU, _OVERHEAD_ON_GPU = 60_000, 500_000
_BYTES_PER_PIXEL = 8_000  # Of a training step; the networks below take less.
_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Network:
    """An architecture, and how it is trained.

    Attributes:
        model: Name of the architecture.
        options: Its options, as `key=value` texts.
        base_learning_rate: Learning rate of AdamW.
        head_learning_rate_factor: Factor of all layers but the encoder's.
        weight_decay: Decoupled weight decay.
        reason: Why it is chosen.
    """

    model: str
    options: tuple[str, ...]
    base_learning_rate: float
    head_learning_rate_factor: float
    weight_decay: float
    reason: str


@dataclasses.dataclass(frozen=True)
class Design:
    """What a training step computes.

    Attributes:
        network: The network.
        crop: Height and width of the training crops, in pixels.
        batch_size: Images of a step.
        shows_whole_image: Whether the crop covers a typical image.
        overhead: Pixels that take as long as what a step costs besides its pixels.
    """

    network: Network
    crop: tuple[int, int]
    batch_size: int
    shows_whole_image: bool
    overhead: int = _OVERHEAD_ON_CPU

    @property
    def pixels(self) -> int:
        """Pixels of a training step."""
        return self.batch_size * math.prod(self.crop)

    @property
    def work(self) -> int:
        """Number that the time of a step is proportional to."""
        return self.pixels + self.overhead


_PRETRAINED = Network(
    model="deeplab_v3_plus",
    options=(
        "backbone=efficientnet_lite0",
        "backbone_weights=imagenet",
        "output_stride=16",
        "filters=128",
    ),
    base_learning_rate=0.001,
    head_learning_rate_factor=5,
    weight_decay=0.02,
    reason="DeepLab v3+ on EfficientNet-Lite0: its ImageNet weights are installed, and "
    "of the networks in experiments/camvid it has the highest mean IoU in equal time.",
)
_FROM_SCRATCH = Network(
    model="enet",
    options=(),
    base_learning_rate=0.003,
    head_learning_rate_factor=1,
    weight_decay=0.01,
    reason="ENet, a small network: no pretrained encoder is installed, and from "
    "scratch a larger one needs more images and hours. Install kerasseg[lite0] for "
    "ImageNet weights: they give a higher mean IoU in the same time.",
)


def network(machine: Machine) -> Network:
    """Returns the network for what is installed."""
    return _PRETRAINED if machine.has_lite0 else _FROM_SCRATCH


def designs(facts: Facts, machine: Machine) -> list[Design]:
    """Returns the designs that fit into memory, from the most expensive step on.

    Raises:
        errors.UserError: None fits.
    """
    chosen = network(machine)
    found: list[Design] = []
    overhead = _OVERHEAD_ON_GPU if machine.has_gpu else _OVERHEAD_ON_CPU
    for area, batch_size in _ON_GPU if machine.has_gpu else _ON_CPU:
        crop = crop_size(facts.size, area)
        whole = crop[0] >= facts.size[0] and crop[1] >= facts.size[1]
        batch_size = min(batch_size, max(2, facts.num_train))
        design = Design(chosen, crop, batch_size, whole, overhead)
        fits = 2 * design.pixels * _BYTES_PER_PIXEL <= machine.memory
        if (fits or machine.has_gpu) and design not in found:
            found.append(design)
    if not found:
        raise errors.UserError(
            f"{machine.memory / _GIB:.1f} GiB of memory are available, too few to "
            f"train a network. End other programs, or use a machine with at least "
            f"{2 * _SMALLEST * _BYTES_PER_PIXEL / _GIB:.1f} GiB."
        )
    return sorted(found, key=lambda design: -design.pixels)


def crop_size(size: tuple[int, int], area: int) -> tuple[int, int]:
    """Returns the crop for images of a size.

    Args:
        size: Typical height and width of the images.
        area: Largest number of pixels of the crop.

    Returns:
        Height and width, multiples of `STRIDE`: the whole image if it is small, else a
        fraction of it. The aspect ratio is that of the image, as far as sides of at
        least 64 pixels allow.
    """
    fraction = 1.0 if max(size) <= _SMALL_IMAGE else FRACTION
    sides = [fraction * side for side in size]
    shrink = min(1.0, math.sqrt(area / math.prod(sides)))
    to_multiple = math.ceil if fraction == shrink == 1 else round
    height, width = (
        max(_MIN_SIDE, STRIDE * to_multiple(shrink * side / STRIDE)) for side in sides
    )
    while height * width > area and max(height, width) > _MIN_SIDE:
        if height > width:  # Rounding, or a small side, made it too large.
            height -= STRIDE
        else:
            width -= STRIDE
    return height, width


def scale_range(facts: Facts, design: Design) -> tuple[float, float, str]:
    """Returns the range of the random scale of training images, and why.

    Returns:
        The smallest and the largest factor, and the reason.
    """
    if facts.size_ratio > 2:
        return 0.5, 2.0, f"the sizes of images differ by {facts.size_ratio:.1f} times"
    if design.shows_whole_image:
        return 0.8, 1.25, "crops show the whole image, as predictions will"
    least, small = 0.6, facts.object_size
    if small is not None and small * least < _MIN_OBJECT:
        least = round(min(1.0, _MIN_OBJECT / small), 2)
        return least, 1.6, f"small objects of about {small:.0f} pixels stay visible"
    return least, 1.6, "objects occur at different distances"


_MIN_OBJECT = 6  # Pixels of the side of a small object in a reduced training image.
