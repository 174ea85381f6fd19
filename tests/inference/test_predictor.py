"""Prediction in tiles and at several scales."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from kerasseg import inference, models
from kerasseg.inference import memory_estimate, tiles
from kerasseg.system import memory
from tests.support import levels

SIDES = st.integers(1, 700)
TILE_SIZES = st.sampled_from([128, 256, 384])


@given(SIDES, TILE_SIZES)
def test_tiles_cover_a_side_and_share_a_quarter_with_their_neighbors(length, size):
    actual = tiles.spans(length, size)
    assert actual[0][0] == 0
    assert actual[-1][1] == length
    for (start, stop), (following, _) in itertools.pairwise(actual):
        assert stop - start == size
        assert stop - following == size // 4
        assert following % 32 == 0
    for (_, stop), (later, _) in zip(actual, actual[2:], strict=False):
        assert stop <= later  # Never three tiles at one pixel.
    assert len(actual) == 1 or actual[-1][1] - actual[-1][0] > size // 4


def test_a_tile_fades_in_over_the_shared_pixels():
    # Of 8 shared pixels 2 have weight 0, 4 rise by 1/8, 3/8, 5/8, 7/8, and 2 have 1.
    expected = [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]
    assert tiles.ramp(8).tolist() == expected


@settings(deadline=None)
@given(SIDES, SIDES, TILE_SIZES, st.integers(0, 9))
def test_equal_tiles_are_blended_into_the_whole(height, width, size, seed):
    whole = np.random.default_rng(seed).random((height, width, 2), np.float32)
    blended, counts = np.zeros_like(whole), np.zeros((height, width), int)
    for rows, columns, part in tiles.blend(
        (height, width), size, lambda rows, columns: whole[rows, columns]
    ):
        blended[rows, columns] = part
        counts[rows, columns] += 1
    assert (counts == 1).all()
    np.testing.assert_allclose(blended, whole, rtol=1e-5)


@pytest.mark.parametrize("size", [64, 100, 130, -128])
def test_other_tile_sizes_are_errors(size):
    with pytest.raises(
        ValueError, match=f"`tile_size={size}`: .*multiple of 128 pixels, at least 128"
    ):
        inference.Predictor(levels.build_model(), tile_size=size)


def build_local_network():
    """Builds a network with a receptive field of 7 pixels to each side, stride 2."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1)(image)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(6, 5, padding="same", activation="relu")(x)
    x = layers.UpSampling2D(2)(x)
    return keras.Model(image, layers.Conv2D(4, 3, padding="same")(x) * 5)


@pytest.fixture(scope="module")
def network():
    return build_local_network()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(
        0, 256, (1, height, width, 3), dtype=np.uint8
    )


@pytest.mark.parametrize("size", [(300, 500), (128, 700), (450, 20)])
def test_a_local_network_predicts_the_same_in_tiles(network, size):
    # A quarter of the 32 shared pixels has weight 0: more than the receptive field.
    images = noise(*size)
    whole = inference.Predictor(network).probabilities(images)
    tiled = inference.Predictor(network, tile_size=128).probabilities(images)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_every_result_is_the_same_in_tiles(network):
    images = noise(200, 330)
    whole = inference.Predictor(network)
    tiled = inference.Predictor(network, tile_size=128)
    probabilities = tiled.probabilities(images)
    classes, confidence = tiled.confident_classes(images)
    np.testing.assert_array_equal(classes, probabilities.argmax(-1))
    np.testing.assert_array_equal(confidence, probabilities.max(-1))
    np.testing.assert_array_equal(tiled.classes(images), classes)
    np.testing.assert_array_equal(whole.classes(images), classes)
    assert (classes.dtype, confidence.dtype) == (np.uint8, np.float32)


def test_a_deep_network_predicts_nearly_the_same_in_tiles():
    keras.utils.set_random_seed(0)
    options = models.metadata("deeplab_v3_plus").test_options
    network = models.build_model("deeplab_v3_plus", 5, **options)
    rows, columns = np.mgrid[:400, :530]
    image = np.stack([rows, columns, rows + columns], -1) // 4 % 256
    whole = inference.Predictor(network).probabilities(image[None].astype(np.uint8))
    tiled = inference.Predictor(network, tile_size=384)
    actual = tiled.probabilities(image[None].astype(np.uint8))
    np.testing.assert_allclose(actual.sum(-1), 1, rtol=1e-5)
    # Its global average pooling differs from tile to tile.
    assert np.abs(actual - whole).max() < 0.05
    # No seam: differences between neighbors are not larger where tiles meet.
    steps = np.abs(np.diff(actual, axis=2)).max(axis=(0, 1, 3))
    assert steps[280:392].max() < 2 * np.abs(np.diff(whole, axis=2)).max()


