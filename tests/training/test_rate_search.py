"""The learning rate range test."""

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg import errors
from kerasseg.pipeline.dataset import Dataset
from kerasseg.training.rate_search import RangeTest
from tests.support import tiny

SETTINGS = {"train_batch_size": 2, "train_crop_size": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset(tiny.write_records(tmp_path_factory.mktemp("records"), val=1))


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss(tmp_path):
    rates = (0.001, 0.01, 0.1, 1.0)
    result = RangeTest(rates, (3.0, 2.0, 1.0, 9.0), (3.0, 2.5, 1.7, 4.0), True)
    assert result.lowest == 0.1 and result.suggestion == pytest.approx(0.01)
    assert repr(result) == (
        "<RangeTest: suggested learning rate 0.01; lowest loss 1.7 at 0.1, diverged at "
        "1>"
    )
    axes = result.plot(tmp_path / "rates.png").axes[0]
    assert axes.get_xscale() == "log"
    assert axes.lines[1].get_xydata().tolist()[2] == [0.1, 1.7]
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_keeps_its_weights_and_its_optimizer(data):
    model = tiny.build_model("mine", 3)
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9))
    before = [np.array(v) for v in (*model.weights, *model.optimizer.variables)]
    flags = [(layer.name, layer.trainable) for layer in model.layers]
    result = kerasseg.find_learning_rate(
        model, data, min_rate=1e-4, max_rate=1e3, num_steps=15, **SETTINGS
    )
    after = [np.array(v) for v in (*model.weights, *model.optimizer.variables)]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)
    assert flags == [(layer.name, layer.trainable) for layer in model.layers]
    # Each rate is 10 ** 0.5 times the one before: 14 factors are 1e7.
    np.testing.assert_allclose(result.rates[:3], [1e-4, 10**-3.5, 1e-3])
    # The average of two losses, with weights 0.09 and 0.1, without bias.
    one, two = result.losses[:2]
    assert result.smoothed[0] == pytest.approx(one)
    assert result.smoothed[1] == pytest.approx((0.9 * one + two) / 1.9)
    assert result.diverged and result.smoothed[-1] > 4 * min(result.smoothed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_rate": 0.0}, "0 < `min_rate` < `max_rate`, got `min_rate=0.0`"),
        ({"min_rate": 2.0}, "0 < `min_rate` < `max_rate`, got `min_rate=2.0`"),
        ({"num_steps": 9}, "`num_steps=9` is too few"),
        (
            {"semi": "consistency"},
            "`semi=consistency` cannot be combined with kerasseg.",
        ),
        ({"recipe": "none"}, "There is no recipe 'none'"),
    ],
)
def test_wrong_arguments_are_refused(data, changes, message):
    arguments = {"model": lambda n: tiny.build_model("mine", n), "data": data}
    with pytest.raises(errors.UserError, match=message):
        kerasseg.find_learning_rate(**{**arguments, **changes})
