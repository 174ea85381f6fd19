"""The command seeds: masks from image-level classes."""

import numpy as np
import pytest

from kerasseg import images, records
from tests.support import commands, levels, tiny
from tfrecords_tools import seeds

# The logit of class 1 is 20 (red / 64 - 1) + 0.1: 0.1, 20.1 and 39.79 for 64, 128
# and 191; that of class 2 is 20 (red / 32 - 3) + 0.2: 0.2 for 96 and 59.575 for 191.
RED = [[0, 64, 128, 191]]
LABEL = [[0, 0, 1, 255]]
CASES = {"one": [1], "none": [], "unknown": None}


@pytest.fixture
def workdir(tmp_path):
    """A finished run with image-level classes; one image has a label."""
    folder = tmp_path / "records"
    folder.mkdir()
    serialized = [
        records.encode_example(
            image=tiny.png(levels.red(RED)),
            label=images.encode_label(np.array(LABEL, np.uint8)) if tags else None,
            name=f"street/{name}.png",
            image_format="png",
            height=1,
            width=4,
            present_classes=tags,
        )
        for name, tags in CASES.items()
    ]
    shard = records.write_shard(folder / records.shard_name("train", 0, 1), serialized)
    info = records.DatasetInfo(
        tiny.SPEC, {"train": [shard]}, records.OBJECTS_VERSION, (), {}, {"train": 2}
    )
    records.write_info(folder, info)
    path = levels.make_workdir(tmp_path / "run")
    (path / "flags.txt").write_text(f"--semi=cam\n--records_dir={folder}\n")
    return path


@pytest.fixture
def run(workdir, tmp_path, capsys):
    """Runs the command; returns its exit status and what it printed."""

    def call(*flags):
        output = f"--output_dir={tmp_path}/seeds"
        capsys.readouterr()
        status = commands.run(seeds.main, f"--workdir={workdir}", output, *flags)
        return status, "".join(capsys.readouterr())

    return call


def read(tmp_path, name):
    return images.read_label(tmp_path / "seeds" / "street" / f"{name}.png").tolist()


def test_known_classes_become_masks_and_are_compared_with_labels(run, tmp_path):
    status, text = run("--seed_threshold=0.5")
    assert status == 0, text
    # Half of 39.79 is between the logits of red 64 and 128.
    assert read(tmp_path, "one") == [[0, 0, 1, 1]]
    assert read(tmp_path, "none") == [[0, 0, 0, 0]]
    assert not (tmp_path / "seeds/street/unknown.png").exists()
    assert "Wrote 2 masks" in text
    assert "Skipped 1 image" in text and "street/unknown.png" in text
    assert "Compared with 1 label: mean IoU 1.0000" in text


def test_pixels_between_both_thresholds_are_undecided(run, tmp_path):
    status, text = run("--seed_threshold=0.5", "--seed_background_threshold=0.001")
    assert status == 0, text
    # 0.1 / 39.79 is 0.0025. The background has 1 of 2 pixels right: IoU (1/2 + 1) / 2.
    assert read(tmp_path, "one") == [[0, 255, 1, 1]]
    assert "Undecided: 12.5% of the pixels." in text
    assert "mean IoU 0.7500" in text


def test_logits_of_scales_and_flips_are_averaged(run, tmp_path):
    assert run("--seed_threshold=0.5", "--eval_scales=1,1", "--flip")[0] == 0
    assert read(tmp_path, "one") == [[0, 0, 1, 1]]
    # At half size the image is 2 wide: means of 0 and 64, and of 128 and 191. Enlarged
    # again, all pixels of the right half have the class.
    assert run("--seed_threshold=0.3", "--eval_scales=0.5")[0] == 0
    assert read(tmp_path, "one")[0][2:] == [1, 1]


def test_the_crf_leaves_no_pixel_undecided(run, tmp_path):
    flags = "--seed_threshold=0.5", "--seed_background_threshold=0.001"
    status, text = run(*flags, "--crf", "--crf_engine=keras")
    assert status == 0, text
    assert 255 not in read(tmp_path, "one")[0]
    assert "Undecided: 0.0% of the pixels." in text


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--seed_threshold=0"], "--seed_threshold"),
        (["--seed_background_threshold=0.9"], "--seed_background_threshold"),
        (["--superpixels=100"], "--superpixels"),
        (["--train_split=val"], "no split 'val'"),
        (["--records_dir=missing"], "missing"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(run, tmp_path, flags, text):
    status, output = run(*flags)
    assert status == 2
    assert text in output
    assert not list(tmp_path.glob("seeds/**/*.png"))


def test_a_run_of_another_method_is_refused(run, workdir):
    path = workdir / "flags.txt"
    path.write_text(path.read_text().replace("cam", "consistency"))
    status, text = run()
    assert status == 2
    assert "semi=consistency" in text


def test_records_without_known_classes_are_refused(run, tmp_path):
    other = tiny.write_records(tmp_path / "other", train=2, val=1)
    status, text = run(f"--records_dir={other}")
    assert status == 2
    assert "image-level classes of none of the 2 images" in text
    assert "image_classes" in text


def test_images_of_one_file_name_are_refused(run, tmp_path):
    folder = tmp_path / "double"
    folder.mkdir()
    serialized = [
        tiny.example(levels.red(RED), np.uint8(LABEL), name, present_classes=[1])
        for name in ("a.png", "a.jpg")
    ]
    shard = records.write_shard(folder / records.shard_name("train", 0, 1), serialized)
    records.write_info(folder, records.DatasetInfo(tiny.SPEC, {"train": [shard]}))
    status, text = run(f"--records_dir={folder}")
    assert status == 2
    assert "The images a.png and a.jpg would have the same mask a.png." in text
