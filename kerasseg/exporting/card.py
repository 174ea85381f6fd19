"""The model card of an exported version."""

import json
import math
import os
import textwrap
from collections.abc import Mapping

from kerasseg import images
from kerasseg.exporting import formats, instance_card
from kerasseg.exporting.redaction import escape, link
from kerasseg.inference.options import FUSIONS
from kerasseg.system import image_kinds

_EVALUATION_KEYS = (  # Of metrics.json, which `kerasseg.evaluate` writes.
    *("split", "pictures", "step", "output_stride", "scales", "flip", "tile_size"),
    *("crf", "superpixels", "predictions_dir"),
)
_LOADED = "saved_model", "keras"  # Formats that kerasseg.load reads.
_SCORES = {"mask_ap": "mask AP", "box_ap": "box AP", "mean_iou": "mean IoU"}


def how_to_call(
    path: str | os.PathLike,
    name: str = "saved_model",
    metadata: Mapping | None = None,
) -> str:
    """Returns Python code that predicts an image.

    Args:
        path: Folder of the version.
        name: Name of the format.
        metadata: The content of metadata.json; None: that of a network that predicts
            the class of each pixel.
    """
    each = formats.all_formats()[name]
    literal = json.dumps(os.fspath(path), ensure_ascii=False)  # Also one of Python.
    if metadata is not None and "images" in metadata:
        file = f"/{each.file}" if each.file else ""
        image = f'"{literal[1:-1]}{file}").predict("image.npy")'
        return f"    import kerasseg\n\n    mask = kerasseg.load({image}\n"
    values = {"path": literal[1:-1], "file": each.file, "to_mask": _to_mask(metadata)}
    if metadata is None or _kind(metadata) == "semantic":
        return each.usage.format(**values)
    return each.detection_usage.format(**values, **instance_card.values(metadata))


def card(title: str, metadata: Mapping, max_pixels: int) -> str:
    """Returns the model card of an exported version, in Markdown.

    Args:
        title: Name of the network.
        metadata: The content of metadata.json.
        max_pixels: Largest image of the SavedModel's signature `serving_default`.
    """
    is_detector = _kind(metadata) == "instance"
    kind = "An instance segmentation" if is_detector else "A semantic segmentation"
    parts = [
        f"# {escape(title)}\n",
        f"{kind} network, exported by kerasseg.\n",
        instance_card.formats(metadata) if is_detector else _formats(metadata),
        _usage(metadata, max_pixels),
        _classes(metadata),
        _training(metadata),
        _license(metadata),
    ]
    return "\n".join(part for part in parts if part)


