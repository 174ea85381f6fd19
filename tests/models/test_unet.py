"""U-Net: the sizes of the paper, overlapping tiles, and fields of view."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import models
from kerasseg.models import unet
from tests.support import reference

RNG = np.random.default_rng(0)
CROPS = {1: 88, 2: 40, 3: 16, 4: 4}  # By level; figure 1 of the paper.


@functools.cache
def small(**options):
    """Builds a small network with random biases and statistics."""
    options = {"filters": 4, "dropout": 0.0, **options}
    model = models.build_model("unet", 3, **options)
    reference.shake(model)
    return model


@functools.cache
def paper():
    """Builds the network of the paper with batch norm, for 21 classes."""
    return models.build_model("unet", 21, batch_norm=True)


def core(model):
    """Returns the network between mirroring and cropping."""
    inside = model.get_layer("mirror").output
    return keras.Model(inside, model.get_layer("classify").output)


def count(model):
    return sum(np.prod(v.shape) for v in model.trainable_variables)


def random_images(batch, height, width):
    return RNG.uniform(0, 255, (batch, height, width, 3)).astype("float32")


def test_batch_norm_adds_a_scale_and_a_shift_to_each_3x3_convolution():
    # 31,033,045 without; two convolutions on each level of both paths:
    # 2 * 2 * (64 + 128 + 256 + 512 + 1024) + 2 * 2 * (512 + 256 + 128 + 64) = 11,776.
    assert count(paper()) == 31_033_045 + 11_776 == 31_044_821


def test_the_valid_network_has_the_parameters_of_the_paper():
    # 31,030,658 with one input channel and two classes; three channels: 2 * 9 * 64
    # more.
    model = models.build_model("unet", 2, padding="valid")
    assert count(model) == 31_030_658 + 1_152
    # Eleven classes instead of two: 9 * (64 + 1) more.
    assert count(model) + 585 == 31_032_395


def test_a_tile_of_572_pixels_gives_388():
    model = small(padding="valid", image_size=(388, 388))

    def side(name):
        return model.get_layer(name).output.shape[1]

    assert side("mirror") == 572
    assert [side(f"contract{i}_relu2") for i in range(1, 6)] == [568, 280, 136, 64, 28]
    assert [side(f"expand{i}_crop") for i in (4, 3, 2, 1)] == [56, 104, 200, 392]
    assert [side(f"expand{i}_relu2") for i in (4, 3, 2, 1)] == [52, 100, 196, 388]
    for level, cells in CROPS.items():
        crop = model.get_layer(f"expand{level}_crop")
        assert crop.cropping == ((cells, cells), (cells, cells))


@pytest.mark.parametrize(
    "side, tile", [(1, 188), (4, 188), (5, 204), (372, 556), (388, 572), (389, 588)]
)
def test_an_image_is_mirrored_to_the_next_size_that_all_pools_divide(side, tile):
    layer = unet.Mirror(4, 16, 92)
    assert layer.compute_output_spec(keras.KerasTensor((1, side, side, 3))).shape == (
        *(1, tile, tile, 3),
    )
    assert tile % 16 == 60 % 16 and tile - 184 >= side
    for _ in range(4):
        tile -= 4
        assert tile % 2 == 0
        tile //= 2


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 97), (33, 16), (40, 20)], ids=str)
@pytest.mark.parametrize("known", [True, False])
def test_mirroring_is_repeated_for_small_images(size, known):
    pixels = random_images(2, *size)
    image = keras.Input((*size, 3) if known else (None, None, 3))
    for layer in (unet.Mirror(4, 16, 92), unet.Mirror(16, 16)):
        found = np.asarray(keras.Model(image, layer(image))(pixels))
        both = zip(found.shape[1:3], size, strict=True)
        after = [became - side - layer.margin for became, side in both]
        sides = [(0, 0), *[(layer.margin, a) for a in after], (0, 0)]
        assert min(after) >= layer.margin
        np.testing.assert_array_equal(found, np.pad(pixels, sides, mode="reflect"))


def test_tiles_predicted_separately_with_context_equal_the_whole():
    # Figure 2 of the paper: 20x20 pixels of the result need 204x204 of the image. Tiles
    # start at multiples of 16, so that their pools are aligned.
    pixels = random_images(1, 52, 36)
    model = small(padding="valid")
    whole = np.asarray(model(pixels))
    mirrored = np.pad(
        pixels / 127.5 - 1, [(0, 0), (92, 92), (92, 92), (0, 0)], "reflect"
    )
    for top in (0, 16, 32):
        for left in (0, 16):
            tile = mirrored[:, top : top + 204, left : left + 204]
            alone = np.asarray(core(model)(tile))
            assert alone.shape == (1, 20, 20, 3)
            expected = whole[:, top : top + 20, left : left + 20]
            np.testing.assert_allclose(alone, expected, atol=1e-4)


def test_a_crop_has_the_logits_of_the_image_where_it_contains_the_context():
    # At 112 rows or more from the cut, the field of view has no mirrored rows.
    pixels, model = random_images(1, 272, 20), small(padding="valid")
    crop = np.asarray(model(pixels[:, 16:]))[:, 112:]
    np.testing.assert_allclose(crop, model(pixels)[:, 128:], atol=1e-4)


def test_a_shift_by_the_output_stride_shifts_the_logits():
    pixels, model = random_images(1, 32, 272), small()
    left, right = (np.asarray(model(pixels[:, :, s : 256 + s])) for s in (0, 16))
    np.testing.assert_allclose(left[:, :, 128:-112], right[:, :, 112:-128], atol=1e-4)
    shifted = np.asarray(model(pixels[:, :, 8:264]))
    assert np.abs(left[:, :, 120:-112] - shifted[:, :, 112:-120]).max() > 1e-3


def field_of_view(low, high, level=1):
    """Returns the first and last input row that rows `low` to `high` depend on."""
    if level == 5:
        return low, high + 4  # Two 3x3 convolutions without padding.
    high += 4
    copied = low + CROPS[level], high + CROPS[level]
    below = field_of_view(low // 2, high // 2, level + 1)
    low, high = min(copied[0], 2 * below[0]), max(copied[1], 2 * below[1] + 1)
    return low, high + 4


def test_the_field_of_view_of_each_logit():
    model = core(small(padding="valid"))
    for variable in model.weights:
        size = np.prod(variable.shape[:-1])
        variable.assign(np.full(variable.shape, 1 / size if size > 1 else 0.0))
    ramp = np.arange(1.0, 205).astype("float32")
    ramp = np.broadcast_to((ramp[:, None] + ramp)[None, ..., None], (1, 204, 204, 3))
    for row in (0, 7, 15, 19):
        rows = set()
        # The gradient of a pool goes to the largest value: the last or first of a
        # window.
        for pixels in (ramp, ramp[:, ::-1, ::-1]):
            pixels = tf.constant(pixels.copy())
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                result = model(pixels)[:, row, 10]
            gradient = tape.gradient(result, pixels)
            rows |= set(np.flatnonzero(np.abs(gradient).max((0, 2, 3))).tolist())
        assert (min(rows), max(rows)) == field_of_view(row, row)
    # The 20 rows of a tile depend on all of its 204 rows.
    assert field_of_view(0, 19) == (0, 203)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_level_of_the_expanding_path_equals_that_in_numpy(padding):
    model = small(padding=padding, batch_norm=True)
    get = model.get_layer
    sources = [get("contract5_dropout").output, get("contract4_dropout").output]
    step = keras.Model(model.input, [*sources, get("expand4_relu2").output])
    below, skip, expected = (np.asarray(x) for x in step(random_images(1, 40, 56)))
    x = reference.conv_transpose(below, *get("expand4_up").get_weights(), stride=2)
    x = reference.relu(x)
    if padding == "valid":
        skip = skip[:, 4:-4, 4:-4]
    x = np.concatenate([skip, x], axis=-1)
    for i in (1, 2):
        cells = 0 if padding == "valid" else 1
        x = reference.conv(x, *get(f"expand4_conv{i}").get_weights(), padding=cells)
        x = reference.relu(reference.batch_norm(x, get(f"expand4_bn{i}")))
    np.testing.assert_allclose(x, expected, atol=1e-4)


def test_initial_weights_have_the_standard_deviation_of_he():
    def deviation(name):
        kernel = paper().get_layer(name).kernel
        return float(np.std(kernel))

    # 3x3 cells of 64 channels: sqrt(2 / 576); of 1024 channels: sqrt(2 / 9216).
    assert deviation("contract1_conv2") == pytest.approx(0.0589, rel=0.02)
    assert deviation("contract5_conv2") == pytest.approx(0.0147, rel=0.02)
    # An up-convolution reads one cell of 1024 channels: sqrt(2 / 1024).
    assert deviation("expand4_up") == pytest.approx(0.0442, rel=0.02)


def test_dropout_is_at_the_end_of_the_contracting_path():
    layers = [x for x in paper().layers if isinstance(x, keras.layers.Dropout)]
    assert [(x.name, x.rate) for x in layers] == [
        ("contract4_dropout", 0.5),
        ("contract5_dropout", 0.5),
    ]


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 80)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_valid_network_covers_every_pixel(size, batch):
    logits = small(padding="valid")(random_images(batch, *size))
    assert logits.shape == (batch, *size, 3)
    assert np.isfinite(logits).all()


def test_the_valid_network_has_the_same_logits_at_a_known_size():
    known = small(padding="valid", image_size=(33, 20))
    assert known.output_shape == (None, 33, 20, 3)
    pixels = random_images(1, 33, 20)
    known.set_weights(small(padding="valid").get_weights())
    expected = small(padding="valid")(pixels)
    np.testing.assert_allclose(known(pixels), expected, atol=1e-5)


def test_the_valid_network_loads_without_custom_objects(tmp_path):
    model = small(padding="valid")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pixels = random_images(1, 9, 40)
    np.testing.assert_array_equal(loaded(pixels), model(pixels))


def test_the_valid_network_mirrors_and_classifies_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = models.build_model("unet", 3, padding="valid", filters=4)
    finally:
        keras.config.set_dtype_policy("float32")
    names = ("mirror", "contract1_conv1", "classify", "logits")
    assert [model.get_layer(name).compute_dtype for name in names] == [
        *("float32", "bfloat16", "float32", "float32"),
    ]
    assert model(random_images(1, 20, 33)).dtype == "float32"


def test_paddings_share_their_weights():
    paths = [
        [(v.path, v.shape) for v in small(padding=p).weights] for p in ("same", "valid")
    ]
    assert paths[0] == paths[1]


def test_with_a_backbone_each_level_of_the_expanding_path_has_half_the_channels():
    model = small(backbone="resnet18_quarter", filters=64, image_size=(65, 97))
    reference.shake(model)
    sizes = {4: (5, 7), 3: (9, 13), 2: (17, 25), 1: (33, 49), 0: (66, 98)}
    widths = {4: 256, 3: 128, 2: 64, 1: 32, 0: 16}
    for level, size in sizes.items():
        x = model.get_layer(f"expand{level}_2_relu").output
        assert x.shape == (None, *size, widths[level])
    # Channels of the skip connection and of the level below.
    copied = [
        model.get_layer(f"expand{i}_concat").output.shape[-1] for i in (4, 3, 2, 1)
    ]
    assert copied == [64 + 128, 32 + 256, 16 + 128, 16 + 64]
    assert model.output_shape == (None, 65, 97, 3)
    assert np.isfinite(model(random_images(1, 65, 97))).all()


def test_a_backbone_without_c1_has_one_skip_connection_less():
    model = small(backbone="convnext_tiny", filters=16)
    names = {layer.name for layer in model.layers}
    assert "expand2_concat" in names and "expand1_concat" not in names
    assert model(random_images(1, 33, 47)).shape == (1, 33, 47, 3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"padding": "full"}, "padding=full` of 'unet' must be 'same' or 'valid'"),
        (
            {"padding": "valid", "backbone": "resnet18"},
            "'resnet18' pads its convolutions. Set `padding=same`, or leave out",
        ),
        ({"backbone_weights": "imagenet"}, "imagenet` of 'unet' needs a backbone"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("unet", 2, **options)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_classifier_can_have_a_kernel_of_3x3(padding):
    model = small(classifier_size=3, padding=padding)
    assert model.get_layer("classify").kernel.shape == (3, 3, 4, 3)
    assert model(np.zeros((1, 33, 40, 3), "float32")).shape == (1, 33, 40, 3)


def test_an_even_kernel_of_the_classifier_is_an_error():
    with pytest.raises(ValueError, match="`classifier_size=2` of 'unet' must be odd"):
        small(classifier_size=2)
