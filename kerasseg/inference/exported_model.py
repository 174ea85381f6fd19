"""A SavedModel of `kerasseg.export`, called like a Keras model."""

import os

import tensorflow as tf


class ExportedModel:
    """Calls a SavedModel like a Keras model.

    Args:
        path: Folder of one version.
        channels: Number of channels of its images.

    Attributes:
        channels: As given.
        detects_objects: Whether it detects objects, or else segments pixels.
    """

    def __init__(self, path: str | os.PathLike, channels: int = 3):
        # Keeps the variables alive, which the signatures do not.
        self._loaded = tf.saved_model.load(os.fspath(path))
        self.channels = channels
        self._tensor = self._loaded.signatures["tensor"]
        self.detects_objects = "boxes" in self._tensor.structured_outputs

    def __call__(self, images, training=False):  # noqa: ARG002 - as a Keras model.
        """Returns the logits, or the outputs of a network that detects objects."""
        outputs = self._tensor(image=images)
        if not self.detects_objects:
            return outputs["logits"]
        names = ("boxes", "scores", "classes", "valid")  # Others are not computed.
        found = {name: outputs[name] for name in names}
        return {**found, "masks": outputs["mask_probabilities"]}
