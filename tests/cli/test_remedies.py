"""Every command and flag that a message of kerasseg's commands proposes works.

A fault is caused in folders with awkward names; the message is read; and what it
proposes is run. `test_every_message_with_a_command_is_run` fails for a message that no
fault here causes. tests/project/test_remedies.py checks the programs and packages that
messages name without flags.
"""

import collections
import pathlib
import re
import shutil
import warnings

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import evaluate, export, images, models, predict, records, train, tune_crf
from tests.support import commands, levels, remedies, tiny

MAINS = {
    f"kerasseg.{main.__name__.rpartition('.')[2]}": main.main
    for main in (evaluate, export, predict, train, tune_crf)
}
AWKWARD = 'it\'s a, $HOME & "b" {c} é'
SEEN: dict[str, list] = collections.defaultdict(list)  # Texts by fault.
STEP = [
    *("--model=enet", "--training_number_of_steps=1", "--train_batch_size=1"),
    "--train_crop_size=8",
]


def small(num_classes, image_size, *, aux=False, pooled=False):
    """Builds a tiny network; with `pooled`, batch norm of a single cell."""
    model = tiny.build_model("small", num_classes, aux=aux)
    if pooled:
        image = keras.Input((*image_size, 3), name="image")
        x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(image)
        x = layers.BatchNormalization(name="pooled_norm")(x)
        x = layers.Conv2D(3, 1, name="pooled_conv")(x)
        logits = layers.Add(name="sum")([model(image), x])
        return keras.Model(image, logits, name="small")
    return model


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Records, a finished run on them, and an image, in a folder with an odd name."""
    folder = tmp_path_factory.mktemp("remedies") / AWKWARD
    rng = np.random.default_rng(0)
    pairs = {"train": [], "val": []}
    for each in (*pairs.values(), *pairs.values()):
        values = rng.integers(0, 256, (12, 16))
        each.append(
            (levels.red(values), (np.minimum(values // 64, 2)).astype(np.uint8))
        )
    records_dir = tiny.write_images(folder / "records", pairs)
    levels.make_workdir(folder / "run")
    (folder / "run/flags.txt").write_text(f"--records_dir={records_dir}\n")
    (folder / "image.png").write_bytes(tiny.png(levels.IMAGE))
    return folder


@pytest.fixture
def copy(root, tmp_path, monkeypatch):
    """A copy of `root`, with a small network registered as "enet"."""
    folder = tmp_path / AWKWARD
    shutil.copytree(root, folder)
    (folder / "run/flags.txt").write_text(f"--records_dir={folder}/records\n")
    metadata = models.metadata("enet")
    replaced = metadata.__class__(**{**vars(metadata), "builder": small})
    monkeypatch.setitem(models._MODELS._values, "enet", replaced)
    return folder


def run(capsys, module, arguments):
    capsys.readouterr()
    status = commands.run(MAINS[module], *arguments)
    texts = capsys.readouterr()
    return status, f"{texts.out}\n{texts.err}"


def train_flags(folder, *more):
    return [*STEP, f"--records_dir={folder}/records", f"--workdir={folder}/new", *more]


# Each causes a fault, and returns the command.


def other_flags(folder, run):
    assert run("kerasseg.train", train_flags(folder))[0] == 0
    return "kerasseg.train", train_flags(folder, "--seed=2")


def other_records(folder, run):
    assert run("kerasseg.train", train_flags(folder))[0] == 0
    pairs = [tiny.image_and_label(seed) for seed in range(2)]
    tiny.write_images(folder / "others", {"train": pairs, "val": pairs})
    more = [f"--records_dir={folder}/others", "--training_number_of_steps=2"]
    return "kerasseg.train", remedies.replaced(train_flags(folder), more)


def large_gradients(folder, run):
    del run
    # In float32 the weights are about 1e17 and 1e34 after two steps; clipped, 1e5.
    more = ["--class_weights=1e12,1e12,1e12", "--base_learning_rate=1e5"]
    more += ["--training_number_of_steps=4"]
    return "kerasseg.train", train_flags(folder, *more)


def one_cell(folder, run):
    del run
    return "kerasseg.train", train_flags(folder, "--model_option=pooled=true")


def no_aux(folder, run):
    del run
    return "kerasseg.train", train_flags(folder, "--output_weights=aux_half:0.4")


def border_weights(folder, run):
    del run
    pair = tiny.image_and_label(1, 12, 16)
    ids = np.where(pair[1] == 255, 0, pair[1] + 1).astype(np.uint16)
    example = tiny.example(*pair, "a.png", instance=images.encode_label(ids))
    shards = {}
    for split in ("train", "val"):
        path = folder / "records" / records.shard_name(split, 0, 1)
        shards[split] = [records.write_shard(path, [example])]
    records.write_info(folder / "records", records.DatasetInfo(tiny.SPEC, shards))
    return "kerasseg.train", train_flags(folder, "--border_weights=2.0", "--loss=dice")


def no_classes(folder, run):
    del run
    (folder / "records/dataset.json").unlink()
    return "kerasseg.train", train_flags(folder)


def not_evaluated(folder, run):
    del run
    given = [f"--workdir={folder}/run", f"--compare_workdir={folder}/second run"]
    shutil.copytree(folder / "run", folder / "second run")
    return "kerasseg.evaluate", [*given, "--noreport"]


def without_records(folder, run):
    del run
    shutil.move(folder / "records", folder / "moved")
    given = [f"--workdir={folder}/run", f"--export_dir={folder}/export"]
    return "kerasseg.export", given


def tuned_flag(folder, run):
    del run
    return "kerasseg.tune_crf", [f"--workdir={folder}/run", "--crf_bilateral_sxy=20"]


def no_multi_grid(folder, run):
    del run
    more = ["--model=deeplab_v3", "--model_option=backbone=mobilenet"]
    return "kerasseg.train", remedies.replaced(train_flags(folder), more)


def valid_padding(folder, run):
    del run
    options = ["padding=valid", "backbone=vgg16"]
    more = ["--model=unet", *(f"--model_option={option}" for option in options)]
    return "kerasseg.train", remedies.replaced(train_flags(folder), more)


def no_regions(folder, run):
    del run
    options = ["aux=true", "ocr=false", "width=4", "units=1", "modules=1,1,1"]
    more = ["--model=hrnet_ocr", *(f"--model_option={option}" for option in options)]
    return "kerasseg.train", remedies.replaced(train_flags(folder), more)


FAULTS = {
    other_flags: ["--change_flags=seed"],
    other_records: ["--change_flags=records_dir"],
    large_gradients: ["--gradient_clip_norm=1"],
    one_cell: ["--fine_tune_batch_norm=false"],
    no_aux: ["--model_option=aux=true"],
    border_weights: ["--loss=crossentropy"],
    no_classes: ["--dataset=pascal_voc"],
    not_evaluated: [],  # A command.
    without_records: ["--check_images=0"],
    no_multi_grid: ["--model_option=multi_grid=None"],
    valid_padding: ["--model_option=padding=same"],
    no_regions: ["--model_option=ocr=True"],
}


def some_slow():
    """One of each kind of remedy is tested by default, the others with -m slow."""
    quick = other_flags, one_cell, not_evaluated, no_multi_grid
    return [
        pytest.param(
            fault,
            id=fault.__name__,
            marks=[] if fault in quick else [pytest.mark.slow],
        )
        for fault in FAULTS
    ]


@pytest.mark.parametrize("fault", some_slow())
def test_what_an_error_proposes_works(fault, copy, capsys, monkeypatch):
    if fault in (no_multi_grid, valid_padding, no_regions):  # Training takes long.
        from kerasseg import training

        monkeypatch.setattr(
            training, "train", lambda builder, *_, **__: builder(3) and {}
        )
    call = lambda *command: run(capsys, *command)  # noqa: E731
    module, given = fault(copy, call)
    status, text = call(module, given)
    SEEN[fault.__name__].append(text)
    assert status == 2 and "Traceback" not in text, text
    for other, words in remedies.commands(text):
        assert call(other, words)[0] == 0, words
    repeated = {word.lower() for word in given}
    proposed = [
        words
        for words in remedies.alternatives(text, given)
        if not {word.lower() for word in words} <= repeated
    ]
    assert {*FAULTS[fault]} <= {word for words in proposed for word in words}, text
    if not FAULTS[fault]:
        assert remedies.commands(text)
        assert call(module, given)[0] == 0
    for words in proposed if FAULTS[fault] else []:
        # The last one of --model_option counts.
        more = [word for word in words if word.startswith("--model_option")]
        changed = [*remedies.replaced(given, {*words} - {*more}), *more]
        status, text = call(module, changed)
        assert status == 0, (words, text)


def test_the_command_of_tune_crf_evaluates_its_best_setting(copy, capsys):
    given = [f"--workdir={copy}/run", "--split=train", "--eval_scales=1,2"]
    status, text = run(capsys, *tuned_flag(copy, None))
    SEEN["tuned_flag"].append(text)
    (proposed,) = re.findall(r"--try_bilateral_sxy=\S+\d", text)
    assert status == 2
    few = [proposed, "--try_bilateral_compat=1,3", "--try_bilateral_srgb=30"]
    given += [*few, "--num_images=2", "--crf_iterations=1"]
    status, text = run(capsys, "kerasseg.tune_crf", given)
    SEEN["tune_crf"].append(text)
    assert status == 0, text
    ((module, words),) = remedies.commands(text)
    assert {"--split=train", "--eval_scales=1,2"} <= {*words}
    status, text = run(capsys, module, [*words, "--noreport"])
    assert status == 0, text


def test_what_an_export_prints_can_be_run(copy, capsys, monkeypatch):
    given = [f"--workdir={copy}/run", f"--export_dir={copy}/export"]
    status, text = run(capsys, "kerasseg.export", [*given, "--check_images=1"])
    assert status == 0, text
    code = text.partition("Usage:\n")[2]
    lines = [line[4:] for line in code.splitlines() if line.startswith("    ")]
    monkeypatch.chdir(copy)
    shutil.copy("image.png", "image.jpg")
    with warnings.catch_warnings():  # The short example does not close its files.
        warnings.simplefilter("ignore", ResourceWarning)
        exec("\n".join(lines), {})
    assert pathlib.Path("mask.png").exists()


# Why a message is not caused here.
NOT_RUN = {
    "pip install": "tests/project/test_remedies.py",
    "is not a flag. A flag file has one": "an example: tests/cli/test_flagfiles.py",
    "Number of worker processes.": "help text",
    "number of steps between the starts of two": "help text",
    "Keras has no ImageNet weights": "needs a download",
    "`strategy=parameter_server` needs the jobs": "repeats the flag",
    "`crf_engine=pydensecrf`": "repeats the flag",
    "The command to start is missing": "FILE is to be filled in",
    "compiles the step of one device": "needs several devices",
}
PROPOSES = re.compile(r"(--|`)[a-z_]+=[^\0`\s]|python -m [\w.]+ (--|\0)")


def test_every_message_with_a_command_is_run():
    if len(SEEN) < len(FAULTS) + 2:
        pytest.skip("needs the other tests of this file in the same process")
    texts = [" ".join(text.split()) for each in SEEN.values() for text in each]
    texts += [text.replace("--model_option=", "--") for text in texts]
    missing = []
    for path, line, template in remedies.templates("kerasseg"):
        plain = " ".join(template.split())
        if "serve" in path.parts or not PROPOSES.search(plain):
            continue
        if not any(text in plain for text in NOT_RUN) and not any(
            map(remedies.pattern(plain).search, texts)
        ):
            missing.append(f"{path}:{line}: {template!r}")
    assert not missing, "\n".join(missing)
