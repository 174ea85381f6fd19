"""Bridging layers of DecoupledNet, and the probabilities of its passes.

[Hong15] is https://arxiv.org/abs/1506.04924; the released code is that of
HyeonwooNoh/DecoupledNet. A pass is one run of a network that segments the class, or the
classes, with which it is seeded.
"""

import keras
import numpy as np
from keras import layers, ops

_SMALLEST = 1e-7  # Added to probabilities before the logarithm.


@keras.saving.register_keras_serializable("kerasseg")
class TransposableConv2D(layers.Conv2D):
    """Convolution of stride 1 that can also be applied backward.

    The transposed call multiplies by the transpose of the same kernel, without bias. It
    maps the gradient of the output of this layer to the gradient of its input.
    """

    def build(self, shape):
        """Creates the kernel; the two directions accept other numbers of channels."""
        super().build(shape)
        self.input_spec = None

    def call(self, x, transposed: bool = False):
        """Convolves, or applies the transpose."""
        if not transposed:
            return super().call(x)
        return ops.conv_transpose(
            x, self.kernel, strides=1, padding=self.padding, data_format="channels_last"
        )

    def compute_output_spec(self, x, transposed: bool = False):
        """Returns the output spec."""
        if not transposed:
            shape = self.compute_output_shape(x.shape)
            return keras.KerasTensor(shape, self.compute_dtype)
        more = self.kernel_size[0] - 1 if self.padding == "valid" else 0
        sides = [side and side + more for side in x.shape[1:3]]
        shape = (x.shape[0], *sides, self.kernel.shape[2])
        return keras.KerasTensor(shape, self.compute_dtype)


@keras.saving.register_keras_serializable("kerasseg")
class GlobalMaxPoolWithPeaks(layers.Layer):
    """Global max pooling that also returns where the maximum of each channel is."""

    def call(self, x):
        """Pools `[batch, height, width, channels]`.

        Returns:
            `(maxima, peaks)`: maxima are `[batch, channels]`. Peaks have the shape of
            `x` and a sum of 1 in each channel: 1 at the maximum, and 0 elsewhere. Equal
            maxima share the 1, as in the gradient of the maximum.
        """
        maxima = ops.max(x, axis=(1, 2), keepdims=True)
        peaks = ops.cast(ops.equal(x, maxima), x.dtype)
        peaks = peaks / ops.sum(peaks, axis=(1, 2), keepdims=True)
        return maxima[:, 0, 0], peaks

    def compute_output_spec(self, x):
        """Returns the output spec."""
        maxima = keras.KerasTensor((x.shape[0], x.shape[3]), x.dtype)
        return maxima, keras.KerasTensor(x.shape, x.dtype)


@keras.saving.register_keras_serializable("kerasseg")
class ReluGate(layers.Layer):
    """Backward pass of a ReLU: keeps values where the ReLU was active."""

    def call(self, inputs):
        """Gates the first of `[x, activation]`; both have the same shape."""
        x, activation = inputs
        return x * ops.cast(activation > 0, x.dtype)

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)


