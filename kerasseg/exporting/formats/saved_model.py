"""The SavedModel format, for TensorFlow Serving and plain TensorFlow."""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from kerasseg import errors, images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.exporting import formats
from kerasseg.exporting.samples import synthetic_sample
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.system import runtime

_CLASSES_FILE = "classes.json"
_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_USAGE = """\
    import tensorflow as tf

    model = tf.saved_model.load("{path}")
    mask = model.signatures["serving_default"](
        image_bytes=tf.constant([open("image.jpg", "rb").read()])
    )["mask_png_bytes"][0].numpy()
    open("mask.png", "wb").write(mask)
"""
_DESCRIPTION = """\
`serving_default`: the input `image_bytes`, string [N], holds JPEG or PNG files of any
sizes; the output `mask_png_bytes`, string [N], holds {mask_bits}-bit grayscale PNG
files of the same sizes, whose pixel values are {mask_pixels}.

`tensor`: the input is `image`, float32 [N, height, width, 3], RGB from 0 to 255, of any
size; the outputs are `logits`, float32 [N, height, width, {num_logits}],
`probabilities`, float32 [N, height, width, {num_classes}], and `classes`, int32
[N, height, width].

- EXIF is not applied: a rotated image is segmented as it is stored.
- Of 16-bit images the upper 8 bits are used; alpha is dropped; grayscale and CMYK are
  converted to RGB.
- Images of more than {max_pixels:,} pixels and other formats are rejected.
- The network computes in float32. Batch normalization is folded into convolutions.
"""
_DETECTION_USAGE = """\
    import tensorflow as tf

    model = tf.saved_model.load("{path}")
    found = model.signatures["serving_default"](
        image_bytes=tf.constant([open("image.jpg", "rb").read()])
    )
    open("mask.png", "wb").write(found["mask_png_bytes"][0].numpy())
    for i in range(int(tf.reduce_sum(tf.cast(found["valid"][0], tf.int32)))):
        print(*(found[key][0, i].numpy() for key in ("classes", "scores", "boxes")))
"""
_DETECTION_DESCRIPTION = """\
`tensor`: the input is `image`, float32 [N, height, width, 3], RGB from 0 to 255, of any
size. The outputs are the detected objects of each image, by descending score:

- `boxes`, float32 [N, {num_detections}, 4]: y1, x1, y2, x2 in pixels, where pixel i
  covers [i, i + 1)
- `scores`, float32 [N, {num_detections}]
- `classes`, int32 [N, {num_detections}], from 1; class 0 is the background
- `valid`, bool [N, {num_detections}]: false for padding, where the others are 0
- `mask_probabilities`, float32 [N, {num_detections}, {cells}, {cells}]: the probability
  that a cell of the box belongs to the object
- {full_masks}

`serving_default`: the input `image_bytes`, string [N], holds JPEG or PNG files of any
sizes. The outputs are `boxes`, `scores`, `classes` and `valid` as above, and of each
file, where the best object wins and only scores of at least {min_score} count:

- `mask_png_bytes`, string [N]: 8-bit grayscale PNG files of the same sizes, whose pixel
  values are class numbers
- `instance_png_bytes`, string [N]: 16-bit grayscale PNG files, whose pixel values are
  the index of the detection plus 1, and 0 for none

Files are decoded as follows:

- EXIF is not applied: a rotated image is segmented as it is stored.
- Of 16-bit images the upper 8 bits are used; alpha is dropped; grayscale and CMYK are
  converted to RGB.
- Images of more than {max_pixels:,} pixels and other formats are rejected.

The network computes in float32. Batch normalization is folded into convolutions.
"""


