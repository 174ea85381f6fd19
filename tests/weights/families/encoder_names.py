"""Names and shapes of the arrays of encoders, from the tables of their papers."""

# Kernel, expanded and output channels, squeezed channels or 0, stride.
MOBILENET_V3_SMALL = (
    (3, 16, 16, 8, 2),
    (3, 72, 24, 0, 2),
    (3, 88, 24, 0, 1),
    (5, 96, 40, 24, 2),
    (5, 240, 40, 64, 1),
    (5, 240, 40, 64, 1),
    (5, 120, 48, 32, 1),
    (5, 144, 48, 40, 1),
    (5, 288, 96, 72, 2),
    (5, 576, 96, 144, 1),
    (5, 576, 96, 144, 1),
)
# Units of the stages of timm.
V3_SMALL_STAGES = (1, 2, 3, 2, 3)
# Kernel, factor of expansion, output channels, units.
EFFICIENTNET_B0 = (
    (3, 1, 16, 1),
    (3, 6, 24, 2),
    (5, 6, 40, 2),
    (3, 6, 80, 3),
    (5, 6, 112, 3),
    (5, 6, 192, 4),
    (3, 6, 320, 1),
)
MOBILENET_V2 = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3))
MOBILENET_V2 = (*MOBILENET_V2, (6, 160, 3), (6, 320, 1))


def norm(name, channels):
    """A batch normalization."""
    kinds = ("weight", "bias", "running_mean", "running_var")
    counter = {f"{name}.num_batches_tracked": ()}
    return {**{f"{name}.{kind}": (channels,) for kind in kinds}, **counter}


