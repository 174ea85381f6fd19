"""HRNetV2 and OCR: branches, exchanges, regions."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import models
from kerasseg.models import hrnet_ocr
from tests.support import reference

RNG = np.random.default_rng(0)


def small(**options):
    options = models.metadata("hrnet_ocr").test_options | options
    return models.build_model("hrnet_ocr", 3, **options)


def count(model, *prefixes):
    weights = [v for v in model.trainable_variables if v.path.startswith(prefixes)]
    return sum(np.prod(v.shape) for v in weights)


def taps(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def softmax(x, axis):
    shares = np.exp(x - x.max(axis, keepdims=True))
    return shares / shares.sum(axis, keepdims=True)


@pytest.mark.slow  # A big network.
def test_parts_of_w48_have_the_parameters_of_the_authors():
    model = models.build_model("hrnet_ocr", 19)
    parts = {
        ("stem",): 38_848,
        ("stage1",): 286_208,
        ("transition1",): 332_064,
        ("stage2",): 878_112,
        ("transition2",): 166_272,
        ("stage3",): 15_335_040,
        ("transition3",): 664_320,
        ("stage4",): 47_624_256,
        ("regions",): 534_259,
        ("context_pixels",): 3_319_296,
        ("context",): 3_319_296 + 1_184_256,
        ("classify",): 9_747,
    }
    assert {prefixes: count(model, *prefixes) for prefixes in parts} == parts
    # The last layers of HRNetV2 are those of the region scores.
    encoder = 70_372_678 - 534_259 - 3_319_296 - 1_184_256 - 9_747
    assert encoder + 534_259 == 65_859_379


def test_another_class_adds_1234_parameters_or_721_without_regions():
    # 721 = 720 + 1 for its region scores, 513 = 512 + 1 for its logits. 59 and 150
    # classes are 40 and 131 more than 19.
    with_regions, alone = models.metadata("hrnet_ocr").params, 65_859_379
    assert with_regions == 70_372_678
    assert (with_regions + 40 * 1234, alone + 40 * 721) == (70_422_038, 65_888_219)
    assert (with_regions + 131 * 1234, alone + 131 * 721) == (70_534_332, 65_953_830)
    model = small()  # 15 x 8 channels in place of 720.
    assert model.get_layer("regions_classify").count_params() == 3 * (15 * 8 + 1)
    assert model.get_layer("classify").count_params() == 3 * 513


def test_batch_norms_have_the_momentum_of_the_authors():
    # PyTorch's momentum of 0.1 is 1 minus that of Keras.
    norms = [x for x in small().layers if isinstance(x, layers.BatchNormalization)]
    assert norms and {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}


@pytest.mark.parametrize("size", [(512, 1024), (33, 40)])
def test_branches_have_strides_4_to_32_and_are_concatenated_at_4(size):
    model = small(image_size=size)
    for i, stride in enumerate((4, 8, 16, 32)):
        cells = tuple(-(-side // stride) for side in size)
        output = model.get_layer(f"stage4_module1_out{i + 1}").output
        assert output.shape[1:] == (*cells, 8 * 2**i)
    quarter = tuple(-(-side // 4) for side in size)
    assert model.get_layer("merge").output.shape[1:] == (*quarter, 15 * 8)


def test_coarse_branches_are_resized_with_aligned_corners_at_suitable_sizes():
    # 129 and 97 pixels become 33 and 25 cells at stride 4, 5 and 4 at stride 32.
    model = small(image_size=(129, 97))
    image = RNG.uniform(0, 255, (1, 129, 97, 3)).astype("float32")
    coarse, merged = taps(model, "stage4_module1_out4", "merge")(image)
    expected = reference.resize(np.asarray(coarse), 33, 25, aligned=True)
    np.testing.assert_allclose(np.asarray(merged)[..., 7 * 8 :], expected, atol=1e-4)


def test_an_exchange_adds_all_resized_branches():
    filters = (4, 8, 16)
    inputs = [keras.Input((17, 9, 4)), keras.Input((9, 5, 8)), keras.Input((5, 3, 16))]
    model = keras.Model(inputs, hrnet_ocr._exchange(inputs, name="e"))
    reference.shake(model)
    x = [RNG.normal(size=(1, *i.shape[1:])).astype("float32") for i in inputs]

    def conv(z, name, stride=1):
        layer = model.get_layer(f"{name}_conv")
        padding = layer.kernel_size[0] // 2
        z = reference.conv(z, np.asarray(layer.kernel), stride=stride, padding=padding)
        return reference.batch_norm(z, model.get_layer(f"{name}_bn"))

    for i in range(3):
        rows, columns = x[i].shape[1:3]
        total = x[i].astype("float64")
        for j in range(3):
            name = f"e_from{j + 1}_to{i + 1}"
            if j > i:
                sent = conv(x[j], name)
                assert sent.shape[-1] == filters[i]
                total += reference.resize(sent, rows, columns, aligned=True)
            elif j < i:
                sent = x[j]
                for step in range(1, i - j + 1):
                    sent = conv(sent, f"{name}_{step}", stride=2)
                    sent = sent if step == i - j else reference.relu(sent)
                total += sent
        np.testing.assert_allclose(model(x)[i], reference.relu(total), atol=1e-4)


def test_regions_with_certain_scores_are_the_means_of_their_pixels():
    pixels = RNG.normal(size=(2, 4, 6, 5)).astype("float32")
    labels = RNG.integers(0, 3, (2, 4, 6))
    regions = (1e4 * np.eye(3)[labels]).astype("float32")
    means = hrnet_ocr.GatherRegions()([regions, pixels])
    assert means.shape == (2, 3, 1, 5)
    for image in range(2):
        for region in range(3):
            expected = pixels[image][labels[image] == region].mean(0)
            np.testing.assert_allclose(means[image, region, 0], expected, atol=1e-5)


def test_the_softmax_of_regions_is_over_cells():
    # Scores 0 and log 3 have weights 1 / 4 and 3 / 4 for any scores of the other
    # region.
    regions = np.array([[0, 5], [np.log(3), 5]], "float32").reshape(1, 1, 2, 2)
    pixels = np.array([4, 8], "float32").reshape(1, 1, 2, 1)
    means = hrnet_ocr.GatherRegions()([regions, pixels])
    np.testing.assert_allclose(np.ravel(means), [7, 6], rtol=1e-6)


def test_attention_is_a_softmax_over_regions():
    query = RNG.normal(size=(2, 4, 6, 5)).astype("float32")
    key, value = RNG.normal(size=(2, 2, 3, 1, 5)).astype("float32")
    fit = np.einsum("bijc,bkc->bijk", query, key[:, :, 0]) / np.sqrt(5)
    expected = np.einsum("bijk,bkc->bijc", softmax(fit, -1), value[:, :, 0])
    x = hrnet_ocr.RegionAttention()([query, key, value])
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_a_single_region_has_weight_1():
    query, value = np.ones((1, 2, 3, 4), "float32"), np.full((1, 1, 1, 4), 7, "float32")
    x = hrnet_ocr.RegionAttention()([query, value, value])
    np.testing.assert_allclose(x, 7 * query, rtol=1e-6)


def test_regions_work_in_float16_on_large_maps():
    # A weight of 1 / 65,536 is subnormal in float16.
    regions = np.zeros((1, 256, 256, 2), "float32")
    pixels = np.full((1, 256, 256, 3), 10, "float16")
    means = hrnet_ocr.GatherRegions(dtype="float16")([regions, pixels])
    assert means.dtype == "float16"
    np.testing.assert_array_equal(means, np.full((1, 2, 1, 3), 10))


def test_without_ocr_the_logits_are_the_region_scores():
    full, alone = small(aux=True), small(ocr=False)
    values = {v.path: v for v in full.weights}
    for variable in alone.weights:
        variable.assign(values[variable.path])
    image = RNG.uniform(0, 255, (1, 45, 33, 3)).astype("float32")
    outputs = full(image)
    assert sorted(outputs) == ["aux_regions", "logits"]
    np.testing.assert_allclose(outputs["aux_regions"], alone(image), atol=1e-4)
    assert outputs["logits"].shape == (1, 45, 33, 3)
    assert {v.path for v in small().weights} == set(values)


def test_aux_without_regions_is_an_error():
    with pytest.raises(ValueError, match="`aux=True` of 'hrnet_ocr' needs `ocr=True`"):
        small(ocr=False, aux=True)
