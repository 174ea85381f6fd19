"""CRF-RNN: a dense CRF as a layer with trainable parameters."""

import math
import numbers
from typing import Any

import keras
from keras import initializers, layers, ops

from kerasseg import errors
from kerasseg.blocks import gaussians

_MAX_ITERATIONS = 100  # Each adds nodes to the graph.
_MIN_DEVIATION = 0.1  # Below, float32 cannot hold coordinates in the thousands.


@keras.saving.register_keras_serializable("kerasseg")
class CrfRnn(layers.Layer):
    """Refines logits by mean-field inference in a dense CRF.

    Each iteration is a mean-field update: it filters the class probabilities with a
    spatial Gaussian kernel and with a bilateral kernel (position and color), and adds
    the weighted messages to the logits. Gradients flow through all iterations. Three
    matrices are trained together with the network that computes the logits: the class
    weights of either kernel, and the compatibility of the classes. The standard
    deviations are fixed.

    Args:
        iterations: Number of updates in training, 1 to 100; twice as many at inference.
        gaussian_sxy: Standard deviation of the spatial kernel in pixels, at least 0.1.
        gaussian_compat: Initial weight of the spatial kernel.
        bilateral_sxy: Standard deviation of the bilateral kernel in pixels, at least
            0.1.
        bilateral_srgb: Standard deviation of the bilateral kernel in each of R, G and
            B, whose range is 0 to 255; at least 0.1.
        bilateral_compat: Initial weight of the bilateral kernel.

    Raises:
        UserError: A setting out of range.

    Source: https://arxiv.org/abs/1502.03240. Settings and matrices are those of the
        released code; the paper has one weight per class and kernel.
    """

    def __init__(
        self,
        iterations: int = 5,
        *,
        gaussian_sxy: float = 3.0,
        gaussian_compat: float = 3.0,
        bilateral_sxy: float = 160.0,
        bilateral_srgb: float = 3.0,
        bilateral_compat: float = 5.0,
        **options,
    ):
        super().__init__(autocast=False, **options)
        # XLA needs a static number of lattice cells.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self._settings: dict[str, Any] = {
            "iterations": iterations,
            "gaussian_sxy": gaussian_sxy,
            "gaussian_compat": gaussian_compat,
            "bilateral_sxy": bilateral_sxy,
            "bilateral_srgb": bilateral_srgb,
            "bilateral_compat": bilateral_compat,
        }
        _check(self._settings)

    def build(self, input_shape):
        """Creates the matrices, `[num_classes (sender), num_classes (receiver)]`."""
        num_classes = input_shape[1][-1]

        def matrix(name: str, gain):
            return self.add_weight(
                name=name,
                shape=(num_classes, num_classes),
                initializer=initializers.Identity(gain),
            )

        self.gaussian = matrix("gaussian", self._settings["gaussian_compat"])
        self.bilateral = matrix("bilateral", self._settings["bilateral_compat"])
        # The Potts model, up to a constant.
        self.compatibility = matrix("compatibility", -1.0)

    def call(self, inputs, training: bool | None = None):
        """Refines logits, in float32 for any dtype policy.

        Args:
            inputs: `[image, logits]`: `[batch, height, width, 3]`, RGB, 0 to 255, and
                `[batch, height, width, num_classes]`.
            training: Whether to run the iterations of training.

        Returns:
            Logits `[batch, height, width, num_classes]`.
        """
        image, logits = inputs
        settings = self._settings
        logits = ops.cast(logits, self.variable_dtype)
        lattice = gaussians.bilateral_lattice(
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
            probabilities = ops.exp(ops.log_softmax(result))  # Also for one class.
            result = logits - sum(
                ops.matmul(kernel(probabilities) * scale, weights)
                for kernel, scale, weights in means
            )
        return result

    def compute_output_spec(self, inputs, training: bool | None = None):
        """Returns the spec of the logits, in float32."""
        del training
        return keras.KerasTensor(inputs[1].shape, self.variable_dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), **self._settings}


def _check(settings):
    iterations = settings["iterations"]
    is_integer = isinstance(iterations, numbers.Integral) and not isinstance(
        iterations, bool
    )
    if not is_integer or not 1 <= iterations <= _MAX_ITERATIONS:
        raise errors.UserError(
            f"`iterations={iterations!r}` of a CRF must be an integer from 1 to "
            f"{_MAX_ITERATIONS}; 5 is usual."
        )
    for name, value in settings.items():
        if name.endswith("compat") and not math.isfinite(value):
            raise errors.UserError(
                f"`{name}={value}` of a CRF must be a finite number; 3 or 5 is usual."
            )
        if "_s" in name and not _MIN_DEVIATION <= value < math.inf:
            raise errors.UserError(
                f"`{name}={value}` of a CRF is a standard deviation, so it must be "
                f"finite and at least {_MIN_DEVIATION}."
            )
