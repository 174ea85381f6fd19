"""Every entry of the catalogue is complete, and can be used."""

import importlib
import re

import pytest
from absl import flags

import kerasseg
from kerasseg import datasets, errors
from kerasseg.weights import catalogue, downloads, families, hugging_face

ENTRIES = catalogue.entries()
NAME = re.compile(r"[a-z0-9_.-]+/[\w.-]+", re.ASCII)


@pytest.fixture(scope="module")
def known():
    """The flags of kerasseg.evaluate."""
    importlib.import_module("kerasseg.evaluate")
    return flags.FLAGS


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_valid(name):
    entry = ENTRIES[name]
    assert NAME.fullmatch(name)
    assert entry.family in families.list_families()
    assert entry.kind in catalogue.KINDS
    assert entry.source.startswith("https://")
    assert entry.license and entry.trained_on
    assert not entry.dataset or entry.dataset in datasets.list_datasets()
    assert entry.score is None or 0 < entry.score < 100
    assert entry.score is None or entry.protocol
    assert bool(entry.files) != bool(entry.hugging_face)
    if entry.hugging_face:
        hugging_face.parse(entry.hugging_face)
    names = [downloads.file_name(file.url) for file in entry.files]
    assert len({*names}) == len(names)
    for file in entry.files:
        assert file.url.startswith("https://")
        assert re.fullmatch(r"([0-9a-f]{8,64})?", file.sha256)
        assert file.num_bytes is None or 0 < file.num_bytes < downloads.MAX_BYTES


def test_flags_of_every_entry_are_those_of_evaluate(known):
    for entry in ENTRIES.values():
        for word in entry.evaluate.split():
            name, _, value = word.removeprefix("--").partition("=")
            assert word.startswith("--") and name in known, f"{entry.name}: {word}"
            if value:
                known[name].parser.parse(value)


def test_names_are_unique_in_lower_case():
    assert len({name.lower() for name in ENTRIES}) == len(ENTRIES)


def test_names_are_listed_by_pattern_and_kind():
    assert kerasseg.list_weights() == sorted(ENTRIES)
    assert "torchvision/fcn_resnet50_coco_voc" in kerasseg.list_weights("*/fcn_*")
    models = kerasseg.list_weights(kind="model")
    assert all(ENTRIES[name].kind == "model" for name in models)
    assert {*models, *kerasseg.list_weights(kind="encoder")} == {*ENTRIES}
    assert kerasseg.list_weights("nothing*") == []
    with pytest.raises(errors.UserError, match="`kind=net` must be one of"):
        kerasseg.list_weights(kind="net")


def test_similar_names_are_suggested():
    name = "torchvision/fcn_resnet50_coco_voc"
    for typo in ("torchvision/fcn_resnet50_coco_vox", "fcn_resnet50_coco_voc"):
        with pytest.raises(errors.UserError, match=f"Did you mean .*{name}"):
            catalogue.lookup(typo)
