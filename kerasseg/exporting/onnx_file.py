"""A network as an ONNX file."""

import contextlib
import logging
import os
import warnings

import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.exporting import signatures

_OPSET = 15  # The newest that tf2onnx writes by itself; of the year 2021.


def convert(model) -> bytes:
    """Writes a network in ONNX's own operations.

    It takes `image`, float32 `[batch, height, width, 3]`, of any size, to `logits`.

    Args:
        model: Takes float32 pictures, RGB, 0..255, to logits.

    Returns:
        The file.

    Raises:
        ImportError: tf2onnx is not installed.
        ValueError: The network holds an operation that ONNX lacks.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise errors.MissingPackageError(
            f"ONNX needs tf2onnx, which does not import here ({error}): pip install "
            f"'kerasseg[onnx]'"
        ) from error
    variables = signatures.large_variables(model, signatures.LARGE)
    large = {f"weight_{i}": variable for i, variable in enumerate(variables)}
    logits = signatures.freeze(model, large.values())
    function = tf.function(lambda *inputs: {"logits": logits(*inputs)}, autograph=False)
    picture = tf.TensorSpec([None, None, None, 3], tf.float32, name="image")
    weights = [tf.TensorSpec(v.shape, v.dtype, name) for name, v in large.items()]
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # It is told below.
    with warnings.catch_warnings(), _without_copies():
        warnings.simplefilter("ignore")
        made, _ = tf2onnx.convert.from_function(
            function,
            [picture, *weights],
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_write_erfc, [])},
        )
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    missing = {node.op_type for node in made.graph.node} - known
    if missing:
        raise errors.UserError(
            f"{model.name} cannot be written as ONNX: it has no "
            f"{', '.join(sorted(missing))}. Nothing was exported; leave onnx out of "
            f"the formats."
        )
    _fill_in(made.graph, {name: v.numpy() for name, v in large.items()})
    _pad_explicitly(made.graph)
    _keep_zeros(made.graph)
    return made.SerializeToString()


@contextlib.contextmanager
def _without_copies():
    """Keeps tf2onnx from copying the whole graph again and again, to undo errors."""
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
    """Writes `1 - erf(x)`, of which GELU is made, for the operation that ONNX lacks."""
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


def _fill_in(graph, values):
    """Makes inputs constants, already in the order in which convolutions take them."""
    from onnx import helper, numpy_helper

    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Transpose" and node.input[0] in values:
            value = np.ascontiguousarray(values[node.input[0]].transpose(given["perm"]))
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            graph.node.append(node)
    used = {name for node in graph.node for name in node.input}
    for name in used & values.keys():
        graph.initializer.append(numpy_helper.from_array(values[name], name))
    inputs = [each for each in graph.input if each.name not in values]
    del graph.input[:]
    graph.input.extend(inputs)


def _pad_explicitly(graph):
    """Writes the padding of convolutions of stride 1 as numbers.

    tf2onnx leaves it to the runtime where the size is not known, and onnxruntime pads
    no dilated convolution by itself. With stride 1 it is the same at every size.
    """
    from onnx import helper

    kernels = {tensor.name: list(tensor.dims)[2:] for tensor in graph.initializer}
    for node in graph.node:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        same = given.get("auto_pad") == b"SAME_UPPER"
        if node.op_type != "Conv" or not same or max(given.get("strides", [1])) > 1:
            continue
        kernel = given.get("kernel_shape") or kernels[node.input[1]]
        rates = given.get("dilations", [1] * len(kernel))
        totals = [rate * (k - 1) for rate, k in zip(rates, kernel, strict=True)]
        before = [total // 2 for total in totals]
        after = [total - total // 2 for total in totals]
        kept = [
            each for each in node.attribute if each.name not in ("auto_pad", "pads")
        ]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", before + after)])


def _keep_zeros(graph):
    """Keeps onnxruntime from taking zeros before a maximum into it.

    There they count for nothing, while here they are above what is negative. A maximum
    that tells its place, too, is left alone.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        pad = makers.get(node.input[0]) if node.op_type == "MaxPool" else None
        if pad is None or pad.op_type != "Pad" or len(node.output) > 1:
            continue
        before = makers.get(pad.input[0])
        if before is None or before.op_type not in ("Clip", "Relu"):
            node.output.append(f"{node.output[0]}/places")
