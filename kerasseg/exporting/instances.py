"""Export of a network that detects objects: checks, resizing and metadata."""

from collections.abc import Iterable

import keras

from kerasseg import errors, images
from kerasseg.exporting import formats
from kerasseg.exporting.options import DetectionOptions, TestTimeOptions
from kerasseg.inference import detector, segmenter


def check(
    model: keras.Model,
    names: Iterable[str],
    test_time_options: TestTimeOptions | None,
    detection: DetectionOptions | None,
) -> None:
    """Checks the arguments of an export by the kind of the network.

    Args:
        model: The trained model, of any kind.
        names: Names of formats.
        test_time_options: As in `writing.export_model`.
        detection: As in `writing.export_model`.

    Raises:
        errors.UserError: One of them does not apply to this kind.
    """
    if not segmenter.detects_objects(model):
        if detection is not None:
            raise errors.UserError(
                f"`detection_masks={detection.masks}` applies to networks that detect "
                f"objects, and {model.name} predicts the class of each pixel. Leave it "
                f"out."
            )
        return
    if test_time_options is not None and not test_time_options.is_default:
        raise errors.UserError(
            f"Scales, flip and CRF apply to networks that predict the class of each "
            f"pixel, and {model.name} detects objects. Leave them out."
        )
    known = formats.all_formats()
    others = [name for name in names if not known[name].detection_usage]
    if others:
        possible = [name for name, form in known.items() if form.detection_usage]
        raise errors.UserError(
            f"`format={','.join(others)}` cannot hold {model.name}, which detects "
            f"objects: rounded to fewer bits it chooses other boxes. Use one or more "
            f"of {', '.join(possible)}."
        )


class ResizingNetwork(keras.Model):
    """A network that detects objects, with the resizing of its images.

    Args:
        network: The Keras model.
        options: The sides.
    """

    def __init__(self, network: keras.Model, options: DetectionOptions):
        super().__init__(name=network.name)
        self.network = network
        self._detect = detector.with_resizing(
            lambda image: network(image, training=False),
            options.min_side,
            options.max_side,
        )
        self.built = True

    def call(self, image, training=False):
        """Returns the outputs of the network, with boxes in pixels of `image`."""
        del training
        return self._detect(image)


def describe(model: keras.Model, options: DetectionOptions) -> dict:
    """Returns the entries of metadata.json about a network that detects objects.

    Returns:
        "kind" and "detections": the number of detections of an image, the cells of the
        sides of a mask, the minimum score in PNG files, `detection_masks`, and the
        sides to which images are resized.
    """
    _, num_detections, cells, _ = model.output["masks"].shape
    return {
        "kind": "instance",
        "detections": {
            "num_detections": num_detections,
            "cells": cells,
            "min_score": images.MIN_SCORE,
            "detection_masks": options.masks,
            "min_side": options.min_side,
            "max_side": options.max_side,
        },
    }
