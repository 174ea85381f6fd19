"""What a person who finds an exported model must know, as text."""

import textwrap

_CALL = """\
    import tensorflow as tf

    model = tf.saved_model.load("{path}")
    mask = model.signatures["serving_default"](
        image_bytes=tf.constant([open("picture.jpg", "rb").read()])
    )["mask_png_bytes"][0].numpy()
    open("mask.png", "wb").write(mask)
"""

_CARD = """\
# {title}

A semantic-segmentation network as a TensorFlow SavedModel. It needs TensorFlow, or
TensorFlow Serving, and nothing else:

{call}
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

Classes, from 0 (names and colours are in assets/classes.json):
{classes}
"""


def how_to_call(path) -> str:
    """Shows the Python code that makes a mask of a picture."""
    return _CALL.format(path=path)


def card(title, class_names, max_pixels) -> str:
    """Describes an exported version.

    Args:
        title: Name of the network.
        class_names: In the order of the class numbers.
        max_pixels: Larger pictures are refused.
    """
    named = ", ".join(f"{i} {name}" for i, name in enumerate(class_names))
    return _CARD.format(
        title=title,
        call=how_to_call("PATH/OF/THIS/FOLDER"),
        num_classes=len(class_names),
        max_pixels=max_pixels,
        classes=textwrap.fill(named, 88),
    )
