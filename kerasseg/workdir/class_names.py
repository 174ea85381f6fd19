"""What a Keras model and its `.keras` files keep: names and colors of classes, images.

They are entries of the model's config. Keras ignores it, so that the file is loaded
without kerasseg, too; a model that Keras itself loads and saves again loses it.
"""

import json
import logging
import os
import zipfile
from collections.abc import Sequence

import keras
import numpy as np

from kerasseg import blocks, datasets, errors, images
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule

_KEY, _RULE_KEY = "kerasseg_classes", "kerasseg_rule"  # In the config of the model.
_IMAGES = "kerasseg_images"  # Only for images other than 8-bit RGB.
_ATTRIBUTE = "classes"  # Of the function that returns the config.


def attach(
    model: keras.Model,
    class_names: Sequence[str],
    palette: np.ndarray,
    image_kind: images.ImageKind | None = None,
    *,
    rule: ClassRule = DEFAULT_RULE,
) -> None:
    """Adds names, colors and the kind of images; those that a model has are replaced.

    Args:
        model: The model.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        image_kind: Kind of its images; None for that which it has.
        rule: How its logits become masks.
    """
    kind = image_kind or image_kind_of(model)
    more = {} if kind.is_rgb else {_IMAGES: kind.to_json()}
    if values := rule.to_json():
        more[_RULE_KEY] = values
    classes = [
        {"name": name, "color": color}
        for name, color in zip(class_names, np.asarray(palette).tolist(), strict=True)
    ]
    original = type(model).get_config

    def get_config():
        return {**original(model), _KEY: classes, **more}

    setattr(get_config, _ATTRIBUTE, (classes, rule))
    setattr(get_config, _IMAGES, kind)
    model.get_config = get_config


def image_kind_of(model: keras.Model) -> images.ImageKind:
    """Returns the kind of a model's images; 8 bits unless it was attached."""
    attached = getattr(model.get_config, _IMAGES, None)
    if attached is not None:
        return attached
    layers = getattr(model, "layers", [])
    found = [x.channels for x in layers if isinstance(x, blocks.Normalize)]
    return images.ImageKind(found[0]) if found else images.RGB


def of_model(model: keras.Model) -> tuple[tuple[str, ...], np.ndarray] | None:
    """Returns names and colors, uint8 `[num_classes, 3]`, of a model, or None."""
    classes, _ = getattr(model.get_config, _ATTRIBUTE, (None, None))
    if classes is None:
        return None
    colors = np.array([each["color"] for each in classes], np.uint8)
    return tuple(each["name"] for each in classes), colors


def rule_of(model: keras.Model) -> ClassRule:
    """Returns how the logits of a model become masks, as it was attached."""
    _, rule = getattr(model.get_config, _ATTRIBUTE, (None, DEFAULT_RULE))
    return rule


def restore(model: keras.Model, path: str | os.PathLike) -> None:
    """Attaches the names and colors that a `.keras` file holds, if any.

    Args:
        model: The model of the file.
        path: The file. A warning is logged if its names or colors are damaged.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json")).get("config", {})
    config = config if isinstance(config, dict) else {}
    classes = config.get(_KEY)
    if classes is None:
        return
    no_more = {"name": "", "source": "", "num_images": {}, "source_ignore": []}
    try:
        spec = datasets.DatasetSpec.from_json({**no_more, "classes": classes})
        kind = images.ImageKind.from_json(config.get(_IMAGES, {}))
        rule = ClassRule.from_json(config.get(_RULE_KEY, {}))
    except errors.UserError as error:
        logging.warning("%s: its class names are not used: %s.", path, error)
        return
    attach(model, spec.class_names, spec.palette, kind, rule=rule)
