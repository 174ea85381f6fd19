"""MMSegmentation's networks, built from the configuration files in its package.

The library needs mmcv, whose releases are for older versions of PyTorch; without it
these tests are skipped, and tests/weights/test_mmsegmentation.py holds the names.
"""

import contextlib
import pathlib

import pytest
import torch

mmseg = pytest.importorskip("mmseg")
mmengine = pytest.importorskip("mmengine")
models = pytest.importorskip("mmseg.models")
mmengine.registry.init_default_scope("mmseg")

from tests.parity import support  # noqa: E402 (TensorFlow after PyTorch's extensions.)

CONFIGS = pathlib.Path(mmseg.__file__).parent / ".mim" / "configs"
# The smallest of each kind: path of the configuration, and our model.
CASES = {
    "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024": "fcn_resnet",
    "fcn/fcn_r18b-d8_4xb2-80k_cityscapes-512x1024": "fcn_resnet",
    "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024": "pspnet",
    "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024": "pspnet",
    "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-769x769": "pspnet",
    "deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024": "deeplab_v3",
    "deeplabv3/deeplabv3_r101-d16-mg124_4xb2-40k_cityscapes-512x1024": "deeplab_v3",
    "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024": (
        "deeplab_v3_plus"
    ),
    "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-769x769": (
        "deeplab_v3_plus"
    ),
    "upernet/upernet_r18_4xb4-40k_voc12aug-512x512": "upernet",
    "upernet/upernet_r50_4xb2-40k_cityscapes-769x769": "upernet",
    "hrnet/fcn_hr18s_4xb4-40k_pascal-context-59-480x480": "hrnet_ocr",
    "ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024": "hrnet_ocr",
    "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024": "bisenet_v2",
    "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512": "segformer_b0",
}


class Reference(torch.nn.Module):
    """A network of the library, with its auxiliary heads."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        config.pretrained = None
        if "pretrained" in config.backbone:
            config.backbone.pretrained = None
        with contextlib.suppress(AttributeError):
            config.backbone.init_cfg = None
        network = models.build_segmentor(config)
        self.network = mmengine.model.revert_sync_batchnorm(network)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):  # Those of attention are initialized at 0.
                torch.nn.init.normal_(parameter, std=0.1)

    def forward(self, x):
        """Returns logits by the names of our outputs."""
        size = x.shape[-2:]
        maps = self.network.extract_feat(x)
        results = {"logits": self.network.encode_decode(x, [{"img_shape": size}])}
        heads = self.network.decode_head
        if isinstance(heads, torch.nn.ModuleList):
            results["aux_regions"] = self._resize(heads[0](maps), size)
        elif self.network.with_auxiliary_head:
            aux = self.network.auxiliary_head
            if not isinstance(aux, torch.nn.ModuleList):
                results["aux_conv4"] = aux(maps)
                results["aux_c4"] = self._resize(aux(maps), size)
        return results

    def _resize(self, x, size):
        corners = self.network.align_corners
        return torch.nn.functional.interpolate(
            x, size, mode="bilinear", align_corners=corners
        )


def known(config):
    """Returns what an entry of the catalogue has as its "config"."""
    head = config.decode_head
    head = head[-1] if isinstance(head, list) else head
    found = {"align_corners": head.align_corners}
    if "dilations" in config.backbone:
        strides = config.backbone.strides
        found["output_stride"] = 4 * strides[1] * strides[2] * strides[3]
        if "multi_grid" in config.backbone:
            found["multi_grid"] = list(config.backbone.multi_grid)
    return found


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_mmsegmentation(name, tmp_path, record_property):
    torch.manual_seed(0)
    config = mmengine.Config.fromfile(CONFIGS / f"{name}.py").model
    reference = support.randomize(Reference(config))
    state = {"meta": {"version": "1.2.2"}, "state_dict": reference.network.state_dict()}
    torch.save(state, tmp_path / "weights.pth")
    model, network = support.load(tmp_path / "weights.pth", known(config))
    assert network.model == CASES[name]
    assert len(network.class_names) == network.num_classes
    for image in support.images():
        ours = model(image, training=False)
        ours = ours if isinstance(ours, dict) else {"logits": ours}
        theirs = support.outputs_of(reference, image)
        assert ours.keys() <= theirs.keys()
        for key, values in ours.items():
            difference = support.difference(values, theirs[key])
            record_property(f"{name} {image.shape[1:3]} {key}", difference)
            assert difference < support.LIMIT
