"""The user's own augmentation of a crop: called after all others, its result checked.

It is a function of image and mask, or an object with the call convention of
albumentations, `transform(image=image, mask=mask)["mask"]`.
"""

import copy
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kerasseg import errors, images

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


class Transform:
    """Calls the user's augmentation with a seed, and checks what it returns.

    Args:
        function: One of

            - a function of image and mask that returns both;
            - a function of image, mask and a `numpy.random.Generator`, as a third
              argument without a default, or one that is called rng;
            - an albumentations `Compose`, or another object that is called with the
              keyword arguments `image` and `mask` and returns a dict of both.

    Attributes:
        name: Name of the function, for messages.
        is_seeded: Whether the result depends on the seed alone: the function takes a
            generator, or has the method `set_random_seed` of albumentations. A
            function with another random state is not repeated by the same seed.

    Raises:
        errors.UserError: `function` is not callable.
    """

    def __init__(self, function: Callable):
        if not callable(function):
            raise errors.UserError(
                f"`transform={function!r}` is not callable. Give a function of image "
                "and mask that returns both, or an albumentations Compose."
            )
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self._by_keyword, self._takes_rng = _convention(function)
        self._sets_seed = hasattr(function, "set_random_seed")
        self.is_seeded = self._takes_rng or self._sets_seed
        self._copies = threading.local()  # A seed is set on the object: one a thread.

    def __call__(
        self,
        image,
        mask,
        key: tuple[int, int],
        num_classes: int,
        name: str,
        *,
        multi_label: bool = False,
    ):
        """Augments one crop.

        Args:
            image: RGB, uint8 `[height, width, 3]`, or the channels and the type of the
                records. It may be changed in place.
            mask: Class numbers and 255, uint8 `[height, width]`, or bits of classes,
                uint16, likewise.
            key: Seed and position of the crop, from which random numbers are drawn.
            num_classes: Number of classes.
            name: Name of the image, for messages.
            multi_label: Whether the mask has the bits of several classes.

        Returns:
            Image and mask of the same sizes and types.

        Raises:
            errors.UserError: The function failed, or returned another shape, type or
                class; the message names the image.
        """
        size, shape, dtype = mask.shape, image.shape, image.dtype
        try:
            result = self._call(image, mask, key)
        except Exception as error:
            raise errors.UserError(
                f"{self._where(name)} failed: {type(error).__name__}: {error}"
            ) from error
        image, mask = self._unpacked(result, name)
        self._check(image, dtype, shape, "image", name)
        mask = self._as_label(mask, size, num_classes, name, multi_label)
        return np.ascontiguousarray(image), mask

    def _call(self, image, mask, key):
        if self._takes_rng:
            return self._function(image, mask, np.random.default_rng(key))
        function = self._function
        if self._sets_seed:
            if not hasattr(self._copies, "function"):
                self._copies.function = copy.deepcopy(function)
            function = self._copies.function
            drawn = np.random.SeedSequence(key).generate_state(1)[0]
            function.set_random_seed(int(drawn))
        if self._by_keyword:
            return function(image=image, mask=mask)
        return function(image, mask)

    def _unpacked(self, result, name):
        if isinstance(result, Mapping) and {"image", "mask"} <= result.keys():
            return result["image"], result["mask"]
        if isinstance(result, tuple | list) and len(result) == 2:
            return result
        raise errors.UserError(
            f"{self._where(name)} returned {type(result).__name__}, expected image and "
            "mask, or a dict with these keys."
        )

    def _check(self, array, dtype, shape, what, name):
        found = f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise errors.UserError(
                f"{self._where(name)} returned the {what} {found}, expected shape "
                f"{shape}: that of the crop. Leave cropping and resizing to "
                "`train_crop_size` and the scale factors."
            )
        if dtype is not None and array.dtype != dtype:
            raise errors.UserError(
                f"{self._where(name)} returned the {what} {found}, expected uint8 from "
                "0 to 255. Leave out normalization, which is part of the network."
            )

    def _as_label(self, mask, size, num_classes, name, multi_label):
        self._check(mask, None, size, "mask", name)
        if not np.issubdtype(mask.dtype, np.integer):
            raise errors.UserError(
                f"{self._where(name)} returned a mask of {mask.dtype}, expected class "
                "numbers of an integer type. Interpolate masks by nearest neighbor."
            )
        low, high = mask.min(initial=0), mask.max(initial=0)
        dtype = np.uint16 if multi_label else np.uint8
        if low < 0 or high > np.iinfo(dtype).max:
            raise errors.UserError(
                f"{self._where(name)} returned a mask with values from {low} to "
                f"{high}. Labels are 0 to {num_classes - 1}, or 255 for ignored pixels."
            )
        mask = np.ascontiguousarray(mask, dtype)
        try:
            images.check_label_range(
                mask, num_classes, name=self._where(name), multi_label=multi_label
            )
        except images.ImageError as error:
            text = str(error).partition(" Check that")[0]
            raise errors.UserError(
                f"{text} Fill new pixels with 255, and interpolate masks by nearest "
                "neighbor."
            ) from None
        return mask

    def _where(self, name):
        return f"`transform` {self.name}, image {name}"


def _convention(function) -> tuple[bool, bool]:
    """Returns whether arguments are given by keyword, and whether a generator is."""
    try:
        parameters: list[Any] = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # Written in C.
        return False, False
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    required = [p for p in positional if p.default is p.empty]
    has_keywords = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    if len(required) < 2 and (has_keywords or {"image", "mask"} <= named):
        return True, False
    takes_rng = len(required) == 3 or [p.name for p in positional[2:3]] == ["rng"]
    return False, takes_rng
