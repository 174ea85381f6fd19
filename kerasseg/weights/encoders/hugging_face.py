"""Encoders with the names of Hugging Face transformers: MiT, Swin and ConvNeXt.

A file has the names of version 4. In memory, version 5 has others, which a state dict
that was saved without the library has too. Source:
https://github.com/huggingface/transformers, src/transformers/models/segformer, swin and
convnext, and src/transformers/conversion_mapping.py, version 5.24.
"""

import re
from collections.abc import Mapping

from kerasseg.weights.networks import Shapes, Source

_MIT = {  # Of a block; name in files, name in memory.
    "attend_norm": ("layer_norm_1", "layernorm_before"),
    "attend_query": ("attention.self.query", "attention.q_proj"),
    "attend_key": ("attention.self.key", "attention.k_proj"),
    "attend_value": ("attention.self.value", "attention.v_proj"),
    "attend_reduce": (
        "attention.self.sr",
        "attention.sequence_reduction.sequence_reduction",
    ),
    "attend_reduce_norm": (
        "attention.self.layer_norm",
        "attention.sequence_reduction.layer_norm",
    ),
    "attend_project": ("attention.output.dense", "attention.o_proj"),
    "mix_norm": ("layer_norm_2", "layernorm_after"),
    "mix_widen": ("mlp.dense1", "mlp.fc1"),
    "mix_depthwise": ("mlp.dwconv.dwconv",) * 2,
    "mix_narrow": ("mlp.dense2", "mlp.fc2"),
}
_SWIN = {
    "attend_norm": ("layernorm_before",) * 2,
    "attend": ("attention.self", "attention.relative_position_bias"),
    "attend_query": _MIT["attend_query"],
    "attend_key": _MIT["attend_key"],
    "attend_value": _MIT["attend_value"],
    "attend_project": _MIT["attend_project"],
    "mix_norm": ("layernorm_after",) * 2,
    "mix_widen": ("intermediate.dense", "mlp.fc1"),
    "mix_narrow": ("output.dense", "mlp.fc2"),
}
_CONVNEXT = {
    "depthwise_conv": "dwconv",
    "layernorm": "layernorm",
    "pointwise_conv_1": "pwconv1",
    "pointwise_conv_2": "pwconv2",
}
# By the channels and numbers of blocks of the stages.
_CONVNEXTS: dict[tuple, str] = {
    ((96, 192, 384, 768), (3, 3, 9, 3)): "convnext_tiny",
    ((96, 192, 384, 768), (3, 3, 27, 3)): "convnext_small",
    ((128, 256, 512, 1024), (3, 3, 27, 3)): "convnext_base",
    ((192, 384, 768, 1536), (3, 3, 27, 3)): "convnext_large",
    ((256, 512, 1024, 2048), (3, 3, 27, 3)): "convnext_xlarge",
}
_SWIN_DEPTHS: dict[tuple, str] = {
    (2, 2, 6, 2): "swin_tiny",
    (2, 2, 18, 2): "swin_small",
}
_SWIN_WIDTHS = {128: "swin_base", 192: "swin_large"}


def count(shapes: Shapes, pattern: str) -> tuple[int, ...]:
    """Returns the number of blocks of four stages.

    Args:
        shapes: Shapes of the arrays, by their names.
        pattern: Name of an array of each block, with "{}" for the number of the stage,
            from 0, and of the block.
    """
    totals = []
    for stage in range(4):
        total = 0
        while pattern.format(stage, total) in shapes:
            total += 1
        totals.append(total)
    return tuple(totals)


def mit_sizes(shapes: Shapes, prefix: str) -> tuple[tuple[int, ...], ...] | None:
    """Returns the filters and the depths of the stages of a MiT, or None."""
    blocks = "encoder.block.{}.{}.layer_norm_1.weight"
    patches = "encoder.patch_embeddings.{}.proj.weight"
    if in_memory(shapes, prefix):
        blocks = "stages.{}.blocks.{}.layernorm_before.weight"
        patches = "stages.{}.patch_embeddings.proj.weight"
    depths = count(shapes, prefix + blocks)
    names = [prefix + patches.format(stage) for stage in range(4)]
    if not all(depths) or not all(name in shapes for name in names):
        return None
    return tuple(shapes[name][0] for name in names), depths


def in_memory(shapes: Shapes, prefix: str) -> bool:
    """Returns whether names of SegFormer are those that version 5 has in memory."""
    return f"{prefix}stages.0.patch_embeddings.proj.weight" in shapes


def mit(layer: str, prefix: str, memory: bool) -> Source | str | None:
    """Returns where a layer of `segformer.mix_transformer` is in the file, or None."""
    match = re.fullmatch(r"stage(\d)_(embed|embed_norm|norm)", layer)
    if match:
        stage, part = int(match[1]) - 1, match[2]
        inner = "proj" if part == "embed" else "layer_norm"
        if part == "norm":
            start = f"stages.{stage}.layer_norm"
            return f"{prefix}{start if memory else f'encoder.layer_norm.{stage}'}"
        start = f"stages.{stage}.patch_embeddings"
        start = start if memory else f"encoder.patch_embeddings.{stage}"
        return f"{prefix}{start}.{inner}"
    match = re.fullmatch(r"stage(\d)_block(\d+)_(\w+)", layer)
    if match is None:
        return None
    stage, block = int(match[1]) - 1, int(match[2]) - 1
    start = f"stages.{stage}.blocks" if memory else f"encoder.block.{stage}"
    return _of_block(match[3], f"{prefix}{start}.{block}", _MIT, memory)


