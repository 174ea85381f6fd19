"""The dense CRF as a layer that learns (CRF-RNN)."""

import math
import numbers

import keras
from keras import initializers, layers, ops

from kerasseg import errors
from kerasseg.blocks import gaussians

_MOST_ITERATIONS = 100  # Each is a part of the graph.
_SMALLEST_DEVIATION = 0.1  # In float32, places among thousands must stay apart.


@keras.saving.register_keras_serializable("kerasseg")
class CrfRnn(layers.Layer):
    """Makes pixels that are near, and more so those of like colour, agree on a class.

    Mean-field updates of a dense CRF, one after the other, with gradients through all
    of them. In each, a pixel hears the mean chances of the pixels near it, and of
    those near and alike. Three matrices are learned, with the network whose logits
    come in: what a label takes from every label of either mean, and the compatibility
    of labels. The deviations are not learned.

    Args:
        iterations: Updates in training, 1 to 100; there are twice as many at test.
        gaussian_sxy: Reach of the means whatever the colours: standard deviation in
            pixels, at least 0.1.
        gaussian_compat: Weight of these means before training.
        bilateral_sxy: Reach of the means among like colours: standard deviation in
            pixels, at least 0.1.
        bilateral_srgb: Standard deviation of like colours in each of R, G and B,
            which go from 0 to 255; at least 0.1.
        bilateral_compat: Weight of these means before training.

    Raises:
        ValueError: A setting that does not fit.

    Source: https://arxiv.org/abs/1502.03240; settings and matrices are those of its
        released code, where the paper weighs each kernel by one number a label.
    """

    def __init__(
        self,
        iterations=5,
        *,
        gaussian_sxy=3.0,
        gaussian_compat=3.0,
        bilateral_sxy=160.0,
        bilateral_srgb=3.0,
        bilateral_compat=5.0,
        **options,
    ):
        super().__init__(autocast=False, **options)
        # XLA would have to know the number of the lattice's cells.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self._settings = {
            "iterations": iterations,
            "gaussian_sxy": gaussian_sxy,
            "gaussian_compat": gaussian_compat,
            "bilateral_sxy": bilateral_sxy,
            "bilateral_srgb": bilateral_srgb,
            "bilateral_compat": bilateral_compat,
        }
        _check(self._settings)

    def build(self, input_shape):
        """Makes the matrices: a row for each label heard, a column for each hearer."""
        num_classes = input_shape[1][-1]

        def matrix(name, gain):
            return self.add_weight(
                name=name,
                shape=(num_classes, num_classes),
                initializer=initializers.Identity(gain),
            )

        self.gaussian = matrix("gaussian", self._settings["gaussian_compat"])
        self.bilateral = matrix("bilateral", self._settings["bilateral_compat"])
        # What agrees costs less: Potts' model, but for a constant.
        self.compatibility = matrix("compatibility", -1.0)

    def call(self, inputs, training=None):
        """Takes `[image, logits]`; returns logits, in float32 whatever the policy.

        The image is RGB from 0 to 255, `[batch, height, width, 3]`, the logits are
        `[batch, height, width, num_classes]`.
        """
        image, logits = inputs
        settings = self._settings
        logits = ops.cast(logits, self.variable_dtype)
        lattice = gaussians.by_place_and_color(
            ops.cast(image, "float32"),
            settings["bilateral_sxy"],
            settings["bilateral_srgb"],
        )
        kernels = [
            (lambda x: gaussians.smooth(x, settings["gaussian_sxy"]), self.gaussian),
            (lattice.filter, self.bilateral),
        ]
        ones = ops.ones_like(logits[..., :1])
        means = [
            (kernel, 1.0 / kernel(ones), ops.matmul(matrix, self.compatibility))
            for kernel, matrix in kernels
        ]
        result = logits
        for _ in range(settings["iterations"] * (1 if training else 2)):
            chances = ops.exp(ops.log_softmax(result))  # Of one class too.
            result = logits - sum(
                ops.matmul(kernel(chances) * share, costs)
                for kernel, share, costs in means
            )
        return result

    def compute_output_spec(self, inputs, training=None):
        """Has the shape of the logits."""
        del training
        return keras.KerasTensor(inputs[1].shape, self.variable_dtype)

    def get_config(self):
        """Adds the settings."""
        return {**super().get_config(), **self._settings}


def _check(settings):
    iterations = settings["iterations"]
    whole = isinstance(iterations, numbers.Integral) and not isinstance(
        iterations, bool
    )
    if not whole or not 1 <= iterations <= _MOST_ITERATIONS:
        raise errors.UserError(
            f"A CRF of iterations={iterations!r} cannot be built: give a whole number "
            f"from 1 to {_MOST_ITERATIONS} (5 is usual)."
        )
    for name, value in settings.items():
        if name.endswith("compat") and not math.isfinite(value):
            raise errors.UserError(
                f"{name}={value} is no weight: give a finite number (3 or 5 is usual)."
            )
        if "_s" in name and not _SMALLEST_DEVIATION <= value < math.inf:
            raise errors.UserError(
                f"{name}={value} is no standard deviation that can be filtered by: "
                f"give a finite number of at least {_SMALLEST_DEVIATION}."
            )
