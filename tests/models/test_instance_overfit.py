"""Mask R-CNN can learn eight images by heart, which needs every part of it."""

import pytest

from kerasseg import train
from kerasseg.workdir import metadata
from tests.support import commands
from tfrecords_tools import build

_FLAGS = "experiments/shapes/mask_rcnn.flags"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_images_are_learned_by_heart(tmp_path):
    records = tmp_path / "records"
    given = ["--dataset=shapes", f"--records_dir={records}", "--num_drawn=8"]
    assert commands.run(build.main, *given) == 0
    whole = [
        "--train_crop_size=240,320",
        "--min_scale_factor=1",
        "--max_scale_factor=1",
    ]
    steps = ["--training_number_of_steps=160", "--warmup_steps=20", "--ema_decay=0"]
    assert not commands.run(
        train.main,
        f"--flagfile={_FLAGS}",
        f"--records_dir={records}",
        f"--workdir={tmp_path / 'run'}",
        *("--eval_split=train", "--train_batch_size=2", "--noadd_flipped_images"),
        *(*whole, *steps, "--eval_interval_steps=160", "--seed=1"),
    )
    assert metadata.read_metadata(tmp_path / "run")["scores"]["mask_ap50"] > 0.95
