"""The convolution layer of all architectures."""

import importlib
import os
from typing import Any

import keras
from keras import layers

from kerasseg.system import runtime

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


def _has_native_dilation(dtype) -> bool:
    """Returns whether TensorFlow has a gradient of dilated convolutions here."""
    if tf is None:
        return False
    if runtime.has_gpu():
        return True
    return dtype == "float32" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"


@keras.saving.register_keras_serializable("kerasseg")
class Conv2D(layers.Conv2D):
    """Convolution layer with faster dilated convolutions on TensorFlow.

    `keras.layers.Conv2D` runs SpaceToBatch, Conv2D and BatchToSpace for a dilated
    convolution. This layer calls the native kernel, which computes the same values in
    about half the time, wherever that kernel has a gradient.
    """

    def convolution_op(self, inputs, kernel):
        """Calls the native kernel if it can be trained, else the one of Keras."""
        native = (
            max(self.dilation_rate) > 1
            and self.groups == 1
            and self.data_format == "channels_last"
            and _has_native_dilation(self.compute_dtype)
        )
        if not native:
            return super().convolution_op(inputs, kernel)
        return tf.nn.conv2d(
            inputs, kernel, 1, self.padding.upper(), dilations=self.dilation_rate
        )
