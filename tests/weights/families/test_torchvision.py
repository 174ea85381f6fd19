"""torchvision's networks on ResNet: names and shapes of arrays, without the library."""

import numpy as np
import pytest

from kerasseg import errors
from kerasseg.models import imported
from kerasseg.weights import families
from tests.weights.families import encoder_names as names


def fcn_head(name, channels, classes):
    """A 3x3 convolution to a quarter of the channels, and the classifier."""
    return {
        f"{name}.0.weight": (channels // 4, channels, 3, 3),
        **names.norm(f"{name}.1", channels // 4),
        **names.biased(f"{name}.4", classes, channels // 4, 1, 1),
    }


def deeplab_head(name, channels, classes):
    """The pyramid, a 3x3 convolution, and the classifier."""
    arrays = {f"{name}.0.convs.0.0.weight": (256, channels, 1, 1)}
    for i in (1, 2, 3):
        arrays[f"{name}.0.convs.{i}.0.weight"] = (256, channels, 3, 3)
    arrays[f"{name}.0.convs.4.1.weight"] = (256, channels, 1, 1)
    for norm in (*(f"convs.{i}.1" for i in range(4)), "convs.4.2", "project.1"):
        arrays |= names.norm(f"{name}.0.{norm}", 256)
    arrays[f"{name}.0.project.0.weight"] = (256, 5 * 256, 1, 1)
    arrays[f"{name}.1.weight"] = (256, 256, 3, 3)
    arrays |= names.norm(f"{name}.2", 256)
    return {**arrays, **names.biased(f"{name}.4", classes, 256, 1, 1)}


def table(head, *, classes=21, aux=True):
    """All arrays of a network on ResNet-18."""
    encoder = {
        f"backbone.{name}": shape
        for name, shape in names.resnet().items()
        if not name.startswith("fc.")
    }
    arrays = {**encoder, **head("classifier", 512, classes)}
    return {**arrays, **(fcn_head("aux_classifier", 256, classes) if aux else {})}


@pytest.mark.parametrize("aux", [True, False])
@pytest.mark.parametrize(
    "head, model", [(fcn_head, "fcn_resnet"), (deeplab_head, "deeplab_v3")]
)
def test_every_variable_is_filled_and_every_array_used(head, model, aux):
    shapes = table(head, classes=7, aux=aux)
    network = families.recognize(shapes)
    assert (network.family, network.model) == ("torchvision", model)
    assert network.num_classes == 7 and not network.class_names
    assert network.options["aux"] is aux
    arrays = {
        name: np.full(shape, i, "f4") for i, (name, shape) in enumerate(shapes.items())
    }
    built = imported.build(arrays, network)
    kernel = built.get_layer("conv3_block1_0_conv").kernel
    assert kernel.numpy().max() == list(shapes).index(
        "backbone.layer2.0.downsample.0.weight"
    )
    for name in ("classifier.4.bias", "backbone.layer4.1.bn2.running_var"):
        rest = {key: array for key, array in arrays.items() if key != name}
        with pytest.raises(errors.UserError, match=f"has no {name}"):
            imported.build(rest, network)
    with pytest.raises(errors.UserError, match=r"not used, such as extra\.weight"):
        imported.build({**arrays, "extra.weight": np.zeros(3)}, network)


def test_image_pooling_is_the_last_fifth_of_the_projection():
    shapes = table(deeplab_head)
    network = families.recognize(shapes)
    assert network.class_names[15] == "person"
    arrays = {name: np.zeros(shape, "f4") for name, shape in shapes.items()}
    arrays["classifier.0.project.0.weight"][:, 4 * 256 :] = 1
    built = imported.build(arrays, network)
    kernel = built.get_layer("aspp_project_conv").kernel.numpy()[0, 0]
    assert kernel[:256].min() == 1 and not kernel[256:].any()


def test_resnext_is_not_taken_as_resnet():
    shapes = table(fcn_head) | {"backbone.layer1.0.conv2.weight": (64, 2, 3, 3)}
    with pytest.raises(errors.UserError, match="not those of a network"):
        families.recognize(shapes)