def biased(name, *shape):
    """A convolution or linear layer with bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def resnet(units=(2, 2, 2, 2)):
    """A ResNet with basic blocks."""
    arrays = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    before = 64
    for i, count in enumerate(units):
        filters = 64 * 2**i
        for unit in range(count):
            name = f"layer{i + 1}.{unit}"
            arrays[f"{name}.conv1.weight"] = (filters, before, 3, 3)
            arrays[f"{name}.conv2.weight"] = (filters, filters, 3, 3)
            arrays |= norm(f"{name}.bn1", filters) | norm(f"{name}.bn2", filters)
            if before != filters:
                arrays[f"{name}.downsample.0.weight"] = (filters, before, 1, 1)
                arrays |= norm(f"{name}.downsample.1", filters)
            before = filters
    return {**arrays, **biased("fc", 1000, 512)}


def units_of(rows, before):
    """Yields stage, unit, kernel, channels in, expanded and out, and squeezed."""
    for stage, (kernel, factor, filters, count) in enumerate(rows):
        for unit in range(count):
            squeezed = before // 4
            yield stage, unit, kernel, before, before * factor, filters, squeezed
            before = filters


def mobilenet_v3_units():
    """Yields what `units_of` does, with the stages of timm."""
    before, rows = 16, iter(MOBILENET_V3_SMALL)
    for stage, count in enumerate(V3_SMALL_STAGES):
        for unit in range(count):
            kernel, inner, filters, squeezed, _ = next(rows)
            yield stage, unit, kernel, before, inner, filters, squeezed
            before = filters


def inverted_of_torchvision(units, stem, last, top, *, in_stages):
    """A MobileNetV3 or EfficientNet of torchvision."""
    arrays = {"features.0.0.weight": (stem, 3, 3, 3), **norm("features.0.1", stem)}
    number = 0
    for stage, unit, kernel, before, inner, filters, squeezed in units:
        number += 1
        start = f"{stage + 1}.{unit}" if in_stages else f"{number}"
        start, k = f"features.{start}.block", 0
        if inner != before:
            arrays[f"{start}.0.0.weight"] = (inner, before, 1, 1)
            arrays |= norm(f"{start}.0.1", inner)
            k = 1
        arrays[f"{start}.{k}.0.weight"] = (inner, 1, kernel, kernel)
        arrays |= norm(f"{start}.{k}.1", inner)
        if squeezed:
            k += 1
            arrays |= biased(f"{start}.{k}.fc1", squeezed, inner, 1, 1)
            arrays |= biased(f"{start}.{k}.fc2", inner, squeezed, 1, 1)
        arrays[f"{start}.{k + 1}.0.weight"] = (filters, inner, 1, 1)
        arrays |= norm(f"{start}.{k + 1}.1", filters)
    end = f"features.{stage + 2 if in_stages else number + 1}"
    arrays |= {f"{end}.0.weight": (top, last, 1, 1), **norm(f"{end}.1", top)}
    return arrays | biased("classifier.1", 1000, top)


def inverted_of_timm(units, stem, last, top, *, top_names):
    """A MobileNetV3 or EfficientNet of timm."""
    arrays = {"conv_stem.weight": (stem, 3, 3, 3), **norm("bn1", stem)}
    for stage, unit, kernel, before, inner, filters, squeezed in units:
        start, k, project = f"blocks.{stage}.{unit}", 0, "conv_pw"
        if inner != before:
            arrays[f"{start}.conv_pw.weight"] = (inner, before, 1, 1)
            arrays |= norm(f"{start}.bn1", inner)
            k, project = 1, "conv_pwl"
        arrays[f"{start}.conv_dw.weight"] = (inner, 1, kernel, kernel)
        arrays |= norm(f"{start}.bn{k + 1}", inner)
        if squeezed:
            arrays |= biased(f"{start}.se.conv_reduce", squeezed, inner, 1, 1)
            arrays |= biased(f"{start}.se.conv_expand", inner, squeezed, 1, 1)
        arrays[f"{start}.{project}.weight"] = (filters, inner, 1, 1)
        arrays |= norm(f"{start}.bn{k + 2}", filters)
    convolution, bn = top_names
    arrays |= {f"{convolution}.weight": (top, last, 1, 1), **norm(bn, top)}
    return arrays | biased("classifier", 1000, top)


def mobilenet_v2():
    """A MobileNetV2 of torchvision."""
    arrays = {"features.0.0.weight": (32, 3, 3, 3), **norm("features.0.1", 32)}
    number = 0
    rows = [(3, *row) for row in MOBILENET_V2]
    for _, _, _, before, inner, filters, _ in units_of(rows, 32):
        number += 1
        start, k = f"features.{number}.conv", 0
        if inner != before:
            arrays[f"{start}.0.0.weight"] = (inner, before, 1, 1)
            arrays |= norm(f"{start}.0.1", inner)
            k = 1
        arrays[f"{start}.{k}.0.weight"] = (inner, 1, 3, 3)
        arrays |= norm(f"{start}.{k}.1", inner)
        arrays[f"{start}.{k + 1}.weight"] = (filters, inner, 1, 1)
        arrays |= norm(f"{start}.{k + 2}", filters)
    end = f"features.{number + 1}"
    arrays |= {f"{end}.0.weight": (1280, 320, 1, 1), **norm(f"{end}.1", 1280)}
    return arrays | biased("classifier.1", 1000, 1280)


def convnext(library):
    """A ConvNeXt-T of "torchvision" or "timm"."""
    is_timm = library == "timm"
    names = ("conv_dw", "norm", "mlp.fc1", "mlp.fc2")
    names = names if is_timm else [f"block.{i}" for i in (0, 2, 3, 5)]
    stem = "stem" if is_timm else "features.0"
    arrays = biased(f"{stem}.0", 96, 3, 4, 4) | biased(f"{stem}.1", 96)
    for i, count in enumerate((3, 3, 9, 3)):
        filters = 96 * 2**i
        if i:
            start = f"stages.{i}.downsample" if is_timm else f"features.{2 * i}"
            arrays |= biased(f"{start}.0", filters // 2)
            arrays |= biased(f"{start}.1", filters, filters // 2, 2, 2)
        for j in range(count):
            stage = f"stages.{i}.blocks" if is_timm else f"features.{2 * i + 1}"
            start = f"{stage}.{j}"
            arrays |= biased(f"{start}.{names[0]}", filters, 1, 7, 7)
            arrays |= biased(f"{start}.{names[1]}", filters)
            arrays |= biased(f"{start}.{names[2]}", 4 * filters, filters)
            arrays |= biased(f"{start}.{names[3]}", filters, 4 * filters)
            scale = ("gamma", (filters,)) if is_timm else ("layer_scale", None)
            arrays[f"{start}.{scale[0]}"] = scale[1] or (filters, 1, 1)
    ends = ("head.norm", "head.fc") if is_timm else ("classifier.0", "classifier.2")
    return arrays | biased(ends[0], 768) | biased(ends[1], 1000, 768)