def _formats(metadata):
    lines = [
        "| format | file | bytes | difference | mean IoU | images |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, entry in metadata["formats"].items():
        score = "-"
        if "mean_iou" in entry:
            score = f"{entry['mean_iou']:.4f} ({entry['mean_iou_of_the_model']:.4f})"
        lines.append(
            f"| {name} | {entry['file']} | {entry['bytes']:,} | "
            f"{entry['largest_difference']:.1e} | {score} | {entry['pictures']} |"
        )
    text = textwrap.fill(
        "Each format was loaded again and compared with the trained network. The "
        "difference of the logits is relative to the largest logit. The mean IoU of "
        "the trained network on the same images is in parentheses.",
        88,
    )
    return "\n".join([*lines, "", text, ""])


def _usage(metadata, max_pixels):
    if "images" in metadata:
        return _usage_of_channels(metadata)
    values = {
        "num_classes": len(metadata["classes"]),
        "max_pixels": max_pixels,
        **_mask_values(metadata),
    }
    kind = _kind(metadata)
    parts, groups, last = ["## Usage\n"], set(), ""
    if kind == "instance":
        values |= instance_card.values(metadata)
        last = instance_card.resizing(metadata)
    for name in metadata["formats"]:
        each = formats.all_formats()[name]
        if (each.group or name) not in groups:
            parts.append(how_to_call("PATH/OF/THIS/FOLDER", name, metadata))
        groups.add(each.group or name)
        if kind == "instance":
            parts.append(each.detection_description.format(**values))
            continue
        description = each.description.format(**values)
        if each.description == formats.FILE_DESCRIPTION:  # Once, after all examples.
            last = description
        else:
            parts.append(description)
        if name == "saved_model":
            parts.append(_test_time_options(metadata.get("views")))
    return "\n".join(part for part in [*parts, last] if part)


def _usage_of_channels(metadata):
    """Describes the input of a network of images other than 8-bit RGB."""
    kind = images.ImageKind.from_json(metadata["images"])
    values = {"num_classes": len(metadata["classes"]), **_mask_values(metadata)}
    text = (
        f"Every file takes `image`, float32 [N, height, width, {kind.channels}] (N is "
        "1 in TFLite), of any size: the values of the files that it was trained on, of "
        f"the type {kind.dtype}, without normalization, which is the first layer. It "
        f"returns `logits`, float32 [N, height, width, {values['num_logits']}]; a "
        "SavedModel in its signatures `serving_default` and `tensor`, and also "
        f"`probabilities`, float32 [N, height, width, {values['num_classes']}], and "
        f"`classes`, int32 [N, height, width]: {values['mask_pixels']}."
    )
    names = [name for name in _LOADED if name in metadata["formats"]]
    example = ""
    if names:
        example = how_to_call("PATH/OF/THIS/FOLDER", names[0], metadata)
    ranges = [f"- {line}" for line in image_kinds.describe(kind)]
    title = f"The images are {kind}."
    parts = ["## Usage\n", f"{title}\n", example, textwrap.fill(text, 88), ""]
    return "\n".join([*parts, *ranges, ""])


def _to_mask(metadata):
    """Returns the code after the logits of an image that makes the mask."""
    if not metadata or metadata.get("activation") != "sigmoid":
        return ".argmax(-1)"
    logits = [math.log(t / (1 - t)) if t else -math.inf for t in _thresholds(metadata)]
    if not metadata.get("multi_label"):
        return f"[..., 0] > {logits[0]:.6g}"
    return f" > [{', '.join(f'{each:.6g}' for each in logits)}]  # By class."


def _thresholds(metadata):
    count = len(metadata["classes"]) if metadata.get("multi_label") else 1
    return metadata.get("thresholds") or [0.5] * count


def _mask_values(metadata):
    """Returns what descriptions say about logits and masks."""
    count, pixels, depth = len(metadata["classes"]), "class numbers", 8
    if metadata.get("activation") == "sigmoid":
        listed = ", ".join(f"{each:g}" for each in _thresholds(metadata))
        if metadata.get("multi_label"):
            depth = 16
            pixels = (
                f"sums of 2 ** (k + 1) over\nthe class numbers k whose probability is "
                f"above {listed}"
            )
        else:
            count, pixels = 1, f"1 where the\nprobability of class 1 is above {listed}"
    return {"num_logits": count, "mask_pixels": pixels, "mask_bits": depth}


def _kind(metadata):
    return metadata.get("kind", "semantic")  # Absent before there was another one.


def _test_time_options(options):
    if not options:
        return ""
    parts = [f"the {FUSIONS[options['fusion']]} over the scales {options['scales']}"]
    if options["flip"]:
        parts.append("each also flipped horizontally")
    if options["crf"]:
        settings = ", ".join(f"{key} {value}" for key, value in options["crf"].items())
        parts.append(f"refined by a dense CRF ({settings})")
    text = f"The graph computes {', '.join(parts)}. Its logits are log-probabilities."
    return textwrap.fill(text, 88, break_on_hyphens=False) + "\n"


def _classes(metadata):
    lines = [
        f"| {number} | {escape(each['name'])} | {', '.join(map(str, each['color']))} |"
        for number, each in enumerate(metadata["classes"])
    ]
    head = ["## Classes", "", "| number | name | color |", "| ---: | --- | --- |"]
    return "\n".join([*head, *lines, ""])


def _training(metadata):
    lines = ["## Training", ""]
    data = metadata.get("dataset")
    if data:
        splits = ", ".join(
            f"{n} in {escape(split)}" for split, n in data["num_images"].items()
        )
        images = f" (images: {splits})" if splits else ""
        name = escape(data["name"])
        lines.append(f"- Trained on {name}{images}, with the flags below.")
        lines.append(f"  Source: {link(data['source'])}")
    if "step" in metadata:
        lines.append(f"- Training step: {metadata['step']}.")
    for title, key in (("Best validation", "scores"), ("Evaluation", "evaluation")):
        scores = metadata.get(key) or {}
        values = [
            f"{name} {scores[key]:.4f}"
            for key, name in _SCORES.items()
            if scores.get(key) is not None
        ]
        if values:
            line = f"- {title}{_settings(scores)}: {', '.join(values)}."
            lines.append(textwrap.fill(line, 88, subsequent_indent="  "))
    if metadata.get("commit"):
        lines.append(f"- Exported by kerasseg at commit {metadata['commit']}.")
    if metadata.get("flagfile"):
        lines += ["- Flags of the run:", ""]
        lines += [f"      {line}" for line in metadata["flagfile"]]
    lines += ["", "metadata.json holds the complete metadata.", ""]
    return "\n".join(lines)


def _settings(scores):
    """Returns the settings of an evaluation, which may differ from the export's."""
    values = {key: scores.get(key) for key in _EVALUATION_KEYS}
    if values["scales"] == [1.0]:
        values["scales"] = None
    texts = [
        key.replace("_", " ").replace("pictures", "images")
        + ("" if value is True else f" {_setting(value)}")
        for key, value in {**values, "crf": bool(values["crf"])}.items()
        if value
    ]
    return f" ({', '.join(texts)})" if texts else ""


def _setting(value):
    return escape(value) if isinstance(value, str) else value


def _license(metadata):
    stated = metadata.get("license")
    text = (
        f"License of the weights: {escape(stated)}."
        if stated
        else "The license of the weights is not stated: ask who exported them."
    )
    weights = (metadata.get("options") or {}).get("backbone_weights")
    if weights:
        text += (
            f" The encoder was initialized with pretrained weights "
            f"({escape(weights)}), and "
            f"the data set has its own terms of use."
        )
    return f"## License\n\n{textwrap.fill(text, 88)}\n"
