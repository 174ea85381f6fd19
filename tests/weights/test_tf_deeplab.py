"""DeepLab of TensorFlow: recognized and filled, with arrays of a plain network."""

import functools

import numpy as np
import pytest

from kerasseg import errors
from kerasseg.models import imported
from kerasseg.weights import families, filling
from tests.parity import tf_deeplab_reference as reference
from tests.support import initializers

XCEPTION = ("xception_41", (6, 12, 18), True, 19)
MOBILENET = (0.5, (), False, 21)
MOBILENET_PLUS = (0.5, (), True, 151)
SLOTS = ("global_step", "logits/semantic/weights/Momentum")


@functools.cache
def arrays_of(variant, rates, decoder, classes):
    """Returns all arrays of a checkpoint."""
    arrays = reference.Arrays()
    image = np.random.default_rng(1).uniform(0, 255, (1, 33, 33, 3))
    reference.logits(
        arrays, image, variant, rates=rates, decoder=decoder, classes=classes
    )
    values = {name: np.asarray(array, "float32") for name, array in arrays.items()}
    return {**values, **{name: np.zeros(1, "float32") for name in SLOTS}}


def recognize(arrays, config=None):
    shapes = {name: array.shape for name, array in arrays.items()}
    return families.recognize(shapes, config, family="tf_deeplab")


@functools.cache
def mobilenet():
    """Returns the network of `MOBILENET`, and its model."""
    arrays = arrays_of(*MOBILENET)
    network = recognize(arrays)
    return network, imported.build(arrays, network)


def test_xception_has_a_place_for_every_array():
    arrays = arrays_of(*XCEPTION)
    network = recognize(arrays)
    with initializers.zeros():
        model = imported.build(arrays, network)
    assert network.model == "deeplab_v3_plus"
    assert network.options["backbone"] == "xception41"
    assert network.options["rates"] == (6, 12, 18)
    assert network.class_names[0] == "road"
    assert len(model.weights) == len(arrays) - len(SLOTS)
    epsilons = {layer.name: getattr(layer, "epsilon", None) for layer in model.layers}
    assert epsilons["exit2_unit1_sep3_bn"] == 1e-3
    assert epsilons["refine2_bn"] == epsilons["aspp_atrous1_depthwise_bn"] == 1e-5


def test_xception_65_and_71_are_recognized_by_their_numbers_of_blocks():
    names = dict.fromkeys(arrays_of(*XCEPTION), (1,))
    names = {name.replace("xception_41", "xception_65"): s for name, s in names.items()}
    module = "xception_65/middle_flow/block1/unit_{}/xception_module"
    for unit in range(9, 17):
        names[f"{module.format(unit)}/separable_conv1_pointwise/weights"] = (1,)
    network = families.recognize(names, family="tf_deeplab")
    assert network.options["backbone"] == "xception65"
    module = "xception_65/entry_flow/block{}/unit_1/xception_module"
    for block in (4, 5):
        names[f"{module.format(block)}/separable_conv1_pointwise/weights"] = (1,)
    network = families.recognize(names, family="tf_deeplab")
    assert network.options["backbone"] == "xception71"


def test_mobilenet_has_no_pyramid_of_rates():
    network, model = mobilenet()
    assert network.model == "deeplab_v3"
    assert network.options["rates"] == ()
    assert network.options["depth_multiplier"] == 0.5
    assert network.class_names[1] == "aeroplane"
    rest = filling.fill(model, arrays_of(*MOBILENET), network)
    assert rest == sorted(SLOTS)


def test_mobilenet_can_have_a_decoder():
    arrays = arrays_of(*MOBILENET_PLUS)
    network = recognize(arrays)
    assert network.model == "deeplab_v3_plus"
    assert network.num_classes == 151
    assert network.class_names[:2] == ("background", "wall")
    assert len(network.class_names) == len(network.palette) == 151
    imported.build(arrays, network)


def test_the_output_stride_is_that_of_the_configuration():
    network = recognize(arrays_of(*MOBILENET), {"output_stride": 8})
    assert network.options["output_stride"] == 8


def test_checkpoints_of_imagenet_are_encoders():
    arrays = {
        name: array
        for name, array in arrays_of(*MOBILENET).items()
        if name.startswith("MobilenetV2/")
    }
    arrays["MobilenetV2/Logits/Conv2d_1c_1x1/weights"] = np.zeros((1, 1, 2, 3))
    network = recognize(arrays)
    assert network.kind == "encoder"
    assert network.model == "mobilenet_v2_slim"
    model = imported.build(arrays, network)
    assert sorted(model.output) == ["c1", "c2", "c3", "c4", "c5"]


def test_a_dense_prediction_cell_is_not_recognized():
    arrays = dict(arrays_of(*MOBILENET))
    del arrays["concat_projection/weights"]
    with pytest.raises(errors.UserError, match="not those of a network"):
        recognize(arrays)


@pytest.mark.parametrize("change", ["missing", "superfluous", "shape"])
def test_other_arrays_are_refused(change):
    network, model = mobilenet()
    arrays, name = dict(arrays_of(*MOBILENET)), "MobilenetV2/expanded_conv_3/expand"
    if change == "missing":
        del arrays[f"{name}/weights"]
    elif change == "superfluous":
        arrays[f"{name}/biases"] = np.zeros(72)
    else:
        arrays[f"{name}/weights"] = np.zeros((1, 1, 12, 70))
    with pytest.raises(errors.UserError, match=name):
        filling.fill(model, arrays, network)
