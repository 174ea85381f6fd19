"""What a run prints at its start."""

import pytest

from kerasseg.training.network import Builder, Network
from tests.support import tiny
from tests.training.test_training import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def test_a_run_prints_what_it_does(folder, tmp_path, capsys):
    run(folder, tmp_path / "first", training_number_of_steps=3)
    lines = capsys.readouterr().out.splitlines()
    # 3x3 convolution from 3 to 6 channels, 168; batch norm 12 + 12, of which the
    # moving averages are not trained; 1x1 convolution from 6 channels to 3 classes, 21.
    expected = "Network: tiny, 213 parameters (trainable: 201), classes: 3"
    assert lines[0] == expected
    assert lines[1] == "Weights: those of a new network"
    assert lines[2].startswith("Data: stripes, images in train: 12, val: 5; crop size:")
    assert lines[3].startswith("Steps: 3 (epochs: ")
    assert lines[4].startswith("Devices: 1 x ")
    assert lines[5] == f"Workdir: {tmp_path / 'first'}"
    assert lines[6].startswith("Tracing the first step")
    assert lines[7].startswith("step 3: loss")
    run(folder, tmp_path / "first", training_number_of_steps=4)
    lines = capsys.readouterr().out.splitlines()
    folder = tmp_path / "first" / "checkpoints"
    assert lines[1] == f"Weights: restored from the checkpoint of step 3 in {folder}"
    assert lines[3].endswith(", resumed at step 3")


def test_an_initial_checkpoint_leaves_a_line(folder, tmp_path, capsys):
    run(folder, tmp_path / "first", training_number_of_steps=1)
    first = str(tmp_path / "first")
    capsys.readouterr()
    changes = {"training_number_of_steps": 1, "initial_checkpoint": first}
    run(folder, tmp_path / "second", **changes)
    # Kernel and bias of two convolutions, and four variables of batch norm.
    line = f"Initial weights: 8 of 8 variables from {first}"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == line
    assert lines[2] == f"Weights: initialized from {first}, as listed above"


def test_the_encoder_and_its_weights_are_named():
    options = {"backbone": "resnet50", "backbone_weights": "imagenet"}
    assert Network(Builder("unet", options), 3).encoder == ("resnet50", "imagenet")
    assert Network(Builder("enet"), 3).encoder is None