def _of_block(part, start, table: Mapping[str, tuple[str, str]], memory):
    """Returns where a part of a block is; queries, keys and values are separate."""
    kind, _, joined = part.partition("_")
    parts = [part]
    if kind == "attend" and joined in ("key_value", "query_key_value"):
        parts = [f"attend_{name}" for name in joined.split("_")]
    if not all(name in table for name in parts):
        return None
    modules = [f"{start}.{table[name][memory]}" for name in parts]
    return Source(modules) if len(modules) > 1 else modules[0]


def swin(
    shapes: Shapes, prefix: str
) -> tuple[str, dict[str, int | tuple[int, ...]]] | None:
    """Returns the name and the options of a Swin Transformer, or None."""
    blocks = prefix + "encoder.layers.{}.blocks.{}.layernorm_before.weight"
    depths = count(shapes, blocks)
    kernel = shapes.get(f"{prefix}embeddings.patch_embeddings.projection.weight", ())
    if not all(depths) or len(kernel) != 4:
        return None
    width = kernel[0]
    block = f"{prefix}encoder.layers.0.blocks.0."
    tables = [
        shapes.get(f"{block}{_SWIN['attend'][i]}.relative_position_bias_table", (0,))
        for i in (0, 1)
    ]
    window = (round(max(tables)[0] ** 0.5) + 1) // 2
    return swin_name(width, depths), {"window": window, **swin_sizes(width, depths)}


def swin_name(width: int, depths: tuple[int, ...]) -> str:
    """Returns the name of a Swin Transformer, or of the closest one."""
    return _SWIN_WIDTHS.get(width) or _SWIN_DEPTHS.get(depths, "swin_tiny")


def swin_sizes(width: int, depths: tuple[int, ...]) -> dict:
    """Returns the options by which a Swin Transformer differs from that of its name."""
    name = swin_name(width, depths)
    expected = {"swin_base": 128, "swin_large": 192}.get(name, 96)
    usual = (2, 2, 6, 2) if name == "swin_tiny" else (2, 2, 18, 2)
    sizes: dict = {} if width == expected else {"width": width}
    return sizes if depths == usual else {**sizes, "depths": depths}


def swin_module(layer: str, prefix: str, shapes: Shapes) -> Source | str | None:
    """Returns where a layer of `backbones.swin` is in the file, or None.

    The normalizations of the ends are not part of it.
    """
    if layer == "embed":
        return f"{prefix}embeddings.patch_embeddings.projection"
    if layer == "embed_norm":
        return f"{prefix}embeddings.norm"
    match = re.fullmatch(r"stage(\d)_merge(_norm)?", layer)
    if match:
        part = "norm" if match[2] else "reduction"
        return f"{prefix}encoder.layers.{int(match[1]) - 2}.downsample.{part}"
    match = re.fullmatch(r"stage(\d)_block(\d+)_(\w+)", layer)
    if match is None:
        return None
    stage, block = int(match[1]) - 1, int(match[2]) - 1
    start = f"{prefix}encoder.layers.{stage}.blocks.{block}"
    memory = f"{start}.attention.q_proj.weight" in shapes
    return _of_block(match[3], start, _SWIN, memory)


def convnext(shapes: Shapes, prefix: str) -> str | None:
    """Returns the name of a ConvNeXt, or None."""
    depths = count(shapes, prefix + "encoder.stages.{}.layers.{}.dwconv.weight")
    if not all(depths):
        return None
    name = prefix + "encoder.stages.{}.layers.0.dwconv.weight"
    filters = tuple(shapes[name.format(stage)][0] for stage in range(4))
    return _CONVNEXTS.get((filters, depths))


def convnext_module(layer: str, prefix: str) -> Source | str | None:
    """Returns where a layer of a ConvNeXt is in the file, or None.

    The normalizations of the ends are not part of it.
    """
    layer = re.sub(r"^convnext_[a-z]+_", "", layer)
    if layer == "stem_conv":
        return f"{prefix}embeddings.patch_embeddings"
    if layer == "stem_layernorm":
        return f"{prefix}embeddings.layernorm"
    match = re.fullmatch(r"downsampling_(conv|layernorm)_(\d)", layer)
    if match:
        number = 1 if match[1] == "conv" else 0
        stage = int(match[2]) + 1
        return f"{prefix}encoder.stages.{stage}.downsampling_layer.{number}"
    match = re.fullmatch(r"stage_(\d)_block_(\d+)_(\w+)", layer)
    if match is None:
        return None
    start = f"{prefix}encoder.stages.{match[1]}.layers.{match[2]}"
    if match[3] == "layer_scale":
        return Source(names={"gamma": f"{start}.layer_scale_parameter"})
    return f"{start}.{_CONVNEXT[match[3]]}" if match[3] in _CONVNEXT else None
