"""Augmented crops of a training split, read by their position in the stream."""

import functools
import typing
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from kerasseg import errors
from kerasseg.pipeline import augment, augmentations, class_statistics, transforms
from kerasseg.pipeline.reading import ImageReader

GROUP_SIZE = augmentations.MAX_PARTNERS + 1


class Crop(typing.NamedTuple):
    """An augmented crop.

    Attributes:
        image: RGB, uint8 `[height, width, 3]`; or the channels and the type of the
            records.
        label: Class indices and 255, uint8 `[height, width]`.
        name: Name of the image; that of the crop itself if others were mixed in.
        instances: Instance ids `[height, width]`, or None if they are not read: uint16,
            or int32 if crops are mixed, in which instances of different crops have
            different ids.
    """

    image: np.ndarray
    label: np.ndarray
    name: str
    instances: np.ndarray | None = None


class CropReader:
    """Reads crops: warped once, with changed colors, and mixed.

    Positions 0 to `GROUP_SIZE` - 1 are a group, and so on. A mix takes its partners
    from the group of a crop, as they are before they are mixed themselves. So a crop
    depends on its seed and position only, not on the batch that it is in; and in a
    batch whose size is a multiple of `GROUP_SIZE`, partners cost no reading.

    Args:
        reader: Reader of the split.
        augmentation: Ranges of the augmentation.
        seed: Seed of the augmentation.
        instances: Whether to read the instance ids.

    Raises:
        errors.UserError: Instance ids are to be read, which `augmentation.transform`
            does not augment; colors are changed that the images do not have; or a mix
            does not apply to multi-label records.

    Attributes:
        group_size: `GROUP_SIZE`, or 1 if crops are not mixed: `read` needs the record
            indices of whole groups of this size.
    """

    def __init__(
        self,
        reader: ImageReader,
        augmentation: augment.Augmentation,
        seed: int,
        *,
        instances: bool = False,
    ):
        self._reader, self._augmentation, self._seed = reader, augmentation, seed
        augment.check_kind(augmentation, reader.kind)
        self._instances = instances
        self._chosen = augmentation.augmentations
        mixes = augmentations.mixes(self._chosen)
        _check_mixes(mixes, reader)
        self.group_size = GROUP_SIZE if mixes else 1
        self._frequencies = None
        if any(augmentations.AUGMENTATIONS[name].needs_frequencies for name in mixes):
            pixels = class_statistics.count_split(reader).pixels
            self._frequencies = pixels / max(pixels.sum(), 1)
        self._transform = None
        if augmentation.transform is not None:
            self._transform = transforms.Transform(augmentation.transform)
            if instances:
                raise errors.UserError(
                    "`transform` augments image and mask, but not the instances that "
                    "`border_weights` needs. Give one of the two."
                )

    def read(
        self, positions: Sequence[int], indices: Sequence[int], count: int
    ) -> Iterator[Crop]:
        """Yields the crops of a batch.

        Args:
            positions: Positions of the crops, and then the other positions of their
                groups.
            indices: Record indices of the positions.
            count: Number of crops.

        Raises:
            records.RecordError: A record is damaged.
        """
        places = {int(p): int(i) for p, i in zip(positions, indices, strict=True)}
        unmixed: Callable[[int], Crop] = functools.partial(self._unmixed, places)
        if self.group_size > 1:
            unmixed = functools.cache(unmixed)
        for position in list(places)[:count]:
            yield self._transformed(self._mixed(position, unmixed), position)

    def _transformed(self, crop, position):
        if self._transform is None:
            return crop
        spec = self._reader.split.spec
        image, label = crop.image.copy(), crop.label.copy()  # Other crops share them.
        key = self._seed, position
        with self._reader.noted_errors():
            image, label = self._transform(
                image,
                label,
                key,
                spec.num_classes,
                crop.name,
                multi_label=spec.multi_label,
            )
        return crop._replace(image=image, label=label)

    def _unmixed(self, places, position):
        key, index = (self._seed, position), places[position]
        image, label, name, *ids = self._reader.read(index, instances=self._instances)
        image, label, *ids = augment.augment(
            image,
            label,
            self._augmentation,
            np.random.default_rng(key),
            *ids,
            padding=self._reader.kind.padding,
        )
        image = augmentations.change_colors(image, self._chosen, key)
        if ids and self.group_size > 1:
            offset = position % self.group_size << 16
            ids = [np.where(ids[0] > 0, ids[0] + np.int32(offset), 0)]
        return Crop(image, label, name, *ids)

    def _mixed(self, position, unmixed):
        crops, choice = [unmixed(position)], None
        key = self._seed, position
        for mix, rng in augmentations.drawn(self._chosen, key, mix=True):
            first = position - position % self.group_size
            group = range(first, first + self.group_size)
            others = rng.permutation([other for other in group if other != position])
            partners = [unmixed(int(other)) for other in others[: mix.partners]]
            labels = [crop.label for crop in (crops[0], *partners)]
            more = [self._frequencies] if mix.needs_frequencies else []
            choice = _paste_choice(choice, mix.function(labels, rng, *more), len(crops))
            crops += partners
        return crops[0] if choice is None else paste_crops(crops, choice)


def _check_mixes(mixes, reader):
    """Refuses mixes that choose pixels by their only class."""
    wrong = [name for name in mixes if name in ("classmix", "copy_paste")]
    if wrong and reader.split.spec.multi_label:
        raise errors.UserError(
            f"`augmentations` has {', '.join(wrong)}, which paste pixels of a class, "
            "and the pixels of multi-label records have several. Choose cutmix or "
            "mosaic."
        )


def _paste_choice(choice, new, first):
    """Adds the choice of a mix, whose partners get the indices from `first` on."""
    if choice is None:
        return new
    pasted = (new > 0).view(np.uint8)
    return cv2.copyTo(new + np.uint8(first - 1), pasted, choice)


def paste_crops(crops: Sequence[Crop], choice) -> Crop:
    """Takes each pixel from the crop that is chosen.

    Args:
        crops: The crop, and its partners, of equal size.
        choice: Index of the crop of each pixel, uint8 `[height, width]`.

    Returns:
        The mixed crop, with the name of the first.
    """
    image, label = (
        augmentations.paste([getattr(crop, name) for crop in crops], choice)
        for name in ("image", "label")
    )
    ids = [crop.instances for crop in crops if crop.instances is not None]
    instances = augmentations.paste(ids, choice) if ids else None
    return crops[0]._replace(image=image, label=label, instances=instances)
