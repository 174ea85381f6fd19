"""A network with CRF-RNN, from training to export."""

import json
import re

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasseg import datasets, evaluate, export, predict, train
from tests.support import commands, faults, tiny
from tfrecords_tools.converters import shapes

NUM_STEPS = 4
LOAD = """
import sys

sys.modules["keras"] = sys.modules["kerasseg"] = None  # Importing them fails.
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
file = tf.constant([open(sys.argv[2], "rb").read()])
mask = model.signatures["serving_default"](image_bytes=file)["mask_png_bytes"][0]
open(sys.argv[3], "wb").write(mask.numpy())
"""

pytestmark = pytest.mark.slow


def drawn(number):
    image, label, _ = shapes.draw((0, number))
    small = cv2.resize(label, (96, 72), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(image, (96, 72)), small


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds records of synthetic images, and runs to the last step and halfway."""
    folder = tmp_path_factory.mktemp("crf")
    splits = {
        "train": [drawn(n) for n in range(8)],
        "val": [drawn(n) for n in range(8, 11)],
    }
    tiny.write_images(folder / "records", splits, spec=datasets.get("shapes"))
    run_training(folder, "whole", NUM_STEPS)
    run_training(folder, "resumed", NUM_STEPS // 2)
    return folder


def run_training(folder, name, num_steps, *more):
    status = commands.run(
        train.main,
        *("--model=unet", "--model_option=filters=4", "--model_option=dropout=0"),
        "--model_option=crf_iterations=5",
        *(f"--records_dir={folder / 'records'}", f"--workdir={folder / name}"),
        *("--train_batch_size=2", "--train_crop_size=64,64", "--seed=1"),
        *("--learning_policy=constant", "--base_learning_rate=0.01"),
        *("--save_interval_steps=2", f"--training_number_of_steps={num_steps}"),
        *more,
    )
    assert status == 0


def weights(workdir):
    reader = tf.train.load_checkpoint(
        str(workdir / "checkpoints" / f"ckpt-{NUM_STEPS}")
    )
    names = sorted(reader.get_variable_to_shape_map())
    return {n: reader.get_tensor(n) for n in names if re.search("model", n)}


def test_a_resumed_run_ends_with_the_same_weights(folder):
    change = "--change_flags=training_number_of_steps"
    run_training(folder, "resumed", NUM_STEPS, change)
    whole, resumed = weights(folder / "whole"), weights(folder / "resumed")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, atol=1e-5, err_msg=name)
    learned = [value for value in whole.values() if value.shape == (6, 6)]
    assert len(learned) >= 3
    for gain in (3.0, 5.0, -1.0):
        change = min(np.abs(matrix - gain * np.eye(6)).max() for matrix in learned)
        assert 1e-7 < change < 0.5, gain


def test_a_trained_crf_is_evaluated_predicted_and_exported(folder, tmp_path):
    workdir = f"--workdir={folder / 'whole'}"
    assert commands.run(evaluate.main, workdir, "--noreport") == 0
    scores = json.loads((folder / "whole" / "metrics.json").read_text())
    assert 0 <= scores["mean_iou"] <= 1
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), drawn(20)[0][:61, :83])
    given = f"--input={image}", f"--output_dir={tmp_path / 'masks'}"
    assert commands.run(predict.main, workdir, *given) == 0
    assert commands.run(export.main, workdir, f"--export_dir={tmp_path / 'out'}") == 0
    mask = tmp_path / "mask.png"
    done = faults.run(["-W", "ignore", "-c", LOAD, tmp_path / "out" / "1", image, mask])
    assert done.returncode == 0, done.stderr
    index = tmp_path / "masks" / "index" / "image.png"
    exported, predicted = (np.asarray(Image.open(path)) for path in (mask, index))
    assert exported.shape == (61, 83)
    # Other kernels round differently: a pixel between two classes may change.
    assert (exported == predicted).mean() > 0.999
