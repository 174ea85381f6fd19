"""What a person who finds an exported model must know, as text."""

import textwrap

_CALLS = {
    "saved_model": """\
    import tensorflow as tf

    model = tf.saved_model.load("{path}")
    mask = model.signatures["serving_default"](
        image_bytes=tf.constant([open("picture.jpg", "rb").read()])
    )["mask_png_bytes"][0].numpy()
    open("mask.png", "wb").write(mask)
""",
    "tflite": """\
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    image = cv2.imread("picture.jpg", cv2.IMREAD_COLOR_RGB)[None].astype("float32")
    run = Interpreter("{path}/{file}").get_signature_runner()
    mask = run(image=image)["logits"][0].argmax(-1)
""",
    "onnx": """\
    import cv2
    import onnxruntime

    image = cv2.imread("picture.jpg", cv2.IMREAD_COLOR_RGB)[None].astype("float32")
    session = onnxruntime.InferenceSession("{path}/{file}")
    mask = session.run(["logits"], {{"image": image}})[0][0].argmax(-1)
""",
    "keras": """\
    import kerasseg

    mask = kerasseg.load("{path}/{file}").predict("picture.jpg")
""",
}
_SAVED_MODEL = """\
`serving_default`: `image_bytes`, string [N], JPEG or PNG files of any sizes, to
`mask_png_bytes`, string [N], PNG files of the same sizes, 8-bit grey: a pixel's value
is its class number.

`tensor`: `image`, float32 [N, height, width, 3], RGB from 0 to 255, any size, to
`logits` and `probabilities`, float32 [N, height, width, {num_classes}], and `classes`,
int32 [N, height, width].

- EXIF is not applied: a picture that is stored rotated is segmented as it is stored.
- Of 16 bits the upper 8 count; alpha is dropped; grey and CMYK become RGB.
- Pictures of more than {max_pixels:,} pixels and other formats are refused.
- The network computes in float32. Batch normalisation is folded into convolutions.
"""
_EVALUATED = (  # Of what `kerasseg.evaluate` writes.
    *("split", "pictures", "step", "output_stride", "scales", "flip", "tile_size"),
    *("crf", "superpixels", "predictions_dir"),
)
_FILES = """\
The files take `image`, float32 [1, height, width, 3], RGB from 0 to 255, any size, to
`logits`, float32 [1, height, width, {num_classes}], whatever the numbers inside.
"""


def how_to_call(path, name="saved_model", file="") -> str:
    """Shows the Python code that makes a mask of a picture.

    Args:
        path: Of the version.
        name: A key of `formats.FORMATS`.
        file: Of that format.
    """
    return _CALLS[name.partition("_")[0] if "tflite" in name else name].format(
        path=path, file=file
    )


def card(title, metadata, max_pixels) -> str:
    """Describes an exported version.

    Args:
        title: Name of the network.
        metadata: What metadata.json holds.
        max_pixels: Larger pictures are refused.
    """
    parts = [
        f"# {title}\n\nA semantic-segmentation network, exported by kerasseg.\n",
        _formats(metadata),
        _usage(metadata, max_pixels),
        _classes(metadata),
        _training(metadata),
        _license(metadata),
    ]
    return "\n".join(part for part in parts if part)


def _formats(metadata):
    lines = [
        "| format | file | bytes | difference | mean IoU | pictures |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, found in metadata["formats"].items():
        score = "-"
        if "mean_iou" in found:
            score = f"{found['mean_iou']:.4f} ({found['mean_iou_of_the_model']:.4f})"
        lines.append(
            f"| {name} | {found['file']} | {found['bytes']:,} | "
            f"{found['largest_difference']:.1e} | {score} | {found['pictures']} |"
        )
    text = textwrap.fill(
        "Each was loaded again and compared with the network that was evaluated: the "
        "difference is a share of the largest logit; in parentheses stands the mean "
        "IoU of that network on the same pictures.",
        88,
    )
    return "\n".join([*lines, "", text, ""])


def _usage(metadata, max_pixels):
    facts = {"num_classes": len(metadata["classes"]), "max_pixels": max_pixels}
    parts, shown = ["## How to call it\n"], set()
    for name, found in metadata["formats"].items():
        code = how_to_call("PATH/OF/THIS/FOLDER", name, found["file"])
        kind = name.partition("_")[0]
        if kind not in shown:
            parts.append(code)
        shown.add(kind)
        if name == "saved_model":
            parts.append(_SAVED_MODEL.format(**facts))
            parts.append(_views(metadata.get("views")))
    if set(metadata["formats"]) - {"saved_model"}:
        parts.append(_FILES.format(**facts))
    return "\n".join(part for part in parts if part)


def _views(views):
    if not views:
        return ""
    parts = [f"the {views['fusion']} over the scales {views['scales']}"]
    if views["flip"]:
        parts.append("each mirrored too")
    if views["crf"]:
        settings = ", ".join(f"{key} {value}" for key, value in views["crf"].items())
        parts.append(f"refined by a dense CRF ({settings})")
    text = f"The graph gives {', '.join(parts)}. Its logits are log-probabilities."
    return textwrap.fill(text, 88, break_on_hyphens=False) + "\n"


def _classes(metadata):
    lines = [
        f"| {number} | {entry['name']} | {', '.join(map(str, entry['color']))} |"
        for number, entry in enumerate(metadata["classes"])
    ]
    head = ["## Classes", "", "| number | name | colour |", "| ---: | --- | --- |"]
    return "\n".join([*head, *lines, ""])


def _training(metadata):
    lines = ["## Where it comes from", ""]
    data = metadata.get("dataset")
    if data:
        splits = ", ".join(f"{x} has {n}" for x, n in data["num_images"].items())
        of = f" ({splits} pictures)" if splits else ""
        lines.append(f"- Trained on {data['name']}, by the flags below{of}.")
        lines.append(f"  Source: {data['source']}")
    if "step" in metadata:
        lines.append(f"- Step {metadata['step']} of the training.")
    for what, key in (("Best validation", "scores"), ("Evaluation", "evaluation")):
        found = metadata.get(key) or {}
        if found.get("mean_iou") is not None:
            line = f"- {what}{_how(found)}: mean IoU {found['mean_iou']:.4f}."
            lines.append(textwrap.fill(line, 88, subsequent_indent="  "))
    if metadata.get("commit"):
        lines.append(f"- Exported by kerasseg at commit {metadata['commit']}.")
    if metadata.get("flagfile"):
        lines += ["- Flags of the run:", ""]
        lines += [f"      {line}" for line in metadata["flagfile"]]
    lines += ["", "metadata.json holds all of it.", ""]
    return "\n".join(lines)


def _how(evaluation):
    """Tells how a score was found, which need not be how the export looks."""
    facts = {key: evaluation.get(key) for key in _EVALUATED}
    if facts["scales"] == [1.0]:
        facts["scales"] = None
    told = [
        key.replace("_", " ") + ("" if value is True else f" {value}")
        for key, value in {**facts, "crf": bool(facts["crf"])}.items()
        if value
    ]
    return f" ({', '.join(told)})" if told else ""


def _license(metadata):
    stated = metadata.get("license")
    text = (
        f"Licence of the weights: {stated}."
        if stated
        else "Nobody stated a licence of the weights: ask who exported them."
    )
    start = (metadata.get("options") or {}).get("backbone_weights")
    if start:
        text += (
            f" The encoder started from pretrained weights ({start}), and the pictures "
            f"have terms of their own."
        )
    return f"## Licence\n\n{textwrap.fill(text, 88)}\n"
