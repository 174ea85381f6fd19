"""Ground truth and detections of images without a network."""

import json

import keras
import numpy as np

from kerasseg import datasets, images, models
from kerasseg.evaluation import DetectedImage
from kerasseg.records import encode_masks, from_rles

NAMES = ("background", "car", "person", "dog")


def spec(names=NAMES):
    colors = [(60 * i % 256, 200 - 40 * i, 90 + 30 * i) for i in range(len(names))]
    return datasets.DatasetSpec(
        name="things",
        source="tests.support.detected",
        num_images={},
        classes=dict(zip(names, colors, strict=True)),
    )


def small_network(name="mask_rcnn"):
    """Builds a small network of `NAMES` that detects something, in part surely."""
    keras.utils.set_random_seed(0)
    options = models.metadata(name).test_options
    model = models.build_model(name, len(NAMES) - 1, **options)
    for layer, factor in (("box_scores", 60.0), ("mask_scores", 5.0)):
        head = model.get_layer("mask_head" if "mask" in layer else "box_head")
        kernel = head.get_layer(layer).kernel
        kernel.assign(factor * kernel)
    return model


def noise(height=65, width=97, seed=1):
    """An image of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class Split:
    """Name, classes and length of a split."""

    name = "val"

    def __init__(self, count, names=NAMES):
        self._count, self.spec = count, spec(names)

    def __len__(self):
        return self._count


def rectangle(size, box):
    """The mask of a rectangle, y1, x1, y2, x2."""
    mask = np.zeros(size, bool)
    y1, x1, y2, x2 = (int(value) for value in box)
    mask[y1:y2, x1:x2] = True
    return mask


def objects(size, instances):
    """Ground truth: (class number, box or mask, is_crowd) of each instance."""
    masks = [
        mask if isinstance(mask, np.ndarray) else rectangle(size, mask)
        for _, mask, *_ in instances
    ]
    crowds = [bool(rest and rest[0]) for _, _, *rest in instances]
    return from_rles(encode_masks(masks, [i[0] for i in instances], crowds), size)


def detections(size, found):
    """Detections: (class number, score, box or mask) of each."""
    masks = np.zeros((len(found), *size), bool)
    boxes = np.zeros((len(found), 4), np.float32)
    for i, (_, _, mask) in enumerate(found):
        masks[i] = mask if isinstance(mask, np.ndarray) else rectangle(size, mask)
        boxes[i] = box_of(masks[i]) if isinstance(mask, np.ndarray) else mask
    return images.Detections(
        boxes=boxes,
        scores=np.array([score for _, score, _ in found], np.float32),
        classes=np.array([number for number, _, _ in found], np.int32),
        masks=masks,
    )


def box_of(mask):
    y, x = np.nonzero(mask)
    return (y[0], x.min(), y[-1] + 1, x.max() + 1) if len(y) else (0, 0, 0, 0)


def random_images(seed, count, *, num_classes=3, size=(40, 56), crowds=True):
    """Images with noisy detections: shifted, doubled, missed, of another class."""
    rng = np.random.default_rng(seed)
    return [
        _random_image(rng, index, num_classes, size, crowds) for index in range(count)
    ]


def _random_image(rng, index, num_classes, size, crowds):
    instances, found = [], []
    for _ in range(rng.integers(0, 6)):
        y, x = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        box = (
            y,
            x,
            min(y + rng.integers(2, 30), size[0]),
            min(x + rng.integers(2, 40), size[1]),
        )
        number = int(rng.integers(1, num_classes + 1))
        instances.append((number, box, crowds and rng.random() < 0.15))
        for _ in range(rng.integers(0, 3)):
            moved = np.clip(np.array(box) + rng.integers(-3, 4, 4), 0, [*size, *size])
            moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
            if rng.random() < 0.2:
                number = int(rng.integers(1, num_classes + 1))
            found.append((number, rng.random(), rectangle(size, moved)))
    found.sort(key=lambda each: -each[1])
    own = objects(size, instances)
    label = np.zeros(size, np.uint8)
    for i in range(len(own)):
        label[own.mask(i)] = 255 if own.is_crowd[i] else own.classes[i]
    return DetectedImage(
        index, f"image{index}.jpg", own, detections(size, found), label
    )


def write_coco(folder, detected, names=NAMES):
    """Writes ground truth and results as JSON files of COCO; returns their paths."""
    from pycocotools import mask as coco_mask

    def runs(mask):
        encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        return {**encoded, "counts": encoded["counts"].decode()}

    annotations, results = [], []
    for each in detected:
        for i in range(len(each.objects)):
            mask = each.objects.mask(i)
            y1, x1, y2, x2 = map(int, box_of(mask))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": each.index + 1,
                    "category_id": int(each.objects.classes[i]),
                    "segmentation": runs(mask),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(mask.sum()),
                    "iscrowd": int(each.objects.is_crowd[i]),
                }
            )
        for i in range(len(each.detections)):
            y1, x1, y2, x2 = map(float, each.detections.boxes[i])
            results.append(
                {
                    "image_id": each.index + 1,
                    "category_id": int(each.detections.classes[i]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": runs(each.detections.masks[i]),
                    "score": float(each.detections.scores[i]),
                }
            )
    content = {
        "images": [
            {
                "id": each.index + 1,
                "file_name": each.name,
                "height": each.objects.maps.shape[1],
                "width": each.objects.maps.shape[2],
            }
            for each in detected
        ],
        "categories": [{"id": i, "name": names[i]} for i in range(1, len(names))],
        "annotations": annotations,
    }
    paths = folder / "annotations.json", folder / "results.json"
    for path, value in zip(paths, (content, results), strict=True):
        path.write_text(json.dumps(value))
    return paths
