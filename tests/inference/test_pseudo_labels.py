"""Pseudo-labels: thresholds, files and numbers."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import errors, images, inference, predict
from kerasseg.inference import class_thresholds, job, outputs, pseudo_labels
from kerasseg.inference.pseudo_labels import PseudoLabelOptions
from tests.support import commands, levels, tiny


class Memory:
    """A result in memory."""

    def __init__(self, mask, confidence):
        self.arrays = np.array(mask, np.uint8), np.array(confidence, np.float32)

    def read(self):
        return self.arrays


def thresholds(fraction, *results, num_classes=3):
    return class_thresholds.balanced_thresholds(results, num_classes, fraction)


def test_the_threshold_of_a_class_keeps_a_fraction_of_its_pixels_in_all_images():
    first = Memory([[0, 0, 1]], [[0.9, 0.6, 0.5]])
    second = Memory([[0, 0, 1, 1]], [[0.7, 0.8, 0.51, 0.4]])
    # Class 0: 2 of 0.9, 0.8, 0.7, 0.6. Class 1: round(1.5) = 2 of 0.51, 0.5, 0.4.
    expected = np.float32([0.8, 0.5, np.inf])
    np.testing.assert_array_equal(thresholds(0.5, first, second), expected)
    np.testing.assert_array_equal(thresholds(0.5, second, first), expected)
    # All pixels; at least one, round(0.3) = round(0.4) = 0.
    expected = np.float32([0.6, 0.4, np.inf])
    np.testing.assert_array_equal(thresholds(1.0, first, second), expected)
    expected = np.float32([0.9, 0.51, np.inf])
    np.testing.assert_array_equal(thresholds(0.1, first, second), expected)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.one_of(
                st.floats(0, 1, width=32, allow_subnormal=False),
                st.floats(1 - 2**-14, 1, width=32),
            ),
        ),
        min_size=1,
        max_size=30,
    ),
    st.floats(0.01, 1),
)
def test_thresholds_are_the_sorted_confidences(pixels, fraction):
    mask, confidence = map(np.array, zip(*pixels, strict=True))
    found = thresholds(fraction, Memory([mask], [confidence]))
    for k in range(3):
        ordered = np.sort(confidence[mask == k].astype(np.float32))[::-1]
        if ordered.size:
            rank = max(1, round(fraction * ordered.size))
            assert found[k] == ordered[rank - 1]
        else:
            assert found[k] == np.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_confidence": 0.9, "confident_fraction": 0.5}, "Give one of them"),
        ({"min_confidence": 1.1}, "`min_confidence=1.1`: expected a probability"),
        ({"min_confidence": float("nan")}, "`min_confidence=nan`: expected"),
        ({"confident_fraction": 0.0}, "`confident_fraction=0`: expected a fraction"),
        ({"confident_fraction": 1.5}, "`confident_fraction=1.5`: expected"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(errors.UserError, match=message):
        PseudoLabelOptions(**options)


def test_options_need_the_kind_and_the_kind_needs_classes_of_pixels():
    options = PseudoLabelOptions(confident_fraction=0.5)
    with pytest.raises(errors.UserError, match="`output=index,color` does not write"):
        options.check_kinds(["index", "color"])
    options.check_kinds(["pseudo_labels"])
    for kind in ("pseudo_labels", "confidence"):
        with pytest.raises(errors.UserError, match=f"{kind} need a network"):
            outputs.check_network([kind], detects_instances=True)
    assert outputs.predicted(["color", "pseudo_labels", "index"]) == (
        *("color", "index", "confidence"),
    )


# The command, with a network whose classes are worked by hand.


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return levels.make_workdir(tmp_path_factory.mktemp("run"))


# The probability of class k depends on the distance of red to a multiple of 64: at the
# last red of a class, the logit of the next one is 20 / 64 - 1 / 10 lower.
RED = {"a": [[30, 63, 64]], "deep/b": [[100, 127, 255]]}


@pytest.fixture
def inputs(tmp_path):
    for name, values in RED.items():
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny.png(levels.red(values)))
    return tmp_path / "images"


@pytest.fixture
def call(workdir, inputs, tmp_path, capsys):
    """Predicts the folder `images` into `out`; returns the status and the texts."""

    def run(*flags, kinds="pseudo_labels"):
        status = commands.run(
            predict.main,
            f"--workdir={workdir}",
            f"--input={inputs}",
            f"--output_dir={tmp_path}/out",
            f"--output={kinds}",
            *flags,
        )
        return status, *capsys.readouterr()

    return run


def confidences(workdir):
    """Returns the largest probability of each pixel of `RED`."""
    network = inference.load(workdir)
    return {
        name: network.probabilities(levels.red(values)).max(-1)
        for name, values in RED.items()
    }


def label(tmp_path, name):
    return images.read_label(tmp_path / "out/pseudo_labels" / f"{name}.png").tolist()


def test_pixels_below_the_threshold_are_ignored(call, workdir, tmp_path):
    # e^(20 / 64 - 0.1) = 1.24: 63 has 1.24 / 2.24 = 0.553 of class 0, as 127 of class
    # 1; 64 has e^0.1 = 1.105 of class 1: 0.525. All others are above 0.99.
    found = confidences(workdir)
    np.testing.assert_allclose(found["a"], [[1, 0.553, 0.525]], atol=5e-3)
    status, text, _ = call("--min_confidence=0.55")
    assert status == 0
    assert label(tmp_path, "a") == [[0, 0, 255]]
    assert label(tmp_path, "deep/b") == [[1, 1, 2]]
    path = tmp_path / "out/pseudo_labels/a.png"
    index = tmp_path / "out/index/a.png"
    assert path.read_bytes()[:60] == index.read_bytes()[:60]  # Header and palette.
    np.testing.assert_array_equal(
        np.load(tmp_path / "out/confidence/a.npy"), found["a"]
    )
    content = json.loads((tmp_path / "out/pseudo_labels.json").read_text())
    assert content["coverage"] == 5 / 6
    assert content["classes"]["middle"] == {
        "threshold": pytest.approx(0.55),
        "predicted_pixels": 3,
        "kept_pixels": 2,
        "coverage": 2 / 3,
        "compared_pixels": 0,
        "precision": None,
    }
    assert "Pseudo-labels of 2 images" in text
    row = next(line for line in text.splitlines() if line.startswith("middle"))
    assert row.split() == ["middle", "0.5500", "50.0", "%", "66.7", "%"]


def write_arrays(folder, name, mask, confidence):
    """Writes predictions as the command does."""
    for kind, data in outputs.paths(folder, name, ["index", "confidence"]).items():
        data.parent.mkdir(parents=True, exist_ok=True)
        if kind == "index":
            data.write_bytes(images.encode_label(np.uint8(mask)))
        else:
            np.save(data, np.float32(confidence))


def write(folder, path, **options):
    """Writes the pseudo-labels of an image or video of two classes."""
    return pseudo_labels.write(
        folder,
        {path.stem: path},
        PseudoLabelOptions(**options),
        ("a", "b"),
        np.zeros((2, 3), np.uint8),
    )


def test_a_pixel_at_the_threshold_is_kept(tmp_path):
    least = np.float32(0.9)
    confidence = [[least, np.nextafter(least, np.float32(0)), 0.95]]
    write_arrays(tmp_path, "x", [[0, 0, 1]], confidence)
    image = pathlib.Path("x.png")
    assert write(tmp_path, image, min_confidence=0.9).kept.tolist() == [1, 1]
    assert images.read_label(tmp_path / "pseudo_labels/x.png").tolist() == [[0, 255, 1]]
    assert write(tmp_path, image).kept.tolist() == [0, 1]  # 0.95


def test_another_threshold_does_not_predict_again(call, tmp_path, monkeypatch):
    assert call("--confident_fraction=0.3")[0] == 0
    # One pixel of each class: the most confident one of all images.
    assert label(tmp_path, "a") == [[0, 255, 255]]
    assert label(tmp_path, "deep/b") == [[1, 255, 2]]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/index").rglob("*.png")}
    status, text, _ = call("--min_confidence=0")
    assert status == 0 and "2 of them from an earlier run" in text
    assert label(tmp_path, "a") == [[0, 0, 1]]
    assert before == {p: p.stat().st_mtime_ns for p in before}
    # Interrupted, there is no summary; the same command goes on to the same bytes.
    content = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.*g")}
    summary = (tmp_path / "out/pseudo_labels.json").read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pseudo_labels._Result, "write", stop)
        assert call("--min_confidence=0")[0] == 130
    assert not (tmp_path / "out/pseudo_labels.json").exists()
    assert call("--min_confidence=0")[0] == 0
    assert content == {p: p.read_bytes() for p in content}
    assert summary == (tmp_path / "out/pseudo_labels.json").read_bytes()


def test_kept_pixels_are_compared_with_labels(call, inputs, tmp_path):
    folder = inputs / "labels"  # Within the input, as `extract --labels` writes it.
    folder.mkdir()
    (folder / "a.png").write_bytes(images.encode_label(np.uint8([[0, 1, 1]])))
    status, text, _ = call("--min_confidence=0.55", f"--labels_dir={folder}")
    assert status == 0
    # Of image a, class 0 has two kept pixels, one is correct; b has no label.
    content = json.loads((tmp_path / "out/pseudo_labels.json").read_text())
    assert (content["images"], content["compared_images"]) == (2, 1)
    assert content["precision"] == content["classes"]["left"]["precision"] == 0.5
    assert content["classes"]["middle"]["precision"] is None
    assert "2 images, 1 of them compared with labels" in text
    (folder / "a.png").write_bytes(images.encode_label(np.uint8([[255, 1, 1]])))
    call("--min_confidence=0.55", f"--labels_dir={folder}")
    content = json.loads((tmp_path / "out/pseudo_labels.json").read_text())
    assert content["classes"]["left"]["compared_pixels"] == 1
    assert content["precision"] == 0


def test_labels_that_do_not_fit_are_refused(call, tmp_path):
    (tmp_path / "none").mkdir()
    status, _, text = call(f"--labels_dir={tmp_path}/none")
    assert status == 2 and "has no label of the 2 images" in text
    assert not (tmp_path / "out").exists()
    (tmp_path / "none/a.png").write_bytes(images.encode_label(np.uint8([[0, 1]])))
    status, _, text = call(f"--labels_dir={tmp_path}/none")
    assert status == 2 and "a.png is 2x1, its image 3x1" in text


def test_flags_of_pseudo_labels_need_the_kind(call):
    status, _, text = call("--min_confidence=0.9", kinds="index")
    assert status == 2 and "`" not in text
    assert "applies to pseudo-labels, and --output=index does not write" in text
    status, _, text = call("--min_confidence=0.9", "--confident_fraction=0.5")
    assert status == 2 and "both give the threshold" in text


def test_a_failed_image_has_no_pseudo_label(call, inputs, tmp_path):
    assert call()[0] == 0
    (inputs / "a.png").write_bytes(b"<html>")
    status, text, _ = call()
    assert status == 2 and "1 of 2 are in" in text
    assert "Pseudo-labels of 1 images" in text
    files = [p.name for p in (tmp_path / "out/pseudo_labels").rglob("*.png")]
    assert files == ["b.png"]


def test_damaged_results_are_named(tmp_path):
    image = pathlib.Path("x.png")
    for mask, confidence, match in (
        ([[0, 2]], [[1, 1]], r"x\.png has class 2, the network has classes 0 to 1"),
        ([[0, 1]], [[1]], r"x\.npy is float32 \[1, 1\], expected float32 \[1, 2\]"),
    ):
        write_arrays(tmp_path, "x", mask, confidence)
        with pytest.raises(errors.UserError, match=match):
            write(tmp_path, image)
    (tmp_path / "confidence/x.npy").write_bytes(b"broken")
    with pytest.raises(errors.UserError, match=r"x\.npy: .* with `overwrite`"):
        write(tmp_path, image)
    assert not (tmp_path / "pseudo_labels.json").exists()


@pytest.mark.parametrize("flags", [["--crf", "--crf_engine=keras"], ["--flip"]])
def test_confidences_are_those_of_the_refined_probabilities(
    call, workdir, tmp_path, flags
):
    """With a CRF that does nothing, they are those of the network."""
    nothing = ["--crf_gaussian_compat=0", "--crf_bilateral_compat=0"]
    assert call(*flags, *(nothing if "--crf" in flags else []))[0] == 0
    for name, expected in confidences(workdir).items():
        found = np.load(tmp_path / f"out/confidence/{name}.npy")
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_frames_of_a_video_are_counted(tmp_path):
    for frame, least in enumerate((0.2, 0.8)):
        write_arrays(tmp_path, f"v/{frame:06d}", [[0, 1]], [[least, 0.9]])
    counts = write(tmp_path, pathlib.Path("v.mp4"), min_confidence=0.5)
    assert (counts.num_images, counts.kept.tolist()) == (2, [1, 2])
    found = images.read_label(tmp_path / "pseudo_labels/v/000000.png")
    assert found.tolist() == [[255, 1]]


def test_a_job_with_pseudo_labels_writes_what_they_need(workdir):
    created = job.Job(
        workdir=str(workdir), output_dir="out", kinds=("pseudo_labels", "overlay")
    )
    assert created.predicted_kinds == ("index", "confidence", "overlay")
