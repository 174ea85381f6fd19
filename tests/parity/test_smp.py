"""segmentation_models.pytorch's networks.

It refuses images whose sides are not multiples of the output stride, except in U-Net,
so that odd sizes are compared for U-Net only; the others at sizes that it accepts.
"""

import json

import pytest
import segmentation_models_pytorch as smp
import torch

from tests.parity import support

SIZES = ((224, 160), (128, 128))
SMALL = ((96, 128),)
DEFAULT = "resnet18"


def build(name, classes=5, **options):
    """Builds a network with random weights."""
    torch.manual_seed(0)
    options.setdefault("encoder_name", DEFAULT)
    network = getattr(smp, name)(encoder_weights=None, classes=classes, **options)
    return support.randomize(network, size=(128, 160))


def _case(name, options):
    return ", ".join([name, *(f"{key}={value}" for key, value in options.items())])


def compare(reference, model, record_property, name, sizes=SIZES):
    """Compares the logits at all sizes."""
    for image in support.images(sizes):
        ours = model(image, training=False)
        expected = support.outputs_of(reference, image)["out"]
        difference = support.difference(ours, expected)
        record_property(name, difference)
        assert difference < support.LIMIT


@pytest.mark.parametrize(
    "name, options",
    [
        ("Unet", {}),
        ("Unet", {"decoder_channels": [64, 48, 32, 24, 16]}),
        ("Linknet", {}),
        ("FPN", {}),
        ("PSPNet", {}),
        ("PSPNet", {"encoder_depth": 4, "upsampling": 16}),
        ("DeepLabV3", {}),
        ("DeepLabV3", {"encoder_output_stride": 16}),
        ("DeepLabV3Plus", {}),
        ("DeepLabV3Plus", {"encoder_output_stride": 8}),
        ("UPerNet", {}),
        ("UPerNet", {"encoder_name": "tu-convnext_tiny", "decoder_channels": 64}),
        ("Segformer", {"encoder_name": "mit_b0"}),
    ],
)
def test_logits_of_saved_networks_are_those_of_smp(
    name, options, tmp_path, record_property
):
    reference = build(name, **options)
    reference.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    model, network = support.load(tmp_path / "model.safetensors", config)
    assert network.family == "smp"
    sizes = SMALL if "encoder_output_stride" in options else SIZES
    if name == "Unet":
        sizes = (*SIZES, (97, 129))
    if network.options.get("backbone", "").startswith("convnext"):
        sizes = SMALL
    compare(reference, model, record_property, _case(name, options), sizes)


@pytest.mark.parametrize(
    "name", ["Unet", "Linknet", "FPN", "PSPNet", "DeepLabV3Plus", "UPerNet"]
)
def test_state_dicts_of_bottleneck_encoders_need_no_config(
    name, tmp_path, record_property
):
    reference = build(name, 1, encoder_name="resnet50")
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model, network = support.load(tmp_path / "weights.pth")
    assert network.num_classes == 1
    compare(reference, model, record_property, f"{name} resnet50", SMALL)
