"""Swin Transformers: windows, their shift, and maps of any size."""

import keras
import numpy as np
import pytest

from kerasseg import backbones, errors, models
from kerasseg.backbones import swin

RNG = np.random.default_rng(0)
SMALL = {"width": 32, "depths": (2, 2, 1, 1), "window": 4}


def encoder(size=(None, None), **options):
    image = keras.Input((*size, 3))
    c = backbones.build("swin_tiny", image, **{**SMALL, **options})
    return keras.Model(image, c)


def attention(window, shift):
    """Returns a layer of one head of two channels, with random biases."""
    layer = swin.WindowAttention(1, window, shift)
    layer.build((None, None, None, 6))
    layer.table.assign(RNG.normal(size=layer.table.shape))
    return layer


@pytest.mark.parametrize(
    "shift, row, rows, columns",
    [
        (0, 3, slice(3, 6), slice(0, 3)),
        # Shifted windows start at rows -2, 1 and 4. The first and the last are computed
        # as one of rows 4, 5 and 0.
        (1, 3, slice(1, 4), slice(1, 4)),
        (1, 0, slice(0, 1), slice(1, 4)),
        (1, 5, slice(4, 6), slice(1, 4)),
    ],
)
def test_cells_attend_to_those_of_their_window(shift, row, rows, columns):
    layer, x = attention(3, shift), RNG.normal(size=(1, 6, 6, 6)).astype("float32")
    before = np.array(layer(x))
    x = x.copy()
    x[0, row, 2] += 1.0
    changed = np.abs(np.asarray(layer(x)) - before)[0].max(-1) > 1e-7
    expected = np.zeros((6, 6), bool)
    expected[rows, columns] = True
    np.testing.assert_array_equal(changed, expected)


def test_biases_depend_on_the_position_relative_to_the_query():
    layer = attention(2, 0)
    bias, table = np.asarray(layer._bias())[0], np.asarray(layer.table)[:, 0]
    # Rows of differences -1, 0, 1; the query is cell 0 (top left), 3 bottom right.
    assert bias[0, 3] == table[0]
    assert bias[3, 0] == table[8]
    assert {bias[i, i] for i in range(4)} == {table[4]}
    assert bias[0, 1] == bias[2, 3] == table[3]


def test_cells_are_merged_by_columns_first():
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(swin.MergePatches()(x)[0, 0, 0], [0, 2, 1, 3])


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 40)])
def test_maps_have_the_sizes_that_build_promises(size):
    image = RNG.normal(size=(2, *size, 3)).astype("float32")
    dynamic, fixed = encoder(), encoder(size)
    fixed.set_weights(dynamic.get_weights())
    actual, expected = dynamic(image), fixed(image)
    for k in range(2, 6):
        x = np.asarray(actual[f"c{k}"])
        sides = [-(-side // 2**k) for side in size]
        assert x.shape == (2, *sides, 32 * 2 ** (k - 2))
        np.testing.assert_allclose(x, expected[f"c{k}"], atol=1e-4)


def test_ends_can_have_normalizations_of_their_own():
    plain, normed = encoder(), encoder(end_norms=True)
    assert normed.count_params() - plain.count_params() == 2 * (32 + 64 + 128)
    c = normed(RNG.normal(size=(1, 64, 64, 3)))
    for x in c.values():
        np.testing.assert_allclose(np.mean(x, axis=-1), 0, atol=1e-4)


def test_a_saved_encoder_is_loaded_with_its_values(tmp_path):
    model = encoder()
    model.save(tmp_path / "swin.keras")
    loaded = keras.models.load_model(tmp_path / "swin.keras")
    image = RNG.normal(size=(1, 40, 72, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(image)["c5"], model(image)["c5"])


def test_upernet_on_swin_covers_every_pixel():
    model = models.build_model("upernet", 3, backbone="swin_tiny", filters=16, **SMALL)
    logits = model(RNG.uniform(0, 255, (1, 45, 33, 3)))
    assert logits.shape == (1, 45, 33, 3)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 40}, "`width=40` of 'swin_tiny' must be a multiple of 32"),
        ({"depths": (1, 1)}, r"`depths=\(1, 1\)` four numbers"),
        ({"window": 1}, "`window=1` at least 2"),
        ({"output_stride": 16}, "`output_stride=16` of 'swin_tiny' must be 32"),
        ({"weights": "imagenet"}, "Keras has no ImageNet weights of 'swin_tiny'"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    with pytest.raises(errors.UserError, match=message):
        encoder(**options)
