"""RefineNet: its units in NumPy, its cascades, and the parameters of its parts."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import models
from kerasseg.models import complexity, refinenet
from tests.support import initializers, reference

RNG = np.random.default_rng(0)
OPTIONS = models.metadata("refinenet").test_options


def small(**options):
    """Builds the test model."""
    return models.build_model("refinenet", 3, **{**OPTIONS, **options})


def decoder(width, *, crp_pools, filters):
    """Builds the decoder with four cascades, on inputs of `width * stride` channels."""
    c = {
        key: keras.Input((None, None, width * times), name=key)
        for key, times in (("c2", 4), ("c3", 8), ("c4", 16), ("c5", 32))
    }
    return keras.Model(c, refinenet.decode(c, 4, crp_pools, filters))


def features(*shape):
    """Returns a random feature map."""
    return RNG.normal(size=shape).astype("float32")


def count(variables):
    """Counts parameters."""
    return sum(int(np.prod(v.shape)) for v in variables)


def kernels(model, value):
    """Sets all kernels and biases of convolutions to constants."""
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            layer.set_weights([np.full(w.shape, value) for w in layer.get_weights()])


def test_the_parts_of_the_decoder_have_their_parameters():
    # RefineNet-4 to RefineNet-1, with 4 pools.
    variables = decoder(64, crp_pools=4, filters=256).trainable_variables
    parts = {
        "c[2-5]": [18_875_392, 4_719_104, 3_539_456, 2_949_632],
        "fuse": [0, 1_769_472, 1_179_648, 1_179_648],
        "pooling": [2 * 4_718_592, *[2 * 1_179_648] * 3],
        "unit": [14_157_312, *[3_539_712] * 3],
    }
    for part, counts in parts.items():
        for number, expected in zip((4, 3, 2, 1), counts, strict=True):
            found = [v for v in variables if re.match(f"refine{number}_{part}", v.path)]
            assert count(found) == expected, (part, number)
    # The classifier of 21 classes: 9 x 256 x 21 + 21.
    assert count(variables) + 48_405 == 75_552_277


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone, params",
    [
        ("resnet50", (90_802_773, 99_060_309)),
        ("resnet101", (109_794_901, 118_052_437)),
        ("resnet152", (125_438_549, 133_696_085)),
    ],
)
def test_every_encoder_of_the_paper_has_its_parameters(backbone, params):
    for pools, expected in zip((2, 4), params, strict=True):
        with initializers.no_values():
            model = models.build_model(
                "refinenet",
                21,
                backbone=backbone,
                crp_pools=pools,
                image_size=(400, 400),
            )
        assert count(model.trainable_variables) == expected
        if (backbone, pools) == ("resnet101", 2):
            # Published networks have the stride on the 3x3 convolution, these on the
            # 1x1 before: (100^2 - 50^2) 256 128 + (50^2 - 25^2) 512 256 + (25^2 - 13^2)
            # 1024 512 = 0.73 G fewer.
            fewer = 7_500 * 256 * 128 + 1_875 * 512 * 256 + 456 * 1024 * 512
            macs = complexity.count_multiply_adds(model) + fewer
            assert round(macs / 1e9, 1) == 144.9


def test_with_kernels_of_zeros_a_unit_is_identity_and_a_chain_is_relu():
    image = keras.Input((7, 5, 4))
    unit = refinenet.residual_unit(image, name="unit")
    chain = refinenet.chained_residual_pooling(image, 2, name="chain")
    model = keras.Model(image, [unit, chain])
    kernels(model, 0)
    x = features(2, 7, 5, 4)
    passed, cut = model(x)
    np.testing.assert_array_equal(passed, x)
    np.testing.assert_array_equal(cut, reference.relu(x))


@pytest.mark.parametrize("pools, field", [(1, 7), (2, 13), (4, 25)])
def test_each_pool_of_the_chain_enlarges_the_field_of_view_by_6(pools, field):
    # 1, and 4 for each 5x5 pool and 2 for each 3x3 convolution.
    image = keras.Input((31, 31, 1))
    chain = refinenet.chained_residual_pooling(image, pools, name="chain")
    model = keras.Model(image, chain)
    kernels(model, 1)
    x = np.zeros((1, 31, 31, 1), "float32")
    x[0, 15, 15] = 1
    reached = np.asarray(model(x))[0, :, :, 0] > 0
    assert reached.any(0).sum() == reached.any(1).sum() == field


def test_a_block_equals_one_in_numpy():
    maps = [keras.Input((3, 2, 8)), keras.Input((5, 4, 4))]
    x = refinenet.fuse([(maps[0], 32), (maps[1], 16)], name="fuse")
    x = refinenet.chained_residual_pooling(x, 2, name="chain")
    model = keras.Model(maps, refinenet.residual_unit(x, name="unit"))
    for layer in model.layers:  # Larger than at the start, where little is left.
        layer.set_weights([RNG.normal(0, 0.2, w.shape) for w in layer.get_weights()])
    coarse, fine = features(2, 3, 2, 8), features(2, 5, 4, 4)

    def conv(x, name):
        return reference.conv(x, *model.get_layer(name).get_weights())

    # First to 4 channels. Then 3 rows are resized to rows 0, 2 and 4 of five, with
    # aligned corners, and 2 columns to columns 0 and 2, the last one repeated.
    narrow = conv(coarse, "fuse_conv1")
    narrow = np.concatenate([narrow, narrow[:, :, -1:]], 2)
    large = reference.resize(narrow, 5, 5, aligned=True)[:, :, :4]
    x = reference.relu(large + conv(fine, "fuse_conv2"))
    first = conv(reference.max_pool(x, 5, stride=1, before=2, after=2), "chain_conv1")
    pooled = reference.max_pool(first, 5, stride=1, before=2, after=2)
    x = x + first + conv(pooled, "chain_conv2")
    inner = reference.relu(conv(reference.relu(x), "unit_conv1"))
    expected = x + conv(inner, "unit_conv2")
    np.testing.assert_allclose(model([coarse, fine]), expected, atol=1e-4)


@pytest.mark.parametrize(
    "cascades, inputs",
    [
        (1, {1: {"c5", "c4", "c3", "c2"}}),
        (2, {2: {"c5", "c4"}, 1: {"c3", "c2"}}),
        (4, {4: {"c5"}, 3: {"c4"}, 2: {"c3"}, 1: {"c2"}}),
    ],
)
def test_the_inputs_of_each_block_of_a_cascade(cascades, inputs):
    names = [layer.name for layer in small(cascades=cascades).layers]
    for number, keys in inputs.items():
        adapted = [n for n in names if re.fullmatch(f"refine{number}_c._adapt", n)]
        assert {n.split("_")[1] for n in adapted} == keys
        # All except the first also have the output of the previous one.
        fused = [n for n in names if n.startswith(f"refine{number}_fuse_conv")]
        paths = len(keys) + (number < cascades)
        assert len(fused) == (paths if paths > 1 else 0)
        units = [n for n in names if re.fullmatch(f"refine{number}_unit._add", n)]
        assert len(units) == 3


def test_c5_has_twice_the_channels_and_sums_have_the_smaller_number():
    model = small()
    widths = {
        name: model.get_layer(name).output.shape[-1]
        for name in ("refine4_unit3_add", "refine3_fuse_conv1", "refine1_unit3_add")
    }
    assert list(widths.values()) == [32, 16, 16]


@pytest.mark.parametrize("cascades", [1, 2, 4])
def test_the_scores_have_stride_4(cascades):
    model = small(cascades=cascades, aux=True)
    outputs = model(RNG.uniform(0, 255, (1, 65, 34, 3)).astype("float32"))
    assert outputs["aux_quarter"].shape == (1, 17, 9, 3)
    assert outputs["aux_quarter"].dtype == "float32"
    assert outputs["logits"].shape == (1, 65, 34, 3)
    # Cell `i` of the scores is at pixel `4 * i`.
    np.testing.assert_allclose(
        outputs["logits"][:, ::4, ::4], outputs["aux_quarter"], atol=1e-5
    )


def test_the_auxiliary_output_changes_no_weight():
    paths = [[v.path for v in small(aux=aux).weights] for aux in (False, True)]
    assert paths[0] == paths[1]


def test_the_decoder_has_no_normalization_and_small_initial_weights():
    model = small()
    encoder = models.encoder_layers("refinenet", **OPTIONS)
    decoder = [x for x in model.layers if x.weights and x.name not in encoder]
    assert all(isinstance(layer, layers.Conv2D) for layer in decoder)
    assert {layer.kernel_initializer.stddev for layer in decoder} == {0.01}
    biased = {layer.name for layer in decoder if layer.use_bias}
    assert all(name == "classify" or name.endswith("_conv1") for name in biased)
    assert "refine1_pooling_conv1" not in biased


def test_dropout_of_0_5_is_on_the_deepest_maps_and_before_the_classifier():
    dropouts = [x for x in small().layers if isinstance(x, layers.Dropout)]
    assert {layer.rate for layer in dropouts} == {0.5}
    assert [layer.name for layer in dropouts] == [
        *("refine4_c5_dropout", "refine3_c4_dropout", "classify_dropout")
    ]


def test_the_scores_depend_on_every_map_of_the_encoder():
    model = decoder(4, crp_pools=2, filters=8)
    x = {
        f"c{i}": tf.constant(features(1, 64 // 2**i, 64 // 2**i, 4 * 2**i))
        for i in (2, 3, 4, 5)
    }
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(model(x) ** 2)
    for key, gradient in tape.gradient(total, x).items():
        assert np.any(gradient), key


def test_any_backbone_is_accepted():
    model = small(backbone="efficientnet_lite0", filters=8)
    assert model(np.zeros((1, 33, 65, 3))).shape == (1, 33, 65, 3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cascades": 3}, r"cascades=3` of 'refinenet' must be one of \(1, 2, 4\)"),
        ({"crp_pools": 0}, "crp_pools=0` of 'refinenet' must be at least 1"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
