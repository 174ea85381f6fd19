"""`POST /segment`: a picture in; a mask, an overlay or both with facts out."""

import asyncio
import base64
import time

import cv2
import numpy as np

from kerasseg import images
from kerasseg.images import visualization
from kerasseg.serve import replies

OFFERED = (replies.PNG, replies.JPEG, replies.JSON)
_JPEG_QUALITY = 90


async def segment(
    segmenting, engine, data: bytes, content_type: str, *, deadline: float
) -> replies.Reply:
    """Answers with what is seen in a picture.

    Args:
        segmenting: A `segmenting.Segmenting`.
        engine: An `engine.Engine`.
        data: The file's bytes; it is turned as its EXIF says.
        content_type: One of `OFFERED`. PNG: class numbers with a palette; JPEG: the
            picture under the colours of its classes; JSON: see `_facts`.
        deadline: Time of the loop.
    """
    began = time.monotonic()
    image, classes = await segmenting.classes(
        engine, data, upright=True, deadline=deadline
    )
    seconds = time.monotonic() - began
    make = {replies.PNG: _mask, replies.JPEG: _overlay, replies.JSON: _facts}
    made = await asyncio.to_thread(make[content_type], engine, image, classes, seconds)
    headers = {
        "x-model-version": str(engine.number),
        "server-timing": f"segment;dur={1000 * seconds:.1f}",
        "vary": "accept",
    }
    if content_type == replies.JSON:
        return replies.as_json(made, headers=headers)
    return replies.Reply(made, content_type, headers=headers)


def _mask(engine, _, classes, __):
    return images.encode_palette_png(classes, engine.palette)


def _overlay(engine, image, classes, _):
    shown = visualization.overlay(image, classes, engine.palette)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imencode(".jpg", shown[..., ::-1], options)[1].tobytes()


def _facts(engine, _, classes, seconds):
    """Lists what was found.

    `mask_png` shows the colours of the classes and keeps their numbers, `numbers_png`
    is grey: a value is a class number. Both are base64.
    """
    height, width = classes.shape
    counts = np.bincount(classes.reshape(-1), minlength=len(engine.class_names))
    return {
        "version": str(engine.number),
        "width": width,
        "height": height,
        "seconds": round(seconds, 4),
        "classes": [
            {"number": i, "name": name, "color": color, "share": count / classes.size}
            for i, (name, color, count) in enumerate(
                zip(
                    engine.class_names,
                    engine.palette.tolist(),
                    counts[: len(engine.class_names)].tolist(),
                    strict=True,
                )
            )
        ],
        "mask_png": _base64(_mask(engine, None, classes, None)),
        "numbers_png": _base64(images.encode_label(classes)),
    }


def _base64(data):
    return base64.b64encode(data).decode()
