"""Records with pseudo-labels, and the self-training loop."""

import json

import numpy as np
import pytest

from kerasseg import errors, evaluate, images, predict, records, train
from kerasseg.records import labeled_lists
from tests.support import commands, tiny
from tfrecords_tools import build, extract, pseudo
from tfrecords_tools.writing import file_names, pseudo_records

NAMES = ["train0.png", "train1.png", "train2.png", "train3.png"]


@pytest.fixture
def source(tmp_path):
    """Records of 4 images for training, of which the labels of 0 and 3 are used."""
    return with_list(tiny.write_records(tmp_path / "r", train=4, val=2), NAMES[::3])


def with_list(folder, names):
    info = records.read_info(folder)
    listed = {"train": labeled_lists.LabeledList(tuple(names), "test")}
    new = records.DatasetInfo(
        info.spec, info.splits, records.OBJECTS_VERSION, (), listed
    )
    records.write_info(folder, new)
    return folder


def write_label(folder, name, label):
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode_palette_png(np.asarray(label), tiny.SPEC.palette))


def drawn(seed, size=(40, 48)):
    """Draws a pseudo-label: random classes, and ignored pixels."""
    values = np.array([0, 1, 2, 255], np.uint8)
    return values[np.random.default_rng(seed).integers(0, 4, size)]


def read(folder, split="train"):
    """Returns the serialized and the parsed records of a split by name."""
    opened = records.open_split(folder, split, deep=True)
    serialized = [opened.read(i) for i in range(len(opened))]
    parsed = [records.parse_example(data) for data in serialized]
    return {x["name"]: (data, x) for data, x in zip(serialized, parsed, strict=True)}


def run(capsys, main, *flags):
    capsys.readouterr()
    status = commands.run(main, *flags)
    return status, "".join(capsys.readouterr())


def test_labeled_records_are_kept_and_all_others_get_pseudo_labels(
    source, tmp_path, capsys
):
    for i in (1, 2):
        write_label(tmp_path / "p", f"train{i}", drawn(i))
    write_label(tmp_path / "p", "train0", drawn(0))  # Its label is used.
    (tmp_path / records.PSEUDO_LABELS_FILE).write_text("{}")
    status, text = run(
        capsys,
        pseudo.main,
        f"--records_dir={source}",
        f"--labels_dir={tmp_path}/p",
        f"--output_records_dir={tmp_path}/q",
    )
    assert status == 0
    assert "train: 2 records with their labels, 2 with pseudo-labels, 0 with" in text
    assert "no image without a label: 1 file." in text
    before, after = read(source), read(tmp_path / "q")
    assert sorted(before) == sorted(after) == NAMES
    for name in NAMES[::3]:
        assert before[name][0] == after[name][0]
    for i in (1, 2):
        _, example = after[f"train{i}.png"]
        np.testing.assert_array_equal(records.decode_label(example["label"]), drawn(i))
        assert example["image"] == before[f"train{i}.png"][1]["image"]
        assert example["present_classes"] == (0, 1, 2)
    assert read(source, "val") == read(tmp_path / "q", "val")
    assert (tmp_path / "q" / records.PSEUDO_LABELS_FILE).read_text() == "{}"
    info = records.read_info(tmp_path / "q")
    assert (info.labeled, info.num_unlabeled) == ({}, {})
    assert info.spec == records.read_info(source).spec
    assert info.schema_version == records.SCHEMA_VERSION
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_images_without_a_pseudo_label_keep_no_label(source, tmp_path):
    write_label(tmp_path / "p", "train1", drawn(1))
    result = pseudo_records.write(source, tmp_path / "p", tmp_path / "q")
    assert result == pseudo_records.Result(2, 1, 1, 0)
    _, example = read(tmp_path / "q")["train2.png"]
    assert example["label"] is None and example["present_classes"] is None
    opened = records.open_split(tmp_path / "q", "train")
    assert opened.num_unlabeled == 1
    assert len(opened.labeled) == 3


def names(folder):
    opened = records.open_split(folder, "train")
    return [records.parse_example(opened.read(i))["name"] for i in range(len(opened))]