def expected_views(network, images, merge):
    """Fuses the probabilities of an image and its flipped image in NumPy."""
    parts = []
    for step in (1, -1):
        logits = network(images[:, :, ::step].astype("float32")).numpy()
        parts.append(tf.nn.softmax(logits[:, :, ::step]).numpy())
    return merge(parts)


def test_the_flipped_image_is_averaged_with_the_image(network):
    images = noise(8, 14)
    actual = inference.Predictor(network, flip=True).probabilities(images)
    expected = expected_views(network, images, lambda parts: sum(parts) / 2)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_max_fusion_takes_the_largest_probability(network):
    images = noise(8, 14)
    predictor = inference.Predictor(network, flip=True, fusion="max")
    most = expected_views(network, images, lambda parts: np.maximum(*parts))
    expected = most / most.sum(-1, keepdims=True)
    np.testing.assert_allclose(predictor.probabilities(images), expected, atol=1e-6)


def test_max_logits_fusion_takes_the_largest_logit(network):
    images = noise(8, 14)
    predictor = inference.Predictor(network, flip=True, fusion="max_logits")
    logits = [
        network(images[:, :, ::step].astype("float32")).numpy()[:, :, ::step]
        for step in (1, -1)
    ]
    expected = tf.nn.softmax(np.maximum(*logits))
    np.testing.assert_allclose(predictor.probabilities(images), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "offset", "winner"),
    [
        ("mean", 0, 1),
        ("mean", 1, 1),
        ("max", 0, 0),
        ("max", 1, 0),
        ("max_logits", 0, 0),
        ("max_logits", 1, 1),
    ],
)
def test_only_the_maximum_of_logits_depends_on_an_offset_of_a_view(
    fusion, offset, winner
):
    # Probabilities 0.90, 0.10, 0.00 and 0.03, 0.87, 0.10: means 0.47, 0.48, 0.05 and
    # maxima 0.90, 0.87, 0.10. Logits have the maxima 2.3 and 2.2, or 3.2 with offset.
    views = np.array([[2.3, 0.1, -9], [-1, 2.2, 0]], "float32")
    views[1] += offset

    def network(images, training):
        del training
        is_flipped = images[:, :1, :1, :1] > 128
        logits = tf.where(is_flipped, views[1], views[0])
        return tf.broadcast_to(logits, tf.concat([tf.shape(images)[:3], [3]], 0))

    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[:, :, 1] = 255  # The flipped image starts with white.
    predictor = inference.Predictor(network, flip=True, fusion=fusion)
    assert (predictor.classes(image) == winner).all()


def test_scales_are_averaged_at_the_size_of_the_image():
    network = levels.build_model()
    images = levels.red([[0, 64, 128, 255]])[None]
    # At half size, pairs of pixels become their means, 32 and 191.5. With half-pixel
    # centers, their logits a and b become a, (3a + b) / 4, (a + 3b) / 4 and b.
    half = np.zeros((1, 1, 2, 3), np.float32)
    half[..., 0] = 32, 191.5
    a, b = network(half).numpy()[0, 0]
    logits = np.stack([a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b])
    small = inference.Predictor(network, scales=(0.5,)).probabilities(images)
    np.testing.assert_allclose(small[0, 0], tf.nn.softmax(logits), atol=1e-5)
    both = inference.Predictor(network, scales=(0.5, 1.0)).probabilities(images)
    whole = inference.Predictor(network).probabilities(images)
    np.testing.assert_allclose(both, (small + whole) / 2, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 47)])
def test_small_images_have_all_scales(network, size):
    predictor = inference.Predictor(network, scales=(0.1, 0.75, 2.0), flip=True)
    actual = predictor.probabilities(noise(*size))
    assert actual.shape == (1, *size, 4)
    np.testing.assert_allclose(actual.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (float("nan"),)])
def test_invalid_scales_are_errors(scales):
    with pytest.raises(ValueError, match="expected one or more numbers above 0"):
        inference.Predictor(levels.build_model(), scales=scales)


def test_an_unknown_fusion_is_an_error():
    with pytest.raises(
        ValueError, match=r"`fusion=sum`: expected one of .*, max_logits"
    ):
        inference.Predictor(levels.build_model(), fusion="sum")


