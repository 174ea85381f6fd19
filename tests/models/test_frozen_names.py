"""Names of layers and variables, by which old files hold the weights, never change."""

import hashlib
import json
import pathlib

import keras
import pytest

from kerasseg import models

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "names.json"
HASHES = json.loads(GOLDEN.read_text())["models"]


@pytest.mark.parametrize("name", HASHES)
def test_layers_and_variables_are_named_as_in_old_files(name):
    keras.backend.clear_session()
    model = models.build_model(name, 3, **models.metadata(name).test_options)
    names = [variable.path for variable in model.variables]
    names += [layer.name for layer in model.layers if layer.weights]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert digest[:16] == HASHES[name]
