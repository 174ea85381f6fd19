"""Layer of ConvNeXt that is not public in Keras."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("kerasseg")
class LayerScale(layers.Layer):
    """Multiplies each channel by a trainable factor.

    The layer of keras.applications does not name its variable. Keras then names it by a
    counter of the process, and weights cannot be loaded into another model by name.

    Args:
        init_values: Initial value of the factors.
        projection_dim: Number of channels.

    Source: https://arxiv.org/abs/2103.17239, section 2.1.
    """

    def __init__(self, init_values: float, projection_dim: int, **layer_options):
        super().__init__(**layer_options)
        self.init_values = init_values
        self.projection_dim = projection_dim

    def build(self, _):
        """Creates the factors."""
        self.gamma = self.add_weight(
            name="gamma",
            shape=(self.projection_dim,),
            initializer=keras.initializers.Constant(self.init_values),
        )

    def call(self, x):
        """Scales a tensor of `projection_dim` channels."""
        return x * self.gamma

    def get_config(self):
        """Returns the arguments of the constructor."""
        keys = ("init_values", "projection_dim")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}
