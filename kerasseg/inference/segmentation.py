"""The prediction of one image, as `predict` returns it."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasseg import errors, images
from kerasseg.images import instance_drawing, visualization
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.system import files

_MAX_WIDTH = 1000  # Pixels of the image that a notebook shows.
_MAX_LISTED = 4  # Classes that `repr` lists.


class Segmentation(np.ndarray):
    """The predicted class of each pixel of one image, and what follows from it.

    It is the mask itself: an array of class numbers, uint8 `[height, width]`, for every
    function that takes one. What NumPy computes from it, or a part of it, is a plain
    array. `np.asarray(segmentation)` is the mask alone, without the image and the
    network, which a segmentation keeps; a copy or a pickled one has only the mask, too.

    Args:
        mask: Class numbers, uint8 `[height, width]`; it is not copied. Of a multi-label
            network the bits of the classes, uint16, see `images.bit_masks`.
        image: The image, RGB, uint8 `[height, width, 3]`.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        source: Path or name of the image; "" if it has none.
        predict_probabilities: Function of the image to `probabilities`, or None.
        detections: The objects that the mask was made of, for a network that detects
            objects; None for others.
        rule: How the mask was made.

    Attributes:
        image: As given, like `class_names`, `palette`, `source`, `detections` and
            `rule`. All are None in a copy.
    """

    def __new__(
        cls,
        mask: np.ndarray,
        image: np.ndarray,
        class_names: Sequence[str],
        palette: np.ndarray,
        *,
        source: str = "",
        predict_probabilities: Callable | None = None,
        detections: images.Detections | None = None,
        rule: ClassRule = DEFAULT_RULE,
    ):
        """Views the mask as a segmentation."""
        self = np.asarray(mask).view(cls)
        self.image, self.source = image, source
        self.class_names, self.palette = tuple(class_names), palette
        self.detections, self.rule = detections, rule
        self._predict_probabilities = predict_probabilities
        return self

    def __array_finalize__(self, base):
        """Makes copies and parts, which have another or no image."""
        self.image: Any = None
        self.source: Any = None
        self.class_names: Any = None
        self.palette: Any = None
        self.detections: Any = None
        self.rule: Any = None
        self._predict_probabilities: Any = None
        self._probabilities: Any = None

    def __array_wrap__(self, array, context=None, return_scalar=False):
        """Returns the result of a computation as a plain array or a scalar."""
        if array is self:  # In place.
            return array
        plain = np.asarray(array)
        return plain[()] if return_scalar or not plain.ndim else plain

    def __getitem__(self, index):
        """Returns a part as a plain array, which shares its memory."""
        return self.mask[index]

    @property
    def mask(self) -> np.ndarray:
        """The mask as a plain array, see the class, sharing memory."""
        return self.view(np.ndarray)

    @property
    def masks(self) -> np.ndarray:
        """Whether each pixel has each class, bool `[height, width, num_classes]`.

        Raises:
            errors.UserError: This is a copy.
        """
        self._check_image("masks")
        return self.rule.masks(self.mask, len(self.class_names))

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each class, float32 `[height, width, num_classes]`.

        They are predicted on first access and kept; `del segmentation.probabilities`
        frees them. An image of 12 million pixels and 21 classes needs 1 GB; see
        `Predictor.probabilities` for large ones.

        Raises:
            errors.UserError: The network detects objects, which have scores instead;
                or this is a copy.
        """
        self._check_image("probabilities")
        if self._predict_probabilities is None:
            raise errors.UserError(
                "A network that detects objects has no probabilities of pixels. Read "
                "segmentation.detections.scores."
            )
        if self._probabilities is None:
            self._probabilities = self._predict_probabilities(self.image)
        return self._probabilities

    @probabilities.deleter
    def probabilities(self) -> None:
        """Frees the probabilities."""
        self._probabilities = None

    @property
    def classes(self) -> dict[str, float]:
        """Share of the pixels, from 0 to 1, of each class that occurs, by its name.

        The largest is the first, and of equal ones that with the lower number. Those of
        a multi-label network may overlap.
        """
        self._check_image("classes")
        counts = self._counts()
        order = np.argsort(-counts, kind="stable")
        return {
            self.class_names[i]: float(counts[i] / self.size)
            for i in order.tolist()
            if counts[i]
        }

    def overlay(self, alpha: float = 0.5) -> np.ndarray:
        """Blends the image with the colors of its classes, outlined in white.

        Detected objects are drawn with their boxes, names and scores.

        Args:
            alpha: Weight of the colors, from 0 to 1; not for detected objects.

        Returns:
            RGB, uint8 `[height, width, 3]`.

        Raises:
            errors.UserError: `alpha` is out of range, or this is a copy.
        """
        self._check_image("overlay")
        if self.detections is not None:
            return instance_drawing.overlay_detections(
                self.image,
                self.detections,
                self.class_names,
                self.palette,
                min_score=-np.inf,
            )
        multi = {"multi_label": self.rule.multi_label}
        return visualization.overlay(
            self.image, self.mask, self.palette, alpha, **multi
        )

    def polygons(self, tolerance: float = 1.0) -> dict[str, list[list[np.ndarray]]]:
        """Returns the outlines of the connected regions of each class.

        Args:
            tolerance: Maximum distance in pixels between a polygon and the border of
                the region; 0 follows the edges of the pixels exactly.

        Returns:
            The polygons of each class that occurs, by its name and in the order of the
            class numbers. A polygon is a list of rings, as in GeoJSON: the outline, and
            one ring for each hole. A ring is int64 `[points, 2]`: x and y of the
            corners in pixels of the image, where pixel 0 extends from 0 to 1, without
            the first one at the end.

        Raises:
            errors.UserError: `tolerance` is negative, or this is a copy.
        """
        from kerasseg.inference import contours

        self._check_image("polygons")
        if not tolerance >= 0:
            raise errors.UserError(
                f"`tolerance={tolerance}` is a distance in pixels, expected 0 or more."
            )
        return {
            self.class_names[i]: contours.polygons(
                self._mask_of(i), tolerance=tolerance
            )
            for i in self._present()
        }

    def save(self, path: str | os.PathLike) -> None:
        """Writes the mask as a palette PNG: it shows colors and holds class numbers.

        That of a multi-label network is a gray PNG of the bits of the classes.

        Args:
            path: A file ending in ".png", which is replaced, in an existing folder.

        Raises:
            errors.UserError: `path` has another ending, or this is a copy.
            errors.MissingFileError: Its folder does not exist.
        """
        self._check_image("save")
        folder, name = os.path.split(os.fspath(path))
        if os.path.splitext(name)[1].lower() != ".png":
            raise errors.UserError(
                f"`path={path}`: expected a name that ends in .png, since JPEG changes "
                f"class numbers. Write other formats from the array, np.asarray("
                f"segmentation), or from segmentation.overlay()."
            )
        if folder and not os.path.isdir(folder):
            raise errors.MissingFileError(
                f"`path={path}`: there is no folder {folder}. Create it first."
            )
        files.write_bytes(path, images.encode_mask(self.mask, self.palette, self.rule))

    def plot(self, axes=None, alpha: float = 0.5):
        """Draws the overlay and a legend of its classes with matplotlib.

        Args:
            axes: Axes of matplotlib to draw on; None: those of a new figure of
                `matplotlib.pyplot`.
            alpha: As for `overlay`.

        Returns:
            The axes.

        Raises:
            errors.UserError: `alpha` is out of range, or this is a copy.
        """
        from matplotlib import patches, pyplot

        image = self.overlay(alpha)
        if axes is None:
            axes = pyplot.figure(layout="constrained").add_subplot()
        axes.imshow(image)
        axes.set_axis_off()
        axes.set_title(self.source, fontsize="medium")
        names, palette = self._legend()
        handles = [
            patches.Patch(color=color / 255, label=name)
            for name, color in zip(names, palette, strict=True)
        ]
        if handles:
            axes.legend(
                handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False
            )
        return axes

    def _present(self):
        """Returns the numbers of the classes that occur, in order."""
        return np.flatnonzero(self._counts()).tolist()

    def _counts(self):
        """Returns the number of pixels of each class."""
        if self.rule.multi_label:
            return self.masks.sum((0, 1))
        count = len(self.class_names)
        return np.bincount(self.mask.ravel(), minlength=count)[:count]

    def _mask_of(self, i):
        if self.rule.multi_label:
            return self.masks[..., i]
        return self.mask == i

    def _legend(self):
        """Returns names and colors of the classes that occur, by number."""
        present = self._present()
        return [self.class_names[i] for i in present], self.palette[present]

    def _check_image(self, what):
        if self.class_names is None:
            raise errors.UserError(
                f"`{what}` needs the image and the class names, and this is a copy of "
                f"a segmentation, or computed from one. Use what predict returned."
            )

    def _repr_png_(self):
        """Shows the overlay and its legend in a notebook."""
        if self.class_names is None:
            return None
        names, palette = self._legend()
        legend = (names, palette) if names else None
        sheet = visualization.contact_sheet(
            [[self.overlay()]], legend=legend, max_width=_MAX_WIDTH
        )
        return images.encode_image(sheet)

    def __repr__(self):
        if self.class_names is None:
            return repr(self.mask)
        height, width = self.shape
        source = f" of {self.source}" if self.source else ""
        shares = [f"{name} {share:.1%}" for name, share in self.classes.items()]
        listed = ", ".join(shares[:_MAX_LISTED])
        more = f" and {len(shares) - _MAX_LISTED} more" * (len(shares) > _MAX_LISTED)
        return f"<Segmentation{source}, {height} x {width} pixels: {listed}{more}>"

    def __str__(self):
        return str(self.mask) if self.class_names is None else repr(self)


class FailedImage:
    """An image of several that could not be read.

    Using it as a `Segmentation` raises the error, so that no failure goes unnoticed.

    Args:
        source: Path or name of the image.
        error: Why it could not be read.
    """

    def __init__(self, source: str, error: Exception):
        self.source, self.error = source, error

    def __getattr__(self, name):
        if not name.startswith("_") and hasattr(Segmentation, name):
            raise self.error
        raise AttributeError(f"a FailedImage has no attribute {name!r}")

    def __array__(self, dtype=None, copy=None):
        raise self.error

    def __repr__(self):
        return f"<FailedImage {self.source}: {self.error}>"
