"""Scales, the mirror and the dense CRF as parts of an exported graph."""

import dataclasses

import numpy as np
import tensorflow as tf

from kerasseg import crf, inference
from kerasseg.crf import keras_engine

SETTINGS = (  # Of `crf.dense_crf`, that the graph holds.
    *("iterations", "gaussian_sxy", "gaussian_compat"),
    *("bilateral_sxy", "bilateral_srgb", "bilateral_compat"),
)
_SMALLEST = 1e-5  # Chance that a smaller one is taken for, as `crf.dense_crf` does.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """How an exported network looks at a picture.

    Attributes:
        scales: See `inference.Predictor`.
        flip: Likewise.
        fusion: Likewise.
        crf: `SETTINGS` of `crf.dense_crf`; None for no CRF.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fusion: str = "mean"
    crf: dict | None = None

    def __post_init__(self):
        self.predictor(lambda x: x)  # Refuses what is out of range.
        if self.crf is not None:
            one = np.zeros((1, 1, 3), np.uint8), np.ones((1, 1, 1))
            crf.dense_crf(*one, engine="keras", **self.crf)

    @property
    def plain(self) -> bool:
        """Whether the network sees the picture once, as it is, and speaks last."""
        return self == Views()

    def predictor(self, model) -> inference.Predictor:
        """Returns what `kerasseg.evaluate` looks through."""
        return inference.Predictor(
            model, scales=self.scales, flip=self.flip, fusion=self.fusion
        )

    def predict(self, predictor, image) -> np.ndarray:
        """Computes probabilities as `kerasseg.evaluate` does, not in a graph.

        Args:
            predictor: `inference.Predictor` of these views.
            image: RGB, uint8 `[height, width, 3]`.

        Returns:
            float32 `[height, width, num_classes]`.
        """
        found = predictor.probabilities(image[np.newaxis])[0]
        if self.crf is None:
            return found
        return crf.dense_crf(image, found, engine="keras", **self.crf)

    def in_graph(self, logits):
        """Returns a function of pictures to logits, made of TensorFlow's operations.

        Args:
            logits: Function of float32 `[batch, height, width, 3]` to logits.

        Returns:
            Such a function, whose logits are the logarithms of probabilities.
        """

        def seen(image):
            probabilities = self._fused(logits, image)
            if self.crf is not None:
                chances = tf.maximum(probabilities, _SMALLEST)
                probabilities = keras_engine.refine(image, chances, **self._refining())
            return tf.math.log(tf.maximum(probabilities, np.finfo(np.float32).tiny))

        return seen

    def _fused(self, logits, image):
        size = tf.shape(image)[1:3]
        merge = tf.add if self.fusion == "mean" else tf.maximum
        total = None
        for scale in self.scales:
            scaled = tf.round(tf.cast(size, tf.float64) * scale)
            scaled = tf.maximum(1, tf.cast(scaled, tf.int32))
            for step in (1, -1)[: 1 + self.flip]:
                # One after the other: side by side they would need more memory.
                with tf.control_dependencies([] if total is None else [total]):
                    view = tf.image.resize(image, scaled)[:, :, ::step]
                found = tf.image.resize(logits(view)[:, :, ::step], size)
                found = tf.nn.softmax(found)
                total = found if total is None else merge(total, found)
        return total / tf.reduce_sum(total, -1, keepdims=True)

    def _refining(self):
        """Returns the settings of `keras_engine.refine`: a weight of 0 leaves out."""
        weights = ("gaussian_compat", "bilateral_compat")
        return {
            k: None if k in weights and not v else v
            for k, v in (self.crf or {}).items()
        }