def write(source: formats.Source, path: str) -> None:
    """Writes both signatures, the classes, and the requests that warm up a server."""
    from kerasseg.exporting import instance_signatures, signatures, warm_up

    if source.detection is not None:
        functions = instance_signatures.build(source.folded, source.detection.masks)
    else:
        functions = signatures.build(
            source.folded,
            source.options,
            source.rule,
            reads_files=source.image_kind.is_rgb,
        )
    kind = source.image_kind
    classes = source.class_names, source.palette
    save(functions, path, *classes, rule=source.rule, image_kind=kind)
    warm_up.write(path, _requests(source.samples, kind))


def load(path: str) -> formats.Loaded:
    """Loads a SavedModel with plain TensorFlow."""
    runtime.start_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # Signatures alone do not hold the variables.

    def tensor(images):
        return loaded.signatures["tensor"](image=tf.constant(images))

    def serving(files):
        function = loaded.signatures["serving_default"]
        outputs = function(image_bytes=tf.constant(files))
        return {name: value.numpy() for name, value in outputs.items()}

    _, arguments = loaded.signatures["serving_default"].structured_input_signature
    return formats.Loaded(tensor, serving if "image_bytes" in arguments else None)


def save(
    functions: Mapping,
    folder: str | os.PathLike,
    class_names: Sequence[str],
    palette: np.ndarray,
    *,
    rule: ClassRule = DEFAULT_RULE,
    image_kind: images.ImageKind = images.RGB,
) -> None:
    """Writes concrete functions as signatures, and the classes as an asset.

    Args:
        functions: Concrete functions by the name of the signature. All use the same
            variables.
        folder: Folder of the SavedModel.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        rule: How the logits become masks.
        image_kind: Channels and type of the images.

    Raises:
        errors.UserError: A function calls Python.
        OSError: The disk is full, or TensorFlow fails for another reason.
    """
    import tensorflow as tf

    _check_operations(functions)
    classes = {
        "class_names": list(class_names),
        "palette": np.asarray(palette).tolist(),
        "ignore_label": IGNORE_LABEL,
        **rule.to_json(),
        **({} if image_kind.is_rgb else {"images": image_kind.to_json()}),
    }
    module = tf.Module()
    module.huge = list(next(iter(functions.values())).variables)
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary, _CLASSES_FILE)
        path.write_text(json.dumps(classes, indent=2) + "\n", "utf-8")
        module.classes = tf.saved_model.Asset(os.fspath(path))
        tf.saved_model.save(module, folder, signatures=functions)


def _check_operations(functions):
    from kerasseg.exporting import signatures

    names = set().union(*map(signatures.operations, functions.values()))
    python = sorted(names & _PYTHON_OPERATIONS)
    if python:
        raise errors.UserError(
            f"The model calls Python while it runs ({python}), which a server cannot. "
            f"Write that layer with keras.ops."
        )


def _requests(samples, kind):
    """Returns synthetic requests, one of the size of the data set's images."""
    if not kind.is_rgb:
        sides = [images.npy_size(sample.file) for sample in samples[:1]]
        drawn = [synthetic_sample(*each, kind=kind) for each in [*sides, (33, 47)]]
        return [("tensor", {"image": _as_batch(each.file)}) for each in drawn]
    small = synthetic_sample()
    sizes = [images.probe(sample.file) for sample in samples[:1]]
    large = [synthetic_sample(size.height, size.width) for size in sizes]
    requests = [
        ("serving_default", {"image_bytes": [sample.file]})
        for sample in [*large, small]
    ]
    image = images.read_image(small.file)[np.newaxis].astype(np.float32)
    return [*requests, ("tensor", {"image": image})]


def _as_batch(file):
    return images.decode_npy(file)[np.newaxis].astype(np.float32)


FORMATS = [
    formats.Format(
        name="saved_model",
        file="",
        write=write,
        load=load,
        usage=_USAGE,
        tolerance=1e-4,  # Another order of sums changes float32 logits by 1e-6 to 1e-5.
        description=_DESCRIPTION,
        detection_usage=_DETECTION_USAGE,
        detection_description=_DETECTION_DESCRIPTION,
    )
]
