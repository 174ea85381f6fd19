"""DeepLab of TensorFlow, as written for it in plain TensorFlow.

The released code needs TensorFlow 1 or tf_slim, which no extra here installs.
"""

import numpy as np
import pytest

from tests.parity import support
from tests.parity import tf_deeplab_reference as reference

SIZES = ((97, 129), (129, 161), (224, 160), (128, 128))
FEW = ((65, 97), (96, 64))
PLUS = {"rates": (6, 12, 18), "decoder": True}
DENSE = {"rates": (6, 12, 18), "output_stride": 8, "classes": 19}
CASES = {
    "xception_41": ("xception_41", PLUS, ((97, 129), (128, 96))),
    "xception_65 at stride 8 without decoder": ("xception_65", DENSE, FEW[:1]),
    "xception_71": ("xception_71", PLUS, FEW[:1]),
    "mobilenet_v2": (1.0, {}, SIZES),
    "mobilenet_v2 at stride 8": (1.0, {"output_stride": 8}, FEW),
    "mobilenet_v2 0.5": (0.5, {}, FEW),
    "mobilenet_v2 with decoder": (1.0, {"decoder": True, "classes": 151}, FEW),
}
FIRST_CLASS = {19: "road", 21: "background", 151: "background"}


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_tf_deeplab(case, tmp_path, record_property):
    variant, options, sizes = CASES[case]
    arrays = reference.Arrays()
    batch = np.concatenate(list(support.images([(65, 97)] * 2, seed=0)))
    reference.logits(arrays, batch, variant, **options)
    arrays.is_calibrated = True
    arrays.save(tmp_path / "model.ckpt-500000")
    config = {"output_stride": options.get("output_stride", 16)}
    model, network = support.load(tmp_path, config)
    assert network.class_names[0] == FIRST_CLASS[network.num_classes]
    for image in support.images(sizes):
        ours = model(image, training=False)
        expected = reference.logits(arrays, image, variant, **options)
        difference = support.difference(ours, expected)
        record_property(case, difference)
        assert difference < support.LIMIT
