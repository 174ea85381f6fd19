"""What the images of a data set hold: channels, data type, and statistics of values.

Records state it once, a run keeps it, and the first layer of a model normalizes by it.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasseg import errors

MAX_CHANNELS = 32
# Values of a channel whose range is not known: those of the data type, or 0 to 1.
_RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "float32": (0.0, 1.0)}
DTYPES = tuple(_RANGES)
_STATISTICS = "mean", "deviation", "low", "high"


@dataclasses.dataclass(frozen=True)
class ImageKind:
    """Channels and data type of images, and the statistics of each channel.

    Of three channels or more, the first three are red, green and blue; of one or two,
    the first is gray. The statistics are empty where they were not measured.

    Attributes:
        channels: Number of channels, 1 to `MAX_CHANNELS`.
        dtype: "uint8", "uint16" or "float32".
        mean: Mean of each channel, in units of the pixels.
        deviation: Standard deviation of each channel, above 0.
        low: Lower end of the used range of each channel.
        high: Upper end, above `low`.

    Raises:
        errors.UserError: A value is out of range.
    """

    channels: int = 3
    dtype: str = "uint8"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self):
        """Checks the values."""
        check_channels(self.channels)
        if self.dtype not in DTYPES:
            raise errors.UserError(
                f"Images have the type {self.dtype!r}, expected one of "
                f"{', '.join(DTYPES)}. Convert them."
            )
        given = [getattr(self, name) for name in _STATISTICS]
        if not any(given):
            return
        if {len(values) for values in given} != {self.channels} or not all(
            isinstance(value, int | float) and math.isfinite(value)
            for values in given
            for value in values
        ):
            raise errors.UserError(
                f"The statistics of images with {self.channels} channels must be "
                f"finite numbers, one per channel for each of {', '.join(_STATISTICS)}."
            )
        is_wide = all(a < b for a, b in zip(self.low, self.high, strict=True))
        if not is_wide or min(self.deviation) <= 0:
            raise errors.UserError(
                f"A channel has the range {self.low} to {self.high} and the deviation "
                f"{self.deviation}. Ranges must be wider than 0, deviations above 0."
            )

    @property
    def is_rgb(self) -> bool:
        """Whether the images are 8-bit RGB, which need no statistics."""
        return (self.channels, self.dtype) == (3, "uint8")

    @property
    def num_colors(self) -> int:
        """Number of channels that are seen as colors: 3, or 1 for gray."""
        return 3 if self.channels >= 3 else 1

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Range of the values that are seen as 0 to 255; all values of 8 bits."""
        if self.low and self.dtype != "uint8":
            return list(zip(self.low, self.high, strict=True))
        return [_RANGES[self.dtype]] * self.channels

    @property
    def extra_moments(self) -> list[tuple[float, float]]:
        """Mean and deviation of the channels after the colors."""
        if self.mean:
            pairs = list(zip(self.mean, self.deviation, strict=True))
        else:  # Of values that are spread evenly.
            pairs = [
                ((low + high) / 2, (high - low) / math.sqrt(12))
                for low, high in self.ranges
            ]
        return pairs[self.num_colors :]

    @property
    def padding(self) -> tuple[float, ...]:
        """Value of each channel outside of an image: gray, or its mean."""
        color = (124, 116, 104) if self.num_colors == 3 else (116,)  # Of ImageNet.
        values = [
            low + value * (high - low) / 255
            for value, (low, high) in zip(color, self.ranges, strict=False)
        ]
        values += [mean for mean, _ in self.extra_moments]
        if self.dtype == "float32":
            return tuple(values)
        return tuple(float(round(value)) for value in values)

    def __str__(self):
        colors = {1: "gray", 3: "RGB"}.get(self.channels, f"{self.channels} channels")
        return f"{colors} of {self.dtype}"

    def to_json(self) -> dict[str, Any]:
        """Returns a dict for JSON; the statistics only if they were measured."""
        content = dataclasses.asdict(self)
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in content.items()
            if value != ()
        }

    @classmethod
    def from_json(cls, content: Any) -> "ImageKind":
        """Reads what `to_json` returned.

        Raises:
            errors.UserError: It is something else.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(content, Mapping) or not set(content) <= names:
            raise errors.UserError(
                f"The kind of images is {content!r}, expected an object with "
                f"{', '.join(sorted(names))}."
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list | tuple) else value
            for key, value in content.items()
        }
        return cls(**values)

    def view(self, image: np.ndarray) -> np.ndarray:
        """Returns an image as 8-bit RGB for display: colors stretched to 0 to 255.

        Of three channels or more the first three are shown, else the first as gray.

        Args:
            image: `[height, width, channels]`.

        Returns:
            uint8 `[height, width, 3]`; the image itself if it is 8-bit RGB.
        """
        if self.is_rgb:
            return image
        colors = image[..., : self.num_colors]
        if self.dtype != "uint8":
            low, high = np.array(self.ranges[: self.num_colors], np.float32).T
            levels = (colors.astype(np.float32) - low) * (255 / (high - low))
            levels = np.nan_to_num(levels, posinf=255, neginf=0)
            colors = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        if self.num_colors == 1:
            colors = np.repeat(colors, 3, axis=-1)
        return np.ascontiguousarray(colors)

    def check(self, image: np.ndarray, name: str) -> None:
        """Checks channels and type of an image.

        Raises:
            errors.UserError: They differ.
        """
        if image.ndim != 3 or image.shape[2] != self.channels:
            shape = "x".join(map(str, image.shape))
            raise errors.UserError(
                f"{name} is an array of {shape}, expected [height, width, "
                f"{self.channels}]: the other images are {self}. Give an image with "
                f"{self.channels} channels."
            )
        if image.dtype != self.dtype:
            raise errors.UserError(
                f"{name} is of {image.dtype}, the other images are {self}. Convert it "
                f"to {self.dtype}, with values of the same range."
            )


def check_channels(channels: Any) -> None:
    """Checks a number of channels.

    Raises:
        errors.UserError: It is not an integer from 1 to `MAX_CHANNELS`.
    """
    is_integer = isinstance(channels, int | np.integer) and not isinstance(
        channels, bool
    )
    if not is_integer or not 1 <= channels <= MAX_CHANNELS:
        raise errors.UserError(
            f"`channels={channels!r}` must be an integer from 1 to {MAX_CHANNELS}."
        )


RGB = ImageKind()


def describe(kind: ImageKind) -> list[str]:
    """Returns a line per channel with its statistics, if they were measured."""
    if not kind.mean:
        return []
    names = ["red", "green", "blue"] if kind.channels >= 3 else ["gray"]
    names += [f"channel {i + 1}" for i in range(len(names), kind.channels)]
    rows = zip(names, kind.mean, kind.deviation, kind.low, kind.high, strict=True)
    return [
        f"{name}: mean {mean:.5g}, deviation {deviation:.5g}, used range {low:g} to "
        f"{high:g}"
        for name, mean, deviation, low, high in rows
    ]
