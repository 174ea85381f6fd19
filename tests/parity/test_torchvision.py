"""torchvision's segmentation networks."""

import pytest
import torch
from torchvision.models import segmentation

from tests.parity import support

NAMES = {"out": "logits", "aux": "aux_c4"}


@pytest.mark.parametrize(
    "name", ["fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_resnet101"]
)
def test_logits_are_those_of_torchvision(name, tmp_path, record_property):
    torch.manual_seed(0)
    build = getattr(segmentation, name)
    reference = build(weights=None, weights_backbone=None, aux_loss=True)
    reference = support.randomize(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model, network = support.load(tmp_path / "weights.pth")
    assert network.class_names[0] == "background"
    for image in support.images():
        ours = model(image, training=False)
        for key, expected in support.outputs_of(reference, image).items():
            difference = support.difference(ours[NAMES[key]], expected)
            record_property(name, difference)
            assert difference < support.LIMIT
