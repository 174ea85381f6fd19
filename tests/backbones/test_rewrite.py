"""Backbones of keras.applications at all output strides, against the originals."""

import keras
import numpy as np
import pytest
from keras import applications, layers

from kerasseg.backbones import applications as table
from kerasseg.backbones import rewrite
from tests.support import networks

# One of each family. The others take minutes.
FAMILIES = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "nasnet_mobile",
    "resnet50",
    "resnet50_v2",
    "vgg16",
    "xception",
)
QUICK = ("mobilenet_v2",)
ROWS = {  # With the ResNets that kerasseg builds itself.
    **table._ROWS,
    "resnet50": table._Row(applications.ResNet50, "caffe"),
    "resnet101": table._Row(applications.ResNet101, "caffe"),
    "resnet152": table._Row(applications.ResNet152, "caffe"),
}
# These have explicit padding, so that they equal the originals at odd sizes too. The
# others equal TensorFlow's "same" padding only at even sizes.
EXACT_AT_ODD_SIZES = tuple(name for name in ROWS if name.startswith("resnet"))
STATIC = ("nasnet_large", "nasnet_mobile")  # Their graphs are wrong for unknown sizes.
# A change of the image by 1e-7, which is rounding, changes c5 by 1.2e-4 of its largest
# value.
TOLERANCES = {"efficientnet_v2_l": 5e-4}
# These have unpadded windows, and are compared with copies that have padding.
UNPADDED = ("inception_resnet_v2", "inception_v3", "xception")


def original(name, side):
    """Builds a model with random weights that keep the scale of the feature maps."""
    side = side + 1 if name in STATIC else None
    source = ROWS[name].constructor(
        include_top=False, weights=None, input_shape=(side, side, 3)
    )
    random = np.random.default_rng(0)
    for variable in source.weights:
        kind, shape = variable.path.split("/")[-1], variable.shape
        if len(shape) == 4:
            is_depthwise = kind == "depthwise_kernel" or shape[3] == 1
            inputs = np.prod(shape[:2] if is_depthwise else shape[:3])
            variable.assign(random.normal(0, np.sqrt(1 / inputs), shape))
        elif kind in ("beta", "bias", "mean", "moving_mean"):
            variable.assign(random.normal(0, 0.2, shape))
        elif len(shape) == 1:  # Variances, and the layer scales of ConvNeXt.
            variable.assign(random.uniform(0.5, 1.5, shape))
    return source


def padded(source):
    """Builds `source` again with "same" padding everywhere."""

    def clone(layer):
        config = layer.get_config()
        if config.get("padding") == "valid":
            config["padding"] = "same"
        return type(layer).from_config(config)

    model = keras.models.clone_model(source, clone_function=clone)
    model.set_weights(source.get_weights())
    return model


def before_normalization(source, x):
    """Inverts the normalization layers of `source`."""
    normalizations = [
        layer
        for layer in source.layers
        if isinstance(layer, layers.Rescaling | layers.Normalization)
    ]
    black, white = np.zeros((1, 1, 1, 3)), np.full((1, 1, 1, 3), 255.0)
    for layer in normalizations:
        black, white = np.array(layer(black)), np.array(layer(white))
    return (255 * (x - black) / (white - black)).astype(x.dtype)


def random_image(side):
    pixels = np.random.default_rng(1).normal(size=(1, side, side, 3))
    return pixels.astype("float32")


def assert_equal(maps, expected, tolerance=1e-4):
    """Compares maps relative to the largest value; checks that they are not flat."""
    assert maps.shape == expected.shape
    largest = np.abs(expected).max()
    assert (expected - expected.mean((1, 2), keepdims=True)).std() > 50 * 1e-4 * largest
    assert np.abs(maps - expected).max() < tolerance * largest


def check_against_original(name, side, output_strides):
    """Compares output stride 32 with the original, and the others with 32."""
    tolerance = TOLERANCES.get(name, 1e-4)
    source = original(name, side)
    plain = padded(source) if name in UNPADDED else source
    images = [random_image(side), random_image(side + 1)]
    variables, expected = ends_of(source, name, images, 32)
    for x, c in zip(images, expected, strict=True):
        if x.shape[1] == side or name in EXACT_AT_ODD_SIZES:
            # NASNet is padded at the other side, so it needs one more row and column.
            extra = (0, 1 if name in STATIC else 0)
            x = np.pad(before_normalization(source, x), [(0, 0), extra, extra, (0, 0)])
            assert_equal(c["c5"], np.array(plain(x)), tolerance)
    for output_stride in output_strides:
        names, found = ends_of(source, name, images, output_stride)
        assert names == variables, "weights differ between output strides"
        for x, dense, sparse in zip(images, found, expected, strict=True):
            for c in sparse:
                rate = max(1, 2 ** int(c[1]) // output_stride)
                assert_has_every_cell(dense[c], x, 2 ** int(c[1]) // rate)
                assert_has_every_cell(sparse[c], x, 2 ** int(c[1]))
                assert_equal(dense[c][:, ::rate, ::rate], sparse[c], tolerance)


def ends_of(source, name, images, output_stride):
    """Returns the names of the variables, and the endpoints of each image."""
    image = keras.Input((None, None, 3), name="image")
    c = rewrite.encoder(
        source, image, output_stride=output_stride, widest=ROWS[name].widest
    )
    model = keras.Model(image, c)
    ends = [{c: np.array(x) for c, x in model(image).items()} for image in images]
    return [variable.path for variable in model.weights], ends


def assert_has_every_cell(maps, x, stride):
    assert maps.shape[1:3] == tuple(-(-side // stride) for side in x.shape[1:3])


@pytest.mark.parametrize("name", networks.others_slow(FAMILIES, QUICK))
def test_every_rate_th_cell_is_the_original_one(name):
    check_against_original(name, 64, (8,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_every_rate_th_cell_is_the_original_one_at_224_pixels(name):
    check_against_original(name, 224, (16, 8))