@keras.saving.register_keras_serializable("kerasseg")
class ClassPasses(layers.Layer):
    """Repeats a batch for the passes of all classes.

    Pass 0 segments the background. It is seeded with the scores of all active classes,
    which are those with a probability above 0.5. Pass k, from 1 to the number of
    classes, is seeded with the score of class k, active or not: with a fixed number of
    passes a batch has a static shape. All passes of an image take as long as one pass
    of `num_classes + 1` images.

    The image `i` of pass `k` has the number `k * batch + i` in the repeated batch.
    """

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Repeats a batch.

        Args:
            inputs: `[scores, peaks, *shared]`: logits of the classes, `[batch,
                num_classes]`; peaks of `GlobalMaxPoolWithPeaks`; and tensors that are
                the same in all passes.

        Returns:
            `[seeds, *shared]`, with `num_classes + 1` passes. Seeds are the
            probabilities of the classes of each pass, at the peaks.
        """
        scores, peaks, *shared = inputs
        seeds = seed(scores, peaks)
        active = ops.cast(scores > 0, seeds.dtype)[:, None, None, :]
        rows = np.eye(scores.shape[-1], dtype="float32")
        passes = [seeds * active, *(seeds * row for row in rows)]
        repeated = [ops.concatenate([x] * len(passes), axis=0) for x in shared]
        return [ops.concatenate(passes, axis=0), *repeated]

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        scores, *others = inputs
        count = scores.shape[-1] + 1
        return [
            keras.KerasTensor(
                (x.shape[0] and count * x.shape[0], *x.shape[1:]), x.dtype
            )
            for x in others
        ]

    def get_config(self):
        """Returns the arguments of the constructor.

        Without this method Keras saves a layer with `**options` under another name.
        """
        return super().get_config()


def seed(scores, peaks):
    """Returns the probability of each class at its peak.

    It is the gradient of the sum of the maxima of `GlobalMaxPoolWithPeaks`, times the
    sigmoid of each maximum.

    Args:
        scores: Logits of the classes, `[batch, num_classes]`.
        peaks: `[batch, height, width, num_classes]`.
    """
    return peaks * ops.sigmoid(scores)[:, None, None, :]


@keras.saving.register_keras_serializable("kerasseg")
class ClassProbabilities(layers.Layer):
    """Merges the passes of `ClassPasses` into the probabilities of all classes.

    Background is the background probability of pass 0, class k the foreground
    probability of pass k. At inference, as released, the probability of classes that
    are not active is 0; a pixel whose sum is 0 gets 1 for the background and all active
    classes; and probabilities are divided by their sum.

    In training no class is left out, because its score would have no gradient. The
    probability of a class is then the product of the one that it occurs in the image,
    from its score, and its share of the sum of all passes at the pixel. The background
    has the rest. The largest probability of a class is that of its score, so that the
    score of a class with pixels increases until the class is active.
    """

    def call(self, inputs, training: bool | None = None):
        """Merges the passes.

        Args:
            inputs: `[scores, binary]`: logits of the classes, `[batch, num_classes]`;
                logits of background and foreground, `[(num_classes + 1) * batch,
                height, width, 2]`.
            training: Whether all classes are kept.

        Returns:
            Probabilities `[batch, height, width, num_classes + 1]`, background first.
        """
        scores, binary = inputs
        logs = ops.log_softmax(binary, axis=-1)
        background, *others = ops.split(logs, scores.shape[-1] + 1, axis=0)
        foreground = [x[..., 1:] for x in others]
        logs = ops.concatenate([background[..., :1], *foreground], axis=-1)
        if training:
            present = ops.sigmoid(scores)[:, None, None, :]
            x = present * ops.softmax(logs, axis=-1)[..., 1:]
            rest = 1.0 - ops.sum(x, axis=-1, keepdims=True)
            return ops.concatenate([rest, x], axis=-1)
        first = ops.ones_like(scores[:, :1])
        active = ops.concatenate([first, ops.cast(scores > 0, first.dtype)], axis=-1)
        active = active[:, None, None, :]
        x = ops.exp(logs) * active
        empty = ops.cast(ops.sum(x, axis=-1, keepdims=True) <= 0, x.dtype)
        x = x + empty * active
        return x / ops.sum(x, axis=-1, keepdims=True)

    def compute_output_spec(self, inputs, training: bool | None = None):
        """Returns the output spec."""
        del training
        scores, binary = inputs
        shape = (scores.shape[0], *binary.shape[1:3], scores.shape[-1] + 1)
        return keras.KerasTensor(shape, self.compute_dtype)


@keras.saving.register_keras_serializable("kerasseg")
class LogProbabilities(layers.Layer):
    """Logarithm of probabilities: logits whose softmax are the probabilities.

    A probability of 0 becomes -16.1, the logarithm of 1e-7.
    """

    def call(self, x):
        """Returns the logarithm."""
        return ops.log(x + _SMALLEST)

    def compute_output_shape(self, shape):
        """Returns the shape of the input."""
        return shape