def test_an_image_that_does_not_fit_into_memory_is_predicted_in_tiles(
    network, monkeypatch
):
    images = noise(300, 500)
    expected = inference.Predictor(network).classes(images)
    recorded = recorded_calls(network)
    predictor = inference.Predictor(recorded)
    # Half of it is for the network: not enough for a tile of 256 x 256 pixels.
    monkeypatch.setattr(
        memory_estimate, "needed", lambda _, height, width, __: height * width
    )
    monkeypatch.setattr(memory, "available", lambda: 2 * 128 * 200)
    np.testing.assert_array_equal(predictor.classes(images), expected)
    assert max(recorded.heights) == 128


def recorded_calls(network, limit=10**9):
    """Wraps a network: records `heights` of images, fails for those above `limit`."""
    heights = []

    def record(images):
        heights.append(images.shape[1])
        if images.shape[1] > limit:
            raise MemoryError("no room")
        return images

    def call(images, training=False):
        passed = tf.numpy_function(record, [images], tf.float32)
        return network(
            tf.ensure_shape(passed, [None, None, None, 3]), training=training
        )

    call.heights = heights
    return call


def test_after_an_out_of_memory_smaller_tiles_are_tried(network):
    images = noise(300, 500)
    limited = recorded_calls(network, limit=128)
    mask = inference.Predictor(limited).classes(images)
    np.testing.assert_array_equal(mask, inference.Predictor(network).classes(images))
    # The whole image, then tiles of 250, rounded down to 128 pixels; the last one has
    # 300 - 192.
    assert sorted(set(limited.heights)) == [108, 128, 300]


def test_a_network_for_which_nothing_fits_raises():
    def fail(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    with pytest.raises(MemoryError, match="OOM"):
        inference.Predictor(fail).classes(noise(300, 500))


def test_the_estimate_counts_the_maps_that_are_alive_together():
    # 2x (3 channels) and concat(2x, x) (6); x is the image, which the caller holds.
    # Each value has 4 bytes; the factor 2 is for scratch memory.
    def call(x):
        return tf.raw_ops.ConcatV2(values=[x * 2.0, x], axis=3)

    assert memory_estimate.needed(call, 5, 7) == 35 * 2 * 4 * (3 + 6)


def test_the_estimate_forgets_maps_after_their_last_use():
    def chain(x):
        for _ in range(5):
            x = tf.nn.relu(x + 1.0)
        return x

    assert memory_estimate.needed(chain, 5, 7) == 35 * 2 * 4 * (3 + 3)


def test_large_arrays_are_files_and_a_full_disk_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(tiles, "_IN_MEMORY", 1000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    small, large = (
        tiles.allocate((10, 25)),
        tiles.allocate((10, 26)),
    )
    assert not isinstance(small, np.memmap)
    assert isinstance(large, np.memmap)
    large[3] = 2
    assert (large.sum(), large.dtype) == (52, np.float32)
    assert not list(tmp_path.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"GiB for an array of \[10, 26\] do not fit"):
        tiles.allocate((10, 26))


# Unlike getrusage's, this peak does not include that of the process that started it.
PEAK_MEMORY = """
import re

def peak():
    text = open("/proc/self/status").read()
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", text)[1])

"""
PEAK = """
import sys
import numpy as np
from kerasseg import inference, models
from kerasseg.inference import memory_estimate

options = {"backbone": "efficientnet_lite0"} if "plus" in sys.argv[1] else {}
network = models.build_model(sys.argv[1], 21, **options)
predictor = inference.Predictor(network)
predictor.classes(np.zeros((1, 256, 256, 3), np.uint8))
before = peak()
predictor.classes(np.zeros((1, 1024, 1024, 3), np.uint8))
print((peak() - before) / memory_estimate.needed(network, 1024, 1024))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplab_v3_plus", "segformer_b0", "fc_densenet56"])
def test_the_estimate_is_an_upper_bound_of_the_measured_memory(name):
    command = [sys.executable, "-c", PEAK_MEMORY + PEAK, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.2 < float(done.stdout.split()[-1]) < 1.0


HUGE = """
import sys
import numpy as np
from kerasseg import inference
from tests.support import levels

side = int(sys.argv[1])
image = np.zeros((1, side, side, 3), np.uint8)
image[..., 0] = np.arange(side) * 255 // side
predictor = inference.Predictor(levels.build_model(), tile_size=1024)
actual = predictor.classes(image)[0]
expected = np.minimum(image[0, 0, :, 0] // 64, 2)
assert (actual == expected).all()
print(peak() / 2**20)
"""


@pytest.mark.slow
def test_sixteen_thousand_pixels_squared_need_bounded_memory():
    command = [sys.executable, "-c", PEAK_MEMORY + HUGE, "16000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # The image has 732 MiB, its mask 244, TensorFlow about 600.
    assert float(done.stdout.split()[-1]) < 2600