def test_copies_of_records_with_their_label_stay_in_their_file(source, tmp_path):
    write_label(tmp_path / "p", "train1", drawn(1))
    result = pseudo_records.write(
        source, tmp_path / "p", tmp_path / "q", labeled_copies=3
    )
    assert result == pseudo_records.Result(2, 1, 1, 0)
    assert names(tmp_path / "q") == [
        name
        for name in names(source)
        for _ in range(3 if name in NAMES[::3] else 1)  # NAMES[::3] are labeled.
    ]
    with pytest.raises(errors.UserError, match="`labeled_copies=0`: expected at least"):
        pseudo_records.write(source, tmp_path / "p", tmp_path / "r", labeled_copies=0)


def test_image_level_classes_without_a_label_are_kept(tmp_path):
    image, label = tiny.image_and_label(0)
    header = {"image_format": "png", "height": 40, "width": 48}
    tagged = records.encode_example(
        image=tiny.png(image), label=None, name="u", present_classes=[2], **header
    )
    shard = records.write_shard(
        tmp_path / records.shard_name("train", 0, 1),
        [tiny.example(image, label, "l"), tagged],
    )
    info = records.DatasetInfo(
        tiny.SPEC, {"train": [shard]}, records.OBJECTS_VERSION, (), {}, {"train": 1}
    )
    records.write_info(tmp_path, info)
    write_label(tmp_path / "p", "u", np.zeros((40, 48), np.uint8))
    pseudo_records.write(tmp_path, tmp_path / "p", tmp_path / "q")
    assert read(tmp_path / "q")["u"][1]["present_classes"] == (2,)


def test_what_does_not_fit_is_refused_and_leaves_no_files(source, tmp_path):
    def refused(match, folder=source, **options):
        with pytest.raises(errors.UserError, match=match):
            pseudo_records.write(folder, tmp_path / "p", tmp_path / "q", **options)
        assert not (tmp_path / "q").exists()
        assert not (tmp_path / ".q.part").exists()

    refused("Expected files such as train[12].png")
    write_label(tmp_path / "p", "train1", drawn(1, (40, 47)))
    refused(r"train1.png is 47x40, its image 48x40")
    write_label(tmp_path / "p", "train1", np.full((40, 48), 3, np.uint8))
    refused("labels out of range: 3")
    refused("has no split 'test'|'test'", split="test")
    refused("labels of all 2 records of the split 'val'", split="val")
    with pytest.raises(errors.UserError, match="exists and is not empty"):
        pseudo_records.write(source, tmp_path / "p", source)


def test_build_reads_pseudo_labels_unchanged(tmp_path):
    labels = {}
    (tmp_path / "i").mkdir()
    for seed, size in enumerate([(1, 1), (1, 9), (7, 1), (16, 16), (5, 33)]):
        name = f"x{seed}"
        pixels = np.zeros((*size, 3), np.uint8)
        (tmp_path / f"i/{name}.png").write_bytes(tiny.png(pixels))
        labels[name] = drawn(seed, size)
        labels[name][0, 0] = 1  # Not all pixels are ignored.
        write_label(tmp_path / "m", name, labels[name])
    status = commands.run(
        build.main,
        "--dataset=folder",
        f"--images={tmp_path}/i",
        f"--masks={tmp_path}/m",
        "--classes=left,middle,right",
        "--val_fraction=0",
        "--workers=1",
        f"--records_dir={tmp_path}/r",
    )
    assert status == 0
    built = read(tmp_path / "r")
    assert sorted(built) == sorted(labels)
    for name, (_, example) in built.items():
        np.testing.assert_array_equal(
            records.decode_label(example["label"]), labels[name]
        )


# Extracting the images without a label.


def test_only_images_without_a_label_are_extracted(source, tmp_path, capsys):
    flags = [f"--records_dir={source}", "--split=train", "--unlabeled_only"]
    status, text = run(capsys, extract.main, *flags, f"--output_dir={tmp_path}/u")
    assert status == 0 and "Wrote 2 images" in text
    assert sorted(p.name for p in (tmp_path / "u").iterdir()) == NAMES[1:3]
    (tmp_path / "list.txt").write_text("train1.png\n")
    flags += ["--labels", f"--labeled_list={tmp_path}/list.txt"]
    status, text = run(capsys, extract.main, *flags, f"--output_dir={tmp_path}/v")
    assert status == 0 and "Wrote 3 images" in text
    found = sorted(p.name for p in (tmp_path / "v/labels").iterdir())
    assert found == [NAMES[0], *NAMES[2:]]
    flags = [f"--records_dir={source}", "--split=val", "--unlabeled_only"]
    status, text = run(capsys, extract.main, *flags, f"--output_dir={tmp_path}/w")
    assert status == 2 and "labels of all 2 records" in text


