"""Options of a prediction: defaults, checks, flags, and the refinement they start."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from kerasseg import crf, errors, inference
from kerasseg.cli import inference_flags  # noqa: F401 - defines the flags.
from kerasseg.inference import InferenceOptions, PredictorOptions
from kerasseg.system import processes


def test_the_crf_flags_have_the_defaults_of_dense_crf():
    parameters = inspect.signature(crf.dense_crf).parameters
    settings = InferenceOptions(crf=True).crf_settings()
    assert settings == {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind == parameter.KEYWORD_ONLY
    }
    for name, default in settings.items():
        assert flags.FLAGS[f"crf_{name}"].default == default


def test_the_predictor_flags_have_the_defaults_of_predictor():
    parameters = inspect.signature(inference.Predictor).parameters
    assert PredictorOptions().arguments() == {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind == parameter.KEYWORD_ONLY and name != "rule"
    }


@pytest.mark.parametrize("cls", [PredictorOptions, InferenceOptions])
def test_each_field_is_a_flag_of_the_same_name(cls):
    for name, field in inspect.signature(cls).parameters.items():
        assert flags.FLAGS[name].default == field.default


def test_options_do_not_start_tensorflow():
    code = (
        "import sys; from kerasseg.cli import inference_flags;"
        "from kerasseg.inference import job; from kerasseg.exporting import formats;"
        "formats.all_formats();"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_crf_there_is_no_refinement():
    options = InferenceOptions(crf_iterations=-1)
    assert options.crf_settings() is None
    with inference.start_refiner(options.crf_settings()) as refine:
        assert refine is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crf": True, "crf_iterations": -1}, "`crf_iterations=-1`: expected a whole"),
        ({"crf": True, "crf_engine": "gpu"}, "`crf_engine=gpu`: expected one of pyd"),
        ({"crf": True, "crf_gaussian_sxy": 0.0}, "`crf_gaussian_sxy=0.0`: a standard"),
        ({"crf": True, "superpixels": 9}, "`superpixels=9` cannot be comb.* `crf`"),
        ({"superpixels": -1}, "`superpixels=-1`: expected a whole number above 0"),
    ],
)
def test_wrong_options_are_named_as_their_flags(values, message):
    with pytest.raises(errors.UserError, match=message):
        InferenceOptions(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eval_scales": "x"}, "`eval_scales=x`: expected numbers separated by commas"),
        ({"eval_scales": "1,0"}, "`eval_scales=1,0`: expected one or more numbers ab"),
        (
            {"eval_fusion": "sum"},
            "`eval_fusion=sum`: expected one of mean, max, max_l",
        ),
        ({"tile_size": 100}, "`tile_size=100`: expected a multiple of 128"),
    ],
)
def test_wrong_predictor_options_are_named_as_their_flags(values, message):
    with pytest.raises(errors.UserError, match=message):
        PredictorOptions(**values)


def test_a_missing_extra_is_an_error_before_an_image_is_refined(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.delitem(sys.modules, "kerasseg.crf.pydensecrf_engine", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'kerasseg\[crf\]"):
        InferenceOptions(crf=True, crf_engine="pydensecrf")


def test_worker_processes_refine_like_the_function_and_in_order():
    pytest.importorskip("pydensecrf.densecrf")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 12, 16, 3), np.uint8)
    probabilities = rng.dirichlet(np.ones(4), (3, 12, 16)).astype(np.float32)
    settings = {"iterations": 3, "bilateral_srgb": 40.0}
    expected = [
        crf.dense_crf(*arrays, **settings).argmax(-1)
        for arrays in zip(images, probabilities, strict=True)
    ]
    options = InferenceOptions(crf=True, crf_iterations=3, crf_bilateral_srgb=40.0)
    with inference.start_refiner(options.crf_settings()) as refine:
        masks = list(
            processes.in_order(
                lambda i: refine(images[i], probabilities[i]), range(3), num_threads=2
            )
        )
    np.testing.assert_array_equal(masks, expected)
    assert masks[0].dtype == np.uint8


def test_superpixels_average_the_probabilities():
    pytest.importorskip("skimage")
    # Two halves of one color each, two superpixels each: 0.9 in 6 of a half's 8
    # columns, 0.1 in the others, is 0.7 on average.
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 8:] = 255
    second = np.full((16, 16), 0.1, np.float32)
    second[:, 2:8] = 0.9
    probabilities = np.stack([1 - second, second], axis=-1)
    expected = np.zeros((16, 16), np.uint8)
    expected[:, :8] = 1
    with inference.start_refiner(num_superpixels=4) as refine:
        mask = refine(image, probabilities)
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


def test_a_wrong_number_of_superpixels_is_an_error_before_an_image_is_refined():
    with (
        pytest.raises(errors.UserError, match="`superpixels=-1`"),
        inference.start_refiner(num_superpixels=-1),
    ):
        pass


WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None  # Importing them fails.
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("predict", [], "Required flags are missing: --input, --output_dir"),
        (
            "predict",
            ["--workdir=/nowhere"],
            "/nowhere does not exist. Give the workdir",
        ),
        ("predict", ["--workdir={run}"], "--input='{run}/*.jpg': no image found"),
        (
            "predict",
            ["--workdir={run}", "--output=mask"],
            "--output=mask: expected one",
        ),
        (
            "predict",
            ["--workdir={run}", "--eval_scales=0"],
            "--eval_scales=0: expected",
        ),
        ("predict", ["--workdir={run}", "--tile_size=5"], "--tile_size=5: expected a"),
        ("predict", ["--crf", "--crf_iterations=0"], "--crf_iterations=0: expected a"),
        ("export", ["--workdir=/nowhere"], "/nowhere does not exist. Give the workdir"),
        (
            "export",
            ["--workdir={run}", "--format=x"],
            "--format=x: expected one or more",
        ),
        ("export", ["--workdir={run}", "--version=x"], "--version=x: expected a whole"),
        (
            "export",
            ["--workdir={run}", "--tile_size=128"],
            "cannot be part of an export",
        ),
        (
            "export",
            ["--workdir={run}"],
            "or --check_images=0 to compare on a synthetic",
        ),
        ("tune_crf", ["--workdir=/nowhere"], "/nowhere does not exist. Give the workd"),
        ("tune_crf", ["--workdir={run}", "--try_bilateral_sxy=0"], "try_bilateral_sxy"),
        ("tune_crf", ["--workdir={run}", "--superpixels=9"], "--superpixels cannot be"),
        ("serve", ["--port=70000"], "--port=70000: expected a port up to 65535"),
    ],
)
def test_mistakes_are_reported_before_tensorflow_starts(
    tmp_path, command, arguments, message
):
    given = [argument.format(run=tmp_path) for argument in arguments]
    if given and command == "predict":
        given += [f"--input={tmp_path}/*.jpg", f"--output_dir={tmp_path}/out"]
    if command in ("export", "serve"):
        given += [f"--export_dir={tmp_path}/out"]
    if command == "serve":
        given += ["--model_name=m"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, f"kerasseg.{command}", *given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert message.format(run=tmp_path) in done.stderr
