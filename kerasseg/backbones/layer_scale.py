"""The layer of ConvNeXt that Keras keeps to itself."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("kerasseg")
class LayerScale(layers.Layer):
    """Multiplies each channel by a number that is learned.

    That of keras.applications does not name its variable, so that Keras names it by a
    counter over the process, and weights would not carry over between models.

    Args:
        init_values: What the numbers are at the start.
        projection_dim: Number of channels.

    Source: https://arxiv.org/abs/2103.17239, section 2.1.
    """

    def __init__(self, init_values, projection_dim, **layer_options):
        super().__init__(**layer_options)
        self.init_values = init_values
        self.projection_dim = projection_dim

    def build(self, _):
        """Makes the numbers."""
        self.gamma = self.add_weight(
            name="gamma",
            shape=(self.projection_dim,),
            initializer=keras.initializers.Constant(self.init_values),
        )

    def call(self, x):
        """Takes any map of `projection_dim` channels."""
        return x * self.gamma

    def get_config(self):
        """Adds the arguments."""
        own = ("init_values", "projection_dim")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
