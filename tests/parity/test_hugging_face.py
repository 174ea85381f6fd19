"""Networks of Hugging Face transformers."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from tests.parity import support

STAGES = ["stage1", "stage2", "stage3", "stage4"]


class WithAux(torch.nn.Module):
    """Returns the logits of a network and of its auxiliary head at full size."""

    def __init__(self, network):
        super().__init__()
        self.network, self.maps = network, {}
        if getattr(network, "auxiliary_head", None) is not None:
            network.auxiliary_head.register_forward_hook(
                lambda _module, _inputs, output: self.maps.update(aux_c4=output)
            )

    def forward(self, image):
        maps = {"logits": self.network(image).logits, **self.maps}
        size = image.shape[2:]
        return {
            key: torch.nn.functional.interpolate(x, size, mode="bilinear")
            for key, x in maps.items()
        }


def segformer(**options):
    sizes = {"depths": [1, 2, 1, 1], "hidden_sizes": [16, 32, 40, 64]}
    options = {**sizes, "decoder_hidden_size": 32, "num_labels": 7, **options}
    config = transformers.SegformerConfig(drop_path_rate=0.0, **options)
    return transformers.SegformerForSemanticSegmentation(config)


def upernet(backbone, aux=True, **options):
    """Builds UPerNet; the auxiliary head is on the third map."""
    options = {"hidden_size": 32, "auxiliary_channels": 16, **options}
    config = transformers.UperNetConfig(
        backbone_config=backbone, use_auxiliary_head=aux, num_labels=7, **options
    )
    return transformers.UperNetForSemanticSegmentation(config)


def swin(width=32, depths=(2, 2, 2, 2), window=7):
    return transformers.SwinConfig(
        embed_dim=width,
        depths=list(depths),
        num_heads=[width // 32 * 2**i for i in range(4)],
        window_size=window,
        drop_path_rate=0.0,
        out_features=STAGES,
    )


def convnext(filters=(96, 192, 384, 768), depths=(3, 3, 9, 3)):
    return transformers.ConvNextConfig(
        hidden_sizes=list(filters), depths=list(depths), out_features=STAGES
    )


def disturb(network, seed=1):
    """Randomizes what the library initializes to constants, such as layer scales."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            noise = torch.rand(value.shape, generator=generator) - 0.5
            if name.endswith("layer_scale_parameter"):
                value.copy_(0.5 + noise)
            elif name.endswith("relative_position_bias_table"):
                value.copy_(4 * noise)
            elif value.ndim == 1:
                value.copy_(noise * 0.5 + name.endswith("weight"))
            elif value.ndim == 2:  # Attention is constant with the initial weights.
                value.copy_(4 * noise * value.shape[1] ** -0.5)
    return support.randomize(network)


def save(network, folder):
    network.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text())


CASES = {
    "segformer, small": lambda: segformer(),
    "segformer_b0": lambda: segformer(
        depths=[2, 2, 2, 2], hidden_sizes=[32, 64, 160, 256], decoder_hidden_size=256
    ),
    "upernet, swin": lambda: upernet(swin()),
    "upernet, swin, window 12": lambda: upernet(swin(window=12), aux=False),
    "upernet, swin_tiny": lambda: upernet(swin(96, (2, 2, 6, 2))),
    "upernet, convnext_tiny": lambda: upernet(convnext()),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case, tmp_path, record_property):
    torch.manual_seed(0)
    network = CASES[case]()
    reference = WithAux(network)
    disturb(reference)
    config = save(network, tmp_path)
    model, found = support.load(tmp_path / "model.safetensors", config)
    for image in support.images():
        ours = model(image, training=False)
        if not found.options.get("aux"):
            ours = {"logits": ours}
        expected = support.outputs_of(reference, image)
        assert expected.keys() == ours.keys()
        for key, logits in expected.items():
            difference = support.difference(ours[key], logits)
            record_property(f"{case} {key}", difference)
            assert difference < support.LIMIT


@pytest.mark.parametrize("build", [segformer, lambda: upernet(swin())])
def test_names_in_files_and_in_memory_give_the_same_network(build, tmp_path):
    network = build().eval()
    config = save(network, tmp_path)
    torch.save(
        safetensors.torch.load_file(tmp_path / "model.safetensors"),
        tmp_path / "pytorch_model.bin",
    )
    torch.save(network.state_dict(), tmp_path / "in_memory.pth")
    expected, _ = support.load(tmp_path / "model.safetensors", config)
    for name in ("pytorch_model.bin", "in_memory.pth"):
        model, _ = support.load(tmp_path / name)
        pairs = zip(model.weights, expected.weights, strict=True)
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)
