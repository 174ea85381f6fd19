"""torchvision's segmentation networks."""

import pytest
import torch
from torchvision.models import segmentation

from tests.parity import support


@pytest.mark.parametrize(
    "name",
    [
        "fcn_resnet50",
        "deeplabv3_resnet50",
        "deeplabv3_resnet101",
        "deeplabv3_mobilenet_v3_large",
        "lraspp_mobilenet_v3_large",
    ],
)
def test_logits_are_those_of_torchvision(name, tmp_path, record_property):
    torch.manual_seed(0)
    build = getattr(segmentation, name)
    aux_loss = not name.startswith("lraspp")
    reference = build(weights=None, weights_backbone=None, aux_loss=aux_loss)
    reference = support.randomize(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model, network = support.load(tmp_path / "weights.pth")
    assert network.class_names[0] == "background"
    for image in support.images():
        ours = model(image, training=False)
        if not isinstance(ours, dict):
            ours = {"logits": ours}
        aux = next((key for key in ours if key.startswith("aux")), None)
        for key, expected in support.outputs_of(reference, image).items():
            found = ours["logits" if key == "out" else aux]
            difference = support.difference(found, expected)
            record_property(name, difference)
            assert difference < support.LIMIT
