"""The SavedModel format, for TensorFlow Serving and plain TensorFlow."""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from kerasseg import errors, images, runtime
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.exporting import formats
from kerasseg.exporting.samples import synthetic_sample

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
sizes; the output `mask_png_bytes`, string [N], holds 8-bit grayscale PNG files of the
same sizes, whose pixel values are class numbers.

`tensor`: the input is `image`, float32 [N, height, width, 3], RGB from 0 to 255, of any
size; the outputs are `logits` and `probabilities`, float32
[N, height, width, {num_classes}], and `classes`, int32 [N, height, width].

- EXIF is not applied: a rotated image is segmented as it is stored.
- Of 16-bit images the upper 8 bits are used; alpha is dropped; grayscale and CMYK are
  converted to RGB.
- Images of more than {max_pixels:,} pixels and other formats are rejected.
- The network computes in float32. Batch normalization is folded into convolutions.
"""


def write(source: formats.Source, path: str) -> None:
    """Writes both signatures, the classes, and the requests that warm up a server."""
    from kerasseg.exporting import signatures, warm_up

    functions = signatures.build(source.folded, source.options)
    save(functions, path, source.class_names, source.palette)
    warm_up.write(path, _requests(source.samples))


def load(path: str) -> formats.Loaded:
    """Loads a SavedModel with plain TensorFlow."""
    runtime.start_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # Signatures alone do not hold the variables.

    def tensor(images):
        return loaded.signatures["tensor"](image=tf.constant(images))

    def masks(files):
        serving = loaded.signatures["serving_default"]
        outputs = serving(image_bytes=tf.constant(files))
        return outputs["mask_png_bytes"].numpy()

    return formats.Loaded(tensor, masks)


def save(
    functions: Mapping,
    folder: str | os.PathLike,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> None:
    """Writes concrete functions as signatures, and the classes as an asset.

    Args:
        functions: Concrete functions by the name of the signature. All use the same
            variables.
        folder: Folder of the SavedModel.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.

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


def _requests(samples):
    """Returns synthetic requests, one of the size of the data set's images."""
    small = synthetic_sample()
    sizes = [images.probe(sample.file) for sample in samples[:1]]
    large = [synthetic_sample(size.height, size.width) for size in sizes]
    requests = [
        ("serving_default", {"image_bytes": [sample.file]})
        for sample in [*large, small]
    ]
    image = images.read_image(small.file)[np.newaxis].astype(np.float32)
    return [*requests, ("tensor", {"image": image})]


FORMATS = [
    formats.Format(
        name="saved_model",
        file="",
        write=write,
        load=load,
        usage=_USAGE,
        tolerance=1e-4,  # Another order of sums changes float32 logits by 1e-6 to 1e-5.
        description=_DESCRIPTION,
    )
]
