"""`POST /segment`: an image in; a mask, an overlay, or JSON with statistics out."""

import asyncio
import base64
import time

import cv2
import numpy as np

from kerasseg import images
from kerasseg.images import instance_drawing, visualization
from kerasseg.serve import responses
from kerasseg.serve.admission import Budget
from kerasseg.serve.image_pipeline import ImagePipeline

OFFERED = (responses.PNG, responses.JPEG, responses.JSON)
_JPEG_QUALITY = 90


async def segment(
    pipeline: ImagePipeline, engine, data: bytes, content_type: str, *, budget: Budget
) -> responses.Response:
    """Predicts the mask of an image.

    Args:
        pipeline: An `image_pipeline.ImagePipeline`.
        engine: An `engine.Engine`.
        data: The file's bytes; its EXIF rotation is applied.
        content_type: One of `OFFERED`. PNG: the mask with a palette; JPEG: the image
            blended with the classes' colors; JSON: see `_statistics`.
        budget: An `admission.Budget`.
    """
    began = time.monotonic()
    prediction = await pipeline.predict(engine, data, upright=True, budget=budget)
    seconds = time.monotonic() - began
    encode = {
        responses.PNG: _png,
        responses.JPEG: _overlay,
        responses.JSON: _statistics,
    }[content_type]
    body = await asyncio.to_thread(encode, engine, prediction, seconds)
    headers = {
        "x-model-version": str(engine.number),
        "server-timing": f"segment;dur={1000 * seconds:.1f}",
        "vary": "accept",
    }
    if content_type == responses.JSON:
        return responses.as_json(body, headers=headers)
    return responses.Response(body, content_type, headers=headers)


def _png(engine, prediction, _):
    return images.encode_mask(prediction.mask, engine.palette, engine.rule)


def _overlay(engine, prediction, _):
    image, mask, found = prediction
    if found is None:
        multi = {"multi_label": engine.rule.multi_label}
        blended = visualization.overlay(image, mask, engine.palette, **multi)
    else:
        blended = instance_drawing.overlay_detections(
            image, found.detections, engine.class_names, engine.palette
        )
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imencode(".jpg", blended[..., ::-1], options)[1].tobytes()


def _statistics(engine, prediction, seconds):
    """Returns the share of each class, and the mask twice in base64.

    `mask_png` has class numbers with a palette; `numbers_png` is a grayscale image of
    class numbers. A network that detects objects also has `detections`, all of them,
    and `min_score`, from which they are part of the masks. Those of a multi-label
    network are gray images of the bits of the classes, and `multi_label` is true;
    `bits_png` has their lower 8 bits in red and the upper ones in green, for the page.
    """
    mask, found = prediction.mask, prediction.found
    height, width = mask.shape
    counts = _counts(engine, mask)
    statistics = {
        "version": str(engine.number),
        "width": width,
        "height": height,
        "seconds": round(seconds, 4),
        "classes": [
            {"number": i, "name": name, "color": color, "share": count / mask.size}
            for i, (name, color, count) in enumerate(
                zip(
                    engine.class_names,
                    engine.palette.tolist(),
                    counts[: len(engine.class_names)].tolist(),
                    strict=True,
                )
            )
        ],
        "mask_png": _base64(_png(engine, prediction, seconds)),
        "numbers_png": _base64(_numbers(engine, mask)),
    }
    if engine.rule.multi_label:
        bytes_of_bits = np.stack([mask & 255, mask >> 8, 0 * mask], axis=-1)
        statistics["multi_label"] = True
        statistics["bits_png"] = _base64(
            images.encode_image(bytes_of_bits.astype(np.uint8))
        )
    if found is not None:
        statistics["detections"] = found.annotations()
        statistics["min_score"] = images.MIN_SCORE
    return statistics


def _numbers(engine, mask):
    if engine.rule.multi_label:
        return images.encode_mask(mask, engine.palette, engine.rule)
    return images.encode_label(mask)


def _counts(engine, mask):
    """Returns the number of pixels of each class."""
    count = len(engine.class_names)
    if engine.rule.multi_label:
        return engine.rule.masks(mask, count).sum((0, 1))
    return np.bincount(mask.reshape(-1), minlength=count)


def _base64(data):
    return base64.b64encode(data).decode()