def test_images_of_one_file_name_are_refused(tmp_path):
    image, label = tiny.image_and_label(0)
    shard = records.write_shard(
        tmp_path / records.shard_name("val", 0, 1),
        [tiny.example(image, label, name) for name in ("a.png", "a.jpg")],
    )
    records.write_info(tmp_path, records.DatasetInfo(tiny.SPEC, {"val": [shard]}))
    opened = records.open_split(tmp_path, "val")
    with pytest.raises(errors.UserError, match=r"Two images .* written to .*a\.png"):
        extract.extract(opened, tmp_path / "out")


def test_names_of_files_keep_folders_and_dots():
    # (name in the record, path without suffix)
    expected = {
        "a/b.jpg": "a/b",
        "scene.001": "scene.001",
        "scene.001.PNG": "scene.001",
        "../../x": "x",
        "/": "000007",
    }
    assert {name: file_names.stem(name, 7) for name in expected} == expected


# The loop of docs/few_labels.md.


@pytest.mark.slow
def test_self_training_runs_through_the_commands(tmp_path, capsys):
    source = tiny.write_records(tmp_path / "r", train=12, val=4, size=(64, 64))
    with_list(source, ["train0.png", "train1.png", "train2.png"])

    def call(main, *flags):
        status, text = run(capsys, main, *flags)
        assert status == 0, text
        return text

    def fit(folder, workdir):
        call(
            train.main,
            "--model=unet",
            "--model_option=filters=4",
            f"--records_dir={folder}",
            f"--workdir={tmp_path}/{workdir}",
            "--train_crop_size=64",
            "--train_batch_size=4",
            "--training_number_of_steps=60",
            "--eval_interval_steps=60",
            "--save_interval_steps=60",
            "--base_learning_rate=0.01",
            "--optimizer=adam",
        )
        call(evaluate.main, f"--workdir={tmp_path}/{workdir}", "--noreport")
        return json.loads((tmp_path / workdir / "metrics.json").read_text())

    fit(source, "run0")
    text = call(
        extract.main,
        f"--records_dir={source}",
        "--split=train",
        "--unlabeled_only",
        "--labels",
        f"--output_dir={tmp_path}/unlabeled",
    )
    assert "Wrote 9 images" in text
    for i in (1, 2):
        text = call(
            predict.main,
            f"--workdir={tmp_path}/run{i - 1}",
            f"--input={tmp_path}/unlabeled",
            f"--labels_dir={tmp_path}/unlabeled/labels",
            f"--output_dir={tmp_path}/predicted{i}",
            "--output=pseudo_labels",
            "--confident_fraction=0.5",
        )
        assert "Pseudo-labels of 9 images, 9 of them compared" in text
        content = json.loads(
            (tmp_path / f"predicted{i}/pseudo_labels.json").read_text()
        )
        # Of each class half of the pixels, rounded, and those as confident.
        assert 0.49 < content["coverage"] <= 1
        assert content["precision"] > 0.5  # Three classes.
        text = call(
            pseudo.main,
            f"--records_dir={source}",
            f"--labels_dir={tmp_path}/predicted{i}/pseudo_labels",
            f"--output_records_dir={tmp_path}/r{i}",
        )
        assert "3 records with their labels, 9 with pseudo-labels, 0 without" in text
        after = read(tmp_path / f"r{i}")
        for name in ("train3.png", "train11.png"):
            path = tmp_path / f"predicted{i}/pseudo_labels/{name}"
            label = records.decode_label(after[name][1]["label"])
            np.testing.assert_array_equal(label, images.read_label(path))
        scores = fit(tmp_path / f"r{i}", f"run{i}")
        assert scores
