"""Augmentations that are chosen by name: of the colors of a crop, and mixes of crops.

Every module of this package registers one function, whose keyword arguments are the
constants of its source.

- A color augmentation `(image, rng) -> image` changes RGB, uint8 `[height, width, 3]`.
  The label stays.
- A mix `(labels, rng) -> choice` takes the labels of a crop and of its partners, uint8
  `[height, width]`, and returns the index of the crop from which each pixel is taken,
  uint8 `[height, width]`. Image, label and instance ids are pasted by this one map, so
  they cannot be taken from different crops.

Neither changes its arguments. Crops are already warped: nothing is interpolated twice.
"""

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from kerasseg import errors
from kerasseg.system import registry

Chosen = tuple[tuple[str, float], ...]  # Names and probabilities.

MAX_PARTNERS = 3  # The other crops of a group, see `crops.CropReader`.
# For consistency training. UniMatch, https://arxiv.org/abs/2208.09910, jitters colors
# and blurs with these probabilities.
STRONG_VIEW: Chosen = (("hsv_jitter", 0.8), ("gaussian_blur", 0.5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What `register` records of an augmentation.

    Attributes:
        function: The color augmentation or mix.
        source: Address of the paper.
        partners: Number of other crops that are mixed in; 0 for a color augmentation.
        needs_frequencies: Whether the function takes a third argument: the fraction of
            the labeled pixels of the training split that each class has, float64
            `[num_classes]`.
    """

    function: Callable
    source: str
    partners: int = 0
    needs_frequencies: bool = False


AUGMENTATIONS: registry.Registry[Metadata] = registry.Registry("augmentation", __name__)


def register(
    *, source: str, partners: int = 0, needs_frequencies: bool = False
) -> Callable:
    """Returns a decorator that registers an augmentation under its own name.

    Args:
        source: See `Metadata`.
        partners: See `Metadata`; at most `MAX_PARTNERS`.
        needs_frequencies: See `Metadata`.

    Raises:
        errors.UserError: An augmentation of that name is already registered, or it has
            too many partners.
    """
    if not 0 <= partners <= MAX_PARTNERS:
        raise errors.UserError(
            f"`partners` must be in 0 to {MAX_PARTNERS}, got {partners}."
        )

    def decorate(function):
        metadata = Metadata(
            function=function,
            source=source,
            partners=partners,
            needs_frequencies=needs_frequencies,
        )
        AUGMENTATIONS.add(function.__name__, metadata)
        return function

    return decorate


def parse(text: str) -> Chosen:
    """Reads names and probabilities: `cutmix:0.5,gaussian_blur:0.5`.

    Args:
        text: The list; empty for none.

    Raises:
        errors.UserError: It is not such a list, or see `check`.
    """
    chosen = []
    for item in text.split(",") if text.strip() else []:
        name, _, number = item.partition(":")
        try:
            chosen.append((name.strip(), float(number)))
        except ValueError:
            raise errors.UserError(
                f"`augmentations={text}` has the part '{item}', which is not a name "
                "and a probability. Give them as in cutmix:0.5,gaussian_blur:0.5."
            ) from None
    check(tuple(chosen))
    return tuple(chosen)


def check(chosen: Chosen) -> None:
    """Checks names and probabilities.

    Raises:
        errors.UserError: They are not pairs, a name is unknown or given twice, or a
            probability is not in (0, 1].
    """
    if not isinstance(chosen, tuple) or not all(map(_is_pair, chosen)):
        raise errors.UserError(
            "`augmentations` must be a tuple of pairs of a name and a probability, as "
            f"in (('cutmix', 0.5),), got {chosen!r}."
        )
    for name, probability in chosen:
        AUGMENTATIONS.lookup(name)
        if not 0 < probability <= 1:
            raise errors.UserError(
                f"`augmentations` has {name} with the probability {probability:g}, "
                "which must be above 0 and at most 1. Leave out an augmentation that "
                "should not be applied."
            )
    names = [name for name, _ in chosen]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise errors.UserError(
            f"`augmentations` has {', '.join(twice)} more than once. Give each name "
            "once, with its probability."
        )


def _is_pair(item):
    return (
        isinstance(item, tuple)
        and len(item) == 2
        and isinstance(item[0], str)
        and isinstance(item[1], int | float)
    )


def mixes(chosen: Chosen) -> list[str]:
    """Returns the names of the mixes among augmentations."""
    return [name for name, _ in chosen if AUGMENTATIONS[name].partners]


def drawn(
    chosen: Chosen, key: Sequence[int], *, mix: bool
) -> Iterator[tuple[Metadata, np.random.Generator]]:
    """Yields the augmentations that are applied to a crop, in their order.

    Whether it is applied, and its generator, depend on `key` and its name. So an
    augmentation does not change the random numbers of the others.

    Args:
        chosen: Names and probabilities.
        key: Seed of the crop: integers of at least 0, such as seed and position.
        mix: Whether to yield the mixes, or else the color augmentations.

    Yields:
        The augmentation, and the generator of its random numbers.
    """
    for name, probability in chosen:
        metadata = AUGMENTATIONS[name]
        if bool(metadata.partners) == mix and _uniform(key, name) < probability:
            yield metadata, np.random.default_rng((*key, zlib.crc32(name.encode())))


def _uniform(key, name):
    """Returns a number in [0, 1), ten times as fast as a generator is created."""
    text = ",".join(map(str, (*key, name)))
    digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "little") / 2**48


def change_colors(image, chosen: Chosen, key: Sequence[int]) -> np.ndarray:
    """Applies the color augmentations among those chosen.

    Args:
        image: RGB, uint8 `[height, width, 3]`, or with more channels, of which the
            first three are changed. It is not changed itself.
        chosen: Names and probabilities; mixes are passed over.
        key: See `drawn`.

    Returns:
        As `image`; `image` itself if none was drawn.
    """
    for metadata, rng in drawn(chosen, key, mix=False):
        colors = image if image.shape[2] == 3 else np.ascontiguousarray(image[..., :3])
        colors = metadata.function(colors, rng)
        if image.shape[2] > 3:
            colors = np.concatenate([colors, image[..., 3:]], axis=-1)
        image = colors
    return image


def strong_view(image, rng, chosen: Chosen = STRONG_VIEW) -> np.ndarray:
    """Draws a strong view of a crop, whose pixels stay where they are.

    Args:
        image: RGB, uint8 `[height, width, 3]`. It is not changed.
        rng: `numpy.random.Generator`, of which one number is drawn.
        chosen: Names of color augmentations and their probabilities.

    Returns:
        uint8 `[height, width, 3]`.

    Raises:
        errors.UserError: See `check`; or an augmentation is a mix.
    """
    check(chosen)
    if names := mixes(chosen):
        raise errors.UserError(
            f"A strong view changes colors only, but {', '.join(names)} mix several "
            "crops. Mix the crops of a batch instead."
        )
    return change_colors(image, chosen, (int(rng.integers(1 << 63)),))


def paste(arrays: Sequence[np.ndarray], choice) -> np.ndarray:
    """Takes each pixel from the crop that a mix has chosen.

    Args:
        arrays: The same array of each crop, `[height, width]` or `[height, width,
            channels]` of equal type: images, labels, ids or confidences.
        choice: What a mix returns, uint8 `[height, width]`: indices of `arrays`.

    Returns:
        A new array of the shape and type of the first.
    """
    pasted = arrays[0].copy()
    for i, array in enumerate(arrays[1:], 1):
        mask = (choice == i).view(np.uint8)
        pasted = cv2.copyTo(array, mask, pasted)
    return pasted
