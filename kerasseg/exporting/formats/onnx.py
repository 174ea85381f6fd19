"""The ONNX format."""

import contextlib
import logging
import os
import pathlib
import warnings

import numpy as np

from kerasseg import errors
from kerasseg.exporting import formats

_OPSET = 15  # The latest version that tf2onnx writes by default; of 2021.
_USAGE = """\
    import cv2
    import onnxruntime

    image = cv2.imread("image.jpg", cv2.IMREAD_COLOR_RGB)[None].astype("float32")
    session = onnxruntime.InferenceSession("{path}/{file}")
    mask = session.run(["logits"], {{"image": image}})[0][0]{to_mask}
"""
_DETECTION_USAGE = """\
    import cv2
    import onnxruntime

    image = cv2.imread("image.jpg", cv2.IMREAD_COLOR_RGB)[None].astype("float32")
    session = onnxruntime.InferenceSession("{path}/{file}")
    names = [each.name for each in session.get_outputs()]
    found = dict(zip(names, session.run(names, {{"image": image}})))
"""
_DETECTION_DESCRIPTION = """\
The ONNX file takes `image`, float32 [N, height, width, 3], RGB from 0 to 255, of any
size, and returns `boxes`, float32 [N, {num_detections}, 4] (y1, x1, y2, x2 in pixels),
`scores`, float32, `classes`, int32, and `valid`, bool, [N, {num_detections}], and

- `mask_probabilities`, float32 [N, {num_detections}, {cells}, {cells}], in the boxes
- {full_masks}
"""


def write(source: formats.Source, path: str) -> None:
    """Converts the folded model.

    Raises:
        errors.MissingPackageError: tf2onnx is not installed.
        errors.UserError: The network has an operation that ONNX lacks.
    """
    masks = source.detection.masks if source.detection is not None else "boxes"
    pathlib.Path(path).write_bytes(convert(source.folded, masks))


def load(path: str) -> formats.Loaded:
    """Loads a file with onnxruntime, on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise formats.missing_package("onnx", path, error) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]

    def outputs(images):
        return dict(zip(names, session.run(names, {"image": images}), strict=True))

    return formats.Loaded(outputs)


def convert(model, masks: str = "boxes") -> bytes:
    """Converts a model to ONNX operations.

    The file's input is `image`, float32 `[batch, height, width, channels]`, of any
    size; its outputs are those of `signatures.named`, and "masks" if they are "full".

    Args:
        model: Model of float32 images, RGB from 0 to 255, to logits or detections.
        masks: One of `options.DETECTION_MASKS`, for a model that detects objects.

    Raises:
        errors.MissingPackageError: tf2onnx is not installed.
        errors.UserError: The network has an operation that ONNX lacks.
    """
    import tensorflow as tf

    from kerasseg.exporting import instance_signatures, signatures

    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise formats.missing_package("onnx", "tf2onnx", error) from error
    variables = signatures.large_variables(model, signatures.LARGE)
    large = {f"weight_{i}": variable for i, variable in enumerate(variables)}
    network = signatures.freeze(model, large.values())

    def outputs(image, *weights):
        found = signatures.named(network(image, *weights))
        return instance_signatures.with_masks(image, found, masks)

    function = tf.function(outputs, autograph=False)
    image = tf.TensorSpec(signatures.image_shape(model), tf.float32, name="image")
    weights = [tf.TensorSpec(v.shape, v.dtype, name) for name, v in large.items()]
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # Reported below.
    with warnings.catch_warnings(), _without_copies():
        warnings.simplefilter("ignore")
        converted, _ = tf2onnx.convert.from_function(
            function,
            [image, *weights],
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_write_erfc, [])},
        )
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    missing = {node.op_type for node in converted.graph.node} - known
    if missing:
        raise errors.UserError(
            f"{model.name} cannot be converted to ONNX, which has no "
            f"{', '.join(sorted(missing))}. Nothing was exported; leave onnx out of "
            f"`format`."
        )
    _insert_weights(converted.graph, {name: v.numpy() for name, v in large.items()})
    _pad_explicitly(converted.graph)
    _keep_zeros(converted.graph)
    return converted.SerializeToString()


@contextlib.contextmanager
def _without_copies():
    """Keeps tf2onnx from copying the graph before each step, to recover from errors."""
    name = "TF2ONNX_CATCH_ERRORS"
    before = os.environ.get(name)
    os.environ[name] = "FALSE"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _write_erfc(graph, node, name, _):
    """Replaces Erfc, a part of GELU that ONNX lacks, by `1 - erf(x)`."""
    shape, dtype = graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    one = graph.make_const(f"{name}/one", np.array(1, np.float32))
    erf = graph.make_node("Erf", [node.input[0]], shapes=[shape], dtypes=[dtype])
    graph.remove_node(name)
    graph.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        outputs=node.output,
        name=name,
        shapes=[shape],
        dtypes=[dtype],
    )


def _insert_weights(graph, values):
    """Replaces inputs by constants, transposed as the convolutions need them."""
    from onnx import numpy_helper

    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Transpose" and node.input[0] in values:
            order = _attributes(node)["perm"]
            value = np.ascontiguousarray(values[node.input[0]].transpose(order))
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            graph.node.append(node)
    used = {name for node in graph.node for name in node.input}
    for name in used & values.keys():
        graph.initializer.append(numpy_helper.from_array(values[name], name))
    inputs = [each for each in graph.input if each.name not in values]
    del graph.input[:]
    graph.input.extend(inputs)


def _attributes(node):
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _pad_explicitly(graph):
    """Writes the padding of convolutions with stride 1 as numbers.

    tf2onnx leaves it to the runtime if the size is unknown, and onnxruntime does not
    pad dilated convolutions automatically. With stride 1 it is the same at every size.
    """
    from onnx import helper

    kernels = {tensor.name: list(tensor.dims)[2:] for tensor in graph.initializer}
    for node in graph.node:
        attributes = _attributes(node)
        same = attributes.get("auto_pad") == b"SAME_UPPER"
        strides = attributes.get("strides", [1])
        if node.op_type != "Conv" or not same or max(strides) > 1:
            continue
        kernel = attributes.get("kernel_shape") or kernels[node.input[1]]
        rates = attributes.get("dilations", [1] * len(kernel))
        totals = [rate * (k - 1) for rate, k in zip(rates, kernel, strict=True)]
        before = [total // 2 for total in totals]
        after = [total - total // 2 for total in totals]
        kept = [
            each for each in node.attribute if each.name not in ("auto_pad", "pads")
        ]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", before + after)])


def _keep_zeros(graph):
    """Keeps onnxruntime from fusing zero padding into a max pooling.

    The fused pooling ignores the padding, while zeros are larger than negative values.
    The additional output prevents the fusion; a pooling that has one is left alone.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        pad = makers.get(node.input[0]) if node.op_type == "MaxPool" else None
        if pad is None or pad.op_type != "Pad" or len(node.output) > 1:
            continue
        before = makers.get(pad.input[0])
        if before is None or before.op_type not in ("Clip", "Relu"):
            node.output.append(f"{node.output[0]}/places")


FORMATS = [
    formats.Format(
        name="onnx",
        file="model.onnx",
        write=write,
        load=load,
        usage=_USAGE,
        detection_usage=_DETECTION_USAGE,
        detection_description=_DETECTION_DESCRIPTION,
        tolerance=1e-4,
        extra="onnx",
        packages=("onnx", "tf2onnx", "onnxruntime"),
    )
]
