import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasseg import errors
from kerasseg.training import recipe, schedules

# Options without which a schedule raises an error.
REQUIRED = {
    "step": {"learning_rate_decay_step": 10},
    "exponential": {"learning_rate_decay_step": 100},
}


def schedule(policy, **options):
    options = {"base_learning_rate": 0.007, "num_steps": 100} | options
    return schedules.get(policy, **REQUIRED.get(policy, {}) | options)


def any_schedule(policy, **options):
    try:
        return schedule(policy, **options)
    except errors.UserError as error:
        pytest.fail(f"{error} Add the options that {policy} needs to REQUIRED.")


# Options that are not flags.
PYTHON_ONLY = {"boundaries"}


@pytest.mark.parametrize("policy", schedules.POLICIES)
def test_every_option_is_a_field_of_the_recipe(policy):
    fields = {field.name for field in dataclasses.fields(recipe.Recipe)}
    assert set(schedules.options(policy)) <= fields | PYTHON_ONLY


def test_poly_follows_the_published_curve():
    rate = schedule("poly")
    # 0.007 * (1 - t)^0.9 at t = 0, .25, .5, .75, .9.
    rates = [rate(step) for step in (0, 25, 50, 75, 90)]
    assert rates == pytest.approx(
        [0.007, 0.005403, 0.003751, 0.002010, 0.000881], abs=6e-7
    )
    assert rate(100) == rate(1000) == 0


def test_poly_ends_at_the_end_rate():
    rate = schedule(
        "poly", base_learning_rate=1.0, end_learning_rate=0.2, learning_power=1
    )
    # Halfway from 1 to 0.2.
    assert [rate(0), rate(50), rate(100)] == pytest.approx([1.0, 0.6, 0.2])


def test_cosine_is_half_way_down_in_the_middle():
    rate = schedule("cosine", base_learning_rate=1.0, end_learning_rate=0.1)
    # At a third, cos(60 degrees) = 1/2: 0.1 + 0.9 * 0.75.
    rates = [rate(step) for step in (0, 50, 100, 200)]
    assert rates == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert schedule("cosine", base_learning_rate=1.0, num_steps=3)(1) == pytest.approx(
        0.75
    )


def test_step_decays_at_regular_intervals():
    rate = schedule(
        "step",
        base_learning_rate=1.0,
        learning_rate_decay_step=40,
        learning_rate_decay_factor=0.5,
    )
    assert [rate(s) for s in (0, 39, 40, 79, 80, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_step_decays_at_boundaries():
    rate = schedules.get(
        "step", base_learning_rate=1.0, num_steps=100, boundaries=[60, 90]
    )
    assert [rate(s) for s in (59, 60, 90)] == pytest.approx([1, 0.1, 0.01])


def test_step_without_a_boundary_in_reach_is_constant():
    assert schedule("step", learning_rate_decay_step=500)(99) == 0.007


def test_exponential_decays_by_its_factor_in_an_interval():
    rate = schedule(
        "exponential",
        base_learning_rate=1.0,
        learning_rate_decay_step=40,
        learning_rate_decay_factor=0.25,
    )
    # 0.25 ** (20 / 40) = 1/2, and once more in 20 steps.
    assert [rate(s) for s in (0, 20, 40, 80)] == pytest.approx(
        [1, 1 / 2, 1 / 4, 1 / 16]
    )


def test_constant_keeps_the_rate():
    assert schedule("constant")(0) == schedule("constant")(10**9) == 0.007


@pytest.mark.parametrize("policy", schedules.POLICIES)
def test_warm_up_is_a_straight_line_to_the_base_rate(policy):
    rate = any_schedule(policy, base_learning_rate=1.0, warmup_steps=4)
    assert [rate(s) for s in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_the_policy_counts_from_the_end_of_the_warm_up():
    rate = schedule("poly", base_learning_rate=1.0, learning_power=1, warmup_steps=20)
    # 40 of the 80 steps that remain are left.
    assert rate(60) == pytest.approx(0.5)


@given(
    st.sampled_from(sorted(schedules.POLICIES)),
    st.integers(1, 3_000),  # 300 decays to a tenth do not underflow.
    st.floats(0, 0.99),
    st.integers(0, 20_000),
)
def test_rates_stay_between_0_and_the_base(policy, num_steps, warm, step):
    warmup_steps = int(warm * num_steps)
    rate = any_schedule(policy, num_steps=num_steps, warmup_steps=warmup_steps)
    assert 0 <= rate(step) <= 0.007
    assert isinstance(rate(step), float) and math.isfinite(rate(step))
    if step < num_steps:
        assert rate(step) > 0


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        (
            "linear",
            {},
            r"`learning_policy=linear` is not .*: "
            + re.escape(f"{', '.join(sorted(schedules.POLICIES))}."),
        ),
        (
            "poly",
            {"learning_rate_decay_step": 3},
            r"poly schedule has no option 'learning_rate_decay_step'.*power",
        ),
        ("constant", {"power": 3}, r"no option 'power'. It takes: none\."),
        ("poly", {"learning_power": 0}, "`learning_power` must be above 0, got 0"),
        ("poly", {"end_learning_rate": -1}, "`end_learning_rate` must be at least 0"),
        ("cosine", {"end_learning_rate": -1}, "`end_learning_rate` must be at least 0"),
        ("poly", {"base_learning_rate": 0}, "`base_learning_rate` must be above 0"),
        ("poly", {"base_learning_rate": math.nan}, "above 0 and finite, got nan"),
        (
            "poly",
            {"num_steps": 0},
            "`training_number_of_steps` must be at least 1, got 0",
        ),
        (
            "poly",
            {"warmup_steps": 100},
            "`warmup_steps` must be from 0 to below the 100",
        ),
        (
            "step",
            {"learning_rate_decay_step": None},
            "either `learning_rate_decay_step` or `boundaries`",
        ),
        (
            "step",
            {"boundaries": [1]},
            r"`boundaries`, got 10 and \[1\]",
        ),
        (
            "step",
            {"learning_rate_decay_step": 0},
            "`learning_rate_decay_step` must be at least 1, got 0",
        ),
        (
            "step",
            {"learning_rate_decay_factor": 1.5},
            r"`learning_rate_decay_factor` must be in \(0, 1\], got 1.5",
        ),
        (
            "exponential",
            {"learning_rate_decay_step": None},
            "`learning_rate_decay_step` must be given and at least",
        ),
        ("exponential", {"learning_rate_decay_step": 0}, "at least 1, got 0"),
        (
            "exponential",
            {"learning_rate_decay_factor": 0},
            r"`learning_rate_decay_factor` must be in \(0, 1\], got 0",
        ),
    ],
)
def test_wrong_options_are_named(policy, options, message):
    with pytest.raises(ValueError, match=message):
        schedule(policy, **options)


@pytest.mark.parametrize("boundaries", [[20, 10], [10, 10], [0], [100]])
def test_boundaries_ascend_within_the_run(boundaries):
    with pytest.raises(
        ValueError, match=r"`boundaries` must be ascending.*the 100 steps"
    ):
        schedule("step", learning_rate_decay_step=None, boundaries=boundaries)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="`step` must be at least 0, got -1"):
        schedule("poly")(-1)
