"""Networks by name: converted once, and used like the workdir of a run."""

import functools
import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import kerasseg
from kerasseg import errors, import_weights, models, train
from kerasseg.cli import networks
from kerasseg.training import initial_weights
from kerasseg.weights import cache, catalogue, families
from kerasseg.weights.encoders import resnet
from kerasseg.weights.families import torchvision
from kerasseg.weights.networks import Network
from kerasseg.workdir import imported, metadata
from tests.support import foreign

pytestmark = pytest.mark.usefixtures("published")
safetensors = pytest.importorskip("safetensors.numpy")
NAME = "tiny/net"
NETWORK = Network(
    family="tiny",
    model="fcn_resnet",
    num_classes=3,
    options={
        "backbone": "resnet18_quarter",
        "normalization": "torch",
        "output_stride": 8,
    },
    source=functools.partial(
        torchvision._source,
        "fcn_resnet",
        functools.partial(resnet.module, prefix="backbone."),
    ),
    class_names=("sky", "road", "car"),
    palette=((0, 0, 255), (128, 128, 128), (255, 0, 0)),
    epsilon=1e-4,
)


@pytest.fixture(scope="module")
def arrays():
    """Arrays of the network, as PyTorch names them."""
    model = models.build_model("fcn_resnet", 3, **NETWORK.options)
    return foreign.of_torch(model, NETWORK)


@pytest.fixture
def published(arrays, monkeypatch, tmp_path):
    """Publishes the network as `NAME`; returns its file."""
    flags.FLAGS.mark_as_parsed()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    entry = catalogue.Entry(
        name=NAME,
        family="tiny",
        source="https://example.org",
        license="MIT",
        trained_on="streets",
        files=(catalogue.File(url="https://example.org/net.safetensors"),),
    )
    monkeypatch.setattr(catalogue, "entries", lambda: {NAME: entry})
    monkeypatch.setattr(families, "recognize", lambda *_, **__: NETWORK)
    file = cache.folder("tiny", "net") / "net.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(safetensors.save(arrays))
    return file


def test_a_name_is_loaded_like_a_workdir_and_converted_once(published):
    network = kerasseg.load(NAME)
    assert network.class_names == ("sky", "road", "car")
    assert network.palette.tolist()[2] == [255, 0, 0]
    norm = network.model.get_layer("conv1_bn")
    assert norm.epsilon == 1e-4
    image = np.zeros((40, 50, 3), np.uint8)
    probabilities = network.probabilities(image)
    published.unlink()  # It is not needed again, nor with another stride.
    again = kerasseg.load(NAME)
    np.testing.assert_array_equal(again.probabilities(image), probabilities)
    other = kerasseg.load(NAME, output_stride=16).model
    kernel = again.model.get_layer("head_conv").kernel
    np.testing.assert_array_equal(other.get_layer("head_conv").kernel, kernel)
    assert other.get_layer("conv1_bn").epsilon == pytest.approx(1e-4)


def test_paths_have_precedence_over_names(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny" / "net").mkdir(parents=True)
    assert imported.path_of(NAME) == NAME
    assert imported.path_of("some/folder") == "some/folder"
    with pytest.raises(errors.UserError, match="no weights named"):
        imported.path_of("tiny/nett")


def test_results_of_a_name_need_a_folder():
    with flagsaver.flagsaver(), pytest.raises(errors.UserError, match="`output_dir`"):
        networks.resolve_workdir(NAME, writes=True)
    with flagsaver.flagsaver(output_dir="scores"):
        path = networks.resolve_workdir(NAME, writes=True)
        assert metadata.read_metadata(path)["model"] == "fcn_resnet"


def test_architecture_and_options_are_those_of_the_initial_weights():
    with flagsaver.flagsaver(model_option=["aux=true"], model=None):
        networks.use_network_of(NAME)
        assert train.cli.MODEL.value == "fcn_resnet"
        options = train.cli.model_options(
            models.metadata("fcn_resnet").builder, train.cli.MODEL_OPTION.value
        )
    expected = {**NETWORK.options, "batch_norm_epsilon": 1e-4, "aux": True}
    assert options == {**expected, "backbone_weights": None}
    model = models.build_model("fcn_resnet", 7, **options)
    assert model.get_layer("conv1_bn").epsilon == 1e-4


class State:
    """What `initial_weights.load` needs of the state of a run."""

    ema = None

    def __init__(self, **changes):
        options = {**NETWORK.options, **changes}
        self.model = models.build_model("fcn_resnet", 7, **options)


def test_runs_start_from_a_name_without_the_last_layer(arrays, capsys):
    state = State()
    initial_weights.load(NAME, state)
    kernel = state.model.get_layer("conv1_conv").kernel
    theirs = arrays["backbone.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, theirs)
    printed = "".join(capsys.readouterr())
    assert "['head_classify/kernel', 'head_classify/bias']" in printed


def test_another_normalization_is_refused():
    with pytest.raises(errors.UserError, match="model_option=normalization=torch"):
        initial_weights.load(NAME, State(normalization="caffe"))


@pytest.mark.parametrize("output", ["model.keras", "new/workdir"])
def test_import_weights_converts_a_file(published, tmp_path, capsys, output):
    output = tmp_path / output
    with flagsaver.flagsaver(source=str(published), output=[str(output)]):
        import_weights.main([])
        assert "sky, road, car" in capsys.readouterr().out
        network = kerasseg.load(output)
        assert network.class_names == ("sky", "road", "car")
        with pytest.raises(errors.UserError, match="exists"):
            import_weights.main([])


def test_json_options_are_those_of_the_builder():
    path = imported.path_of(NAME)
    options = json.loads(json.dumps(metadata.read_metadata(path)["options"]))
    models.build_model("fcn_resnet", 3, **options)
