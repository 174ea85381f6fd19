"""Multiply-adds, worked by hand."""

import keras
import pytest
from keras import layers

from kerasseg import blocks
from kerasseg.models import complexity


def network(size=(8, 6)):
    image = keras.Input((*size, 3))
    shared = layers.Conv2D(3, 3, padding="same")
    x = shared(shared(image))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.SeparableConv2D(2, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2DTranspose(5, 2, strides=2)(x)
    return keras.Model(image, layers.Dense(2)(x))


def test_every_type_of_layer_is_counted_for_each_call():
    # Twice 8*6 cells of 3*3*3*3; then 4*3 cells of 3*3*3*4, 3*3*4 and 3*3*4 + 4*2; in
    # the transposed convolution 4*3 input cells of 2*2*5*2; 8*6 cells of 5*2.
    expected = 2 * 48 * 81 + 12 * (108 + 36 + 36 + 8) + 12 * 40 + 48 * 10
    assert complexity.count_multiply_adds(network()) == expected


def test_a_nested_model_is_counted():
    image = keras.Input((8, 6, 3))
    whole = keras.Model(image, network()(image))
    expected = complexity.count_multiply_adds(network())
    assert complexity.count_multiply_adds(whole) == expected


def test_what_follows_the_passes_of_classes_is_counted_for_each_pass():
    image = keras.Input((8, 6, 3))
    convolve = blocks.TransposableConv2D(2, 3)  # Its output has 6x4 cells.
    scores, peaks = blocks.GlobalMaxPoolWithPeaks()(convolve(image))
    seeds, x = blocks.ClassPasses()([scores, peaks, image])
    x = layers.Concatenate()([convolve(seeds, transposed=True), x])
    model = keras.Model(image, layers.Conv2D(5, 1)(x))
    # 6*4 cells of 3*3*3*2 forward. In 3 passes the same backward, and 8*6 cells of 6*5.
    expected = 24 * 54 + 3 * (24 * 54 + 48 * 30)
    assert complexity.count_multiply_adds(model) == expected


def test_an_unknown_image_size_is_an_error():
    with pytest.raises(ValueError, match="Build the model with image_size"):
        complexity.count_multiply_adds(network((None, 6)))
