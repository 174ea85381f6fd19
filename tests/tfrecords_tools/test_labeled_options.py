"""The list of labeled images that a build writes into dataset.json."""

import json

import pytest

from kerasseg import errors, records
from kerasseg.records import labeled_lists
from tests.support import commands, trees
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import labeled_options, planning, writer

NAMES = [f"train_{i:02d}" for i in range(16)]


@pytest.fixture
def source(tmp_path):
    folder = trees.camvid(tmp_path / "CamVid", (("train", 16), ("val", 3)))
    return pairs.Source(folder)


@pytest.fixture(autouse=True)
def six_images_per_file(monkeypatch):
    monkeypatch.setattr(planning, "SHARD_IMAGES", 6)


def write(source, folder, splits=("train", "val"), skip_bad=False, **options):
    labeled = labeled_options.LabeledOptions(**options)
    return writer.build_records(
        "camvid", source, folder, splits=splits, labeled=labeled, skip_bad=skip_bad
    )


def shards(folder):
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.glob("*.tfrecord")
    }


def test_a_fraction_is_drawn_from_the_names(source, tmp_path):
    result = write(source, tmp_path / "r", labeled_fraction="1/8", split_seed=3)
    expected = labeled_lists.draw(NAMES, 2, 3)
    assert result.labeled == {"train": expected}
    assert records.read_info(tmp_path / "r").labeled == {"train": expected}
    split = records.open_split(tmp_path / "r", "train")
    assert [NAMES[i] for i in split.labeled] == list(expected.names)
    assert records.open_split(tmp_path / "r", "val").labeled is None
    content = json.loads((tmp_path / "r" / records.INFO_FILE).read_text())
    assert content["schema_version"] == 2
    assert content["labeled"]["train"] == {
        "count": 2,
        "sha256": expected.checksum,
        "origin": "split_seed=3",
        "names": list(expected.names),
    }


def test_all_labels_stay_in_the_records(source, tmp_path):
    write(source, tmp_path / "plain")
    write(source, tmp_path / "r", labeled_count=5)
    plain, listed = shards(tmp_path / "plain"), shards(tmp_path / "r")
    assert {name: data for name, (data, _) in plain.items()} == {
        name: data for name, (data, _) in listed.items()
    }


def test_another_list_writes_no_record(source, tmp_path):
    write(source, tmp_path / "r", labeled_fraction="1/8")
    before = shards(tmp_path / "r")
    for seed in (1, 2):
        result = write(source, tmp_path / "r", labeled_fraction="1/8", split_seed=seed)
        assert result.num_kept == 19
        found = records.read_info(tmp_path / "r").labeled["train"]
        assert found == labeled_lists.draw(NAMES, 2, seed)
    write(source, tmp_path / "r")
    assert records.read_info(tmp_path / "r").labeled == {}
    assert shards(tmp_path / "r") == before


def test_other_splits_keep_their_list(source, tmp_path):
    write(source, tmp_path / "r", ["train"], labeled_count=5)
    write(source, tmp_path / "r", ["val"])
    assert len(records.read_info(tmp_path / "r").labeled["train"]) == 5
    write(source, tmp_path / "r", ["val"], labeled_count=2, labeled_split="val")
    assert sorted(records.read_info(tmp_path / "r").labeled) == ["train", "val"]


def test_a_file_names_the_images(source, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("CamVid/train/train_04.png\ntrain_02\n")
    result = write(source, tmp_path / "r", labeled_list=str(path))
    assert result.labeled["train"].names == ("train_02", "train_04")
    assert records.open_split(tmp_path / "r", "train").labeled.tolist() == [2, 4]


def test_a_list_that_does_not_fit_stops_the_build_before_it_writes(source, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("val_01\n")
    with pytest.raises(
        errors.UserError, match="1 names that no image of the split has"
    ):
        write(source, tmp_path / "r", labeled_list=str(path))
    with pytest.raises(errors.UserError, match="must be from 1 to the 16 images"):
        write(source, tmp_path / "r", labeled_count=17)
    with pytest.raises(errors.UserError, match="this one has 16"):
        write(source, tmp_path / "r", labeled_fraction="voc_1_8_size")
    with pytest.raises(
        errors.UserError, match=r"`labeled_split=train` is not built, o"
    ):
        write(source, tmp_path / "r", ["val"], labeled_count=1)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labeled_count": 1, "labeled_fraction": "1/8"}, "both give the labeled imag"),
        (
            {"labeled_count": 1, "labeled_list": "x"},
            "`labeled_count` and `labeled_list",
        ),
        ({"labeled_count": 1, "split_seed": -1}, "`split_seed=-1` must be at least 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, reason):
    with pytest.raises(errors.UserError, match=reason):
        labeled_options.LabeledOptions(**options)


def test_a_list_may_have_all_images(source, tmp_path):
    result = write(source, tmp_path / "r", labeled_fraction="1")
    assert result.labeled["train"].names == tuple(NAMES)
    assert records.open_split(tmp_path / "r", "train").labeled.tolist() == [*range(16)]


def test_skipped_images_are_not_drawn(source, tmp_path):
    bad = labeled_lists.draw(NAMES, 8, 0).names[0]
    (source.source_dir / "train" / f"{bad}.png").write_bytes(b"")
    result = write(source, tmp_path / "r", skip_bad=True, labeled_fraction="1/2")
    rest = [name for name in NAMES if name != bad]
    assert result.labeled["train"] == labeled_lists.draw(rest, 8, 0)  # 7.5, half up.
    path = tmp_path / "mine.txt"
    path.write_text(f"{bad}\n")
    with pytest.raises(errors.UserError, match=f"no image of the split has: {bad}"):
        write(source, tmp_path / "r", skip_bad=True, labeled_list=str(path))


def test_the_command_prints_and_writes_the_list(source, tmp_path, capsys):
    flags = [
        *("--dataset=camvid", f"--source_dir={source.source_dir}", "--workers=1"),
        *(f"--records_dir={tmp_path}/r", "--splits=train,val"),
    ]
    assert commands.run(build.main, *flags, "--labeled_fraction=1/8") == 0
    drawn = labeled_lists.draw(NAMES, 2, 0)
    line = (
        "train: the labels of 2 of 16 images are used (split_seed=0), SHA-256 "
        f"{drawn.checksum}\n"
    )
    assert line in capsys.readouterr().out
    path = tmp_path / "r" / "labeled_train_2_seed_0.txt"
    assert path.read_text().split() == list(drawn.names)
    assert commands.run(build.main, *flags, f"--labeled_list={path}") == 0
    split = records.open_split(tmp_path / "r", "train")
    assert split.labeled_checksum == drawn.checksum
    capsys.readouterr()
    assert commands.run(inspect.main, f"--records_dir={tmp_path}/r") == 0
    assert "(labeled_train_2_seed_0.txt), SHA-256" in capsys.readouterr().out
