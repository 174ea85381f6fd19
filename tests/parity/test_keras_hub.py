"""KerasHub's image segmenters, saved as presets.

SegFormer is compared for square images only, and DeepLab v3+ for sides that are
multiples of 32: KerasHub cannot compute others.
"""

import json

import keras
import numpy as np
import pytest

from tests.parity import support

hub = pytest.importorskip("keras_hub")
DEPTHS = (1, 2, 1, 1)
FILTERS = (16, 32, 40, 64)


def segformer(size):
    encoder = hub.models.MiTBackbone(
        image_shape=(size, size, 3),
        num_layers=4,
        hidden_dims=list(FILTERS),
        layerwise_depths=list(DEPTHS),
        layerwise_num_heads=[1, 2, 5, 8],
        layerwise_sr_ratios=[8, 4, 2, 1],
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        max_drop_path_rate=0.1,
    )
    backbone = hub.models.SegFormerBackbone(
        image_encoder=encoder, projection_filters=48
    )
    converter = hub.layers.SegFormerImageConverter(
        scale=(1 / support.DEVIATION).tolist(),
        offset=(-support.MEAN / support.DEVIATION).tolist(),
    )
    preprocessor = hub.models.SegFormerImageSegmenterPreprocessor(converter)
    return hub.models.SegFormerImageSegmenter(
        backbone=backbone, num_classes=150, preprocessor=preprocessor
    )


def deeplab(size):
    del size
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
    )
    backbone = hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        projection_filters=48,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
    )
    assert backbone.count_params() == 39_190_656  # As the preset's table states.
    preprocessor = hub.models.DeepLabV3ImageSegmenterPreprocessor(
        hub.layers.DeepLabV3ImageConverter(scale=1 / 127.5, offset=-1.0)
    )
    return hub.models.DeepLabV3ImageSegmenter(
        backbone=backbone, num_classes=21, preprocessor=preprocessor
    )


def shake(task):
    """Disturbs statistics, scales and biases; last norms of ResNet units are small."""
    rng = np.random.default_rng(0)
    for variable in task.weights:
        kind, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        is_last = "_3_bn" in variable.path
        if kind == "gamma":
            variable.assign(rng.uniform(0.8, 1.2, shape) * (0.3 if is_last else 1))
        elif kind == "moving_variance":
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif kind in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.1, shape))


@pytest.mark.parametrize(
    "build, sizes", [(segformer, [(128, 128)]), (deeplab, [(96, 128), (224, 160)])]
)
def test_logits_are_those_of_keras_hub(build, sizes, tmp_path, record_property):
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        task = build(sizes[0][0])
    finally:
        keras.config.set_dtype_policy(before)
    shake(task)
    task.save_to_preset(tmp_path)
    converter = json.loads((tmp_path / "image_converter.json").read_text("utf-8"))
    model, network = support.load(tmp_path, {"image_converter": converter})
    assert network.class_names[0] in ("background", "wall")
    scale, offset = (np.array(converter["config"][key]) for key in ("scale", "offset"))
    for image in support.images(sizes):
        expected = np.asarray(task(image * scale + offset, training=False))
        difference = support.difference(model(image, training=False), expected)
        record_property(build.__name__, difference)
        assert difference < support.LIMIT
