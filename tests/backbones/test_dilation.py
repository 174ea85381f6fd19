"""Replaced layers: the positions of their windows, worked by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import blocks
from kerasseg.backbones import rewrite

ROW = np.arange(1.0, 6.0, dtype="float32").reshape(1, 1, 5, 1)


def chain(*parts):
    """Builds a sequential model whose weights are all ones."""
    x = image = keras.Input((None, None, 1))
    for layer in parts:
        x = layer(x)
    model = keras.Model(image, x)
    model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    return model


def rewritten(model, output_stride=32):
    image = keras.Input((None, None, 1))
    ends = rewrite.encoder(model, image, output_stride=output_stride)
    return keras.Model(image, ends["c5"])


def cells(model, x=ROW):
    return np.array(model(x)).ravel().tolist()


def summing(size, *, stride=2, padding="same"):
    return layers.Conv2D(1, (1, size), stride, padding, use_bias=False)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_first_window_is_that_of_even_sizes_at_every_size(padding):
    # Even size: 1 + 2 + 3, 3 + 4. At an odd size TensorFlow starts one cell earlier.
    model = rewritten(chain(summing(3, padding=padding)))
    assert cells(model, ROW[:, :, :4]) == [6, 7]
    assert cells(model) == [6, 12, 5]


def test_the_first_window_of_size_5_starts_one_cell_before_the_map():
    # 0 + 1 + 2 + 3 + 4, 2 + 3 + 4 + 5, 4 + 5.
    assert cells(rewritten(chain(summing(5)))) == [10, 14, 9]


def test_explicit_padding_is_kept_and_every_window_fits():
    # 0 + 1 + 2, 2 + 3 + 4, 4 + 5.
    pad = layers.ZeroPadding2D(((0, 0), (1, 0)))
    assert cells(rewritten(chain(pad, summing(3, padding="valid")))) == [3, 9, 9]


def test_cropping_shifts_the_windows():
    # The cells 2, 4 and one after the map.
    shift = layers.ZeroPadding2D(((0, 0), (0, 1))), layers.Cropping2D(((0, 0), (1, 0)))
    model = chain(*shift, summing(1, padding="valid"))
    assert cells(rewritten(model)) == [2, 4, 0]


@pytest.mark.parametrize("pool", [layers.MaxPooling2D, layers.AveragePooling2D])
def test_a_pool_drops_no_cell(pool):
    # (1, 2), (3, 4) and (5).
    expected = {"MaxPooling2D": [2, 4, 5], "AveragePooling2D": [1.5, 3.5, 5]}
    assert cells(rewritten(chain(pool((1, 2), 2)))) == expected[pool.__name__]


def test_windows_after_a_removed_stride_are_dilated():
    # Cells 1, 3, 5, then sums of two neighbors: 1 + 3, 5 + 0. Dense: 1 + 3, 2 + 4,
    # 3 + 5, 4, 5, of which every fourth is 4, 5.
    model = chain(summing(1), summing(2))
    assert cells(rewritten(model)) == [4, 5]
    assert cells(rewritten(model, output_stride=1)) == [4, 6, 8, 4, 5]


def test_a_mean_over_the_image_is_that_of_the_original_cells():
    # For 1 to 4 it is the mean of 1 and 3.
    model = chain(summing(1), layers.GlobalAveragePooling2D(keepdims=True))
    assert cells(rewritten(model, output_stride=1), ROW[:, :, :4]) == [2]


def test_a_grouped_convolution_becomes_a_depthwise_one():
    image = keras.Input((None, None, 4))
    grouped = layers.Conv2D(4, 3, padding="same", groups=4)
    model = keras.Model(image, layers.Conv2D(2, 1)(grouped(image)))
    x = np.random.default_rng(0).normal(size=(1, 6, 7, 4)).astype("float32")
    fast = keras.Model(image, rewrite.encoder(model, image)["c5"])
    kinds = {type(layer) for layer in fast.layers}
    assert kinds == {layers.InputLayer, layers.DepthwiseConv2D, blocks.Conv2D}
    np.testing.assert_allclose(fast(x), model(x), atol=1e-5)


def test_layers_of_a_nested_model_keep_their_names_and_weights():
    inner = keras.Sequential([summing(3), layers.ReLU(name="inner_relu")])
    model = rewritten(chain(inner))
    assert model.layers[-1].name == "inner_relu"
    assert cells(model) == [6, 12, 5]


def test_automatic_names_of_keras_get_stable_numbers():
    names = []
    for _ in range(2):
        source = chain(layers.ReLU(), layers.ReLU(), layers.ReLU(name="mine"))
        source.name = "source"
        names.append([layer.name for layer in rewritten(source).layers[1:]])
    assert names == [["source_re_lu_1", "source_re_lu_2", "mine"]] * 2


def test_a_layer_that_cannot_be_dilated_is_an_error():
    up = layers.UpSampling2D(2, name="grow")
    with pytest.raises(ValueError, match=r"'grow' \(UpSampling2D\) cannot be dilated"):
        rewritten(chain(up))
    pad = layers.ZeroPadding2D(1), layers.ReLU(name="between")
    with pytest.raises(ValueError, match=r"'between'.* is between padding and"):
        rewritten(chain(*pad))


def test_an_output_stride_that_a_layer_skips_is_an_error():
    model = chain(layers.Conv2D(1, 4, 4, name="stem"))
    with pytest.raises(
        ValueError, match=r"stride 2 is not possible.* 'stem' goes from 1 to 4"
    ):
        rewritten(model, output_stride=2)
