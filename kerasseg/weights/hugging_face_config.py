"""What the config.json of a network of Hugging Face says of classes and images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasseg import blocks, datasets, errors
from kerasseg.blocks import preprocessing

_KNOWN_NAMES = 0.9  # Part of the names that must be those of a data set.


def classes(config: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """Returns `class_names` and `palette` of a `Network`; both can be missing.

    Args:
        config: The content of a config.json.
        num_classes: Number of classes of the network.
    """
    labels = {int(k): str(v).strip() for k, v in config.get("id2label", {}).items()}
    names = [labels.get(i, "") for i in range(num_classes)]
    if len(labels) != num_classes or names[0] in ("", "LABEL_0") or not all(names):
        return {}
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        if spec.num_classes == num_classes and _are_similar(spec.class_names, names):
            return {"class_names": names, "palette": spec.palette.tolist()}
    return {"class_names": names}


def _are_similar(known, names):
    equal = [_plain(a) == _plain(b) for a, b in zip(known, names, strict=True)]
    return sum(equal) >= _KNOWN_NAMES * len(names)


def _plain(name):
    return "".join(filter(str.isalnum, name.lower()))


def normalization(config: Mapping[str, Any]) -> str:
    """Returns what is done to images, one of `blocks.NORMALIZATIONS`.

    Args:
        config: The content of a config.json, with that of preprocessor_config.json as
            "preprocessor". Without it, the statistics of ImageNet are assumed.

    Raises:
        errors.UserError: Images are normalized in another way.
    """
    values = config.get("preprocessor")
    if not values:
        return "torch"
    factor = values.get("rescale_factor", 1 / 255)
    if not values.get("do_rescale", True):
        factor = 1.0
    mean, deviation = values.get("image_mean"), values.get("image_std")
    if not values.get("do_normalize", True) or mean is None or deviation is None:
        mean, deviation = 0.0, 1.0
    found = np.broadcast_to(np.array(mean, "float64") / factor, 3)
    scale = np.broadcast_to(np.array(deviation, "float64") / factor, 3)
    if values.get("do_flip_channel_order"):
        found, scale = found[::-1], scale[::-1]
    for name in blocks.NORMALIZATIONS:
        expected, deviations = preprocessing.scales(name)
        is_flipped = name == "caffe"
        if (
            np.allclose(found, expected, rtol=0, atol=0.01)
            and np.allclose(scale, deviations, rtol=1e-4)
            and bool(values.get("do_flip_channel_order")) == is_flipped
        ):
            return name
    raise errors.UserError(
        f"Images are normalized by `image_mean={mean}` and `image_std={deviation}` "
        f"after they are multiplied by {factor:g}, which is none of "
        f"{blocks.NORMALIZATIONS}. Use weights of another network."
    )
