"""The page of an evaluation: chosen images, drawings and text."""

import html.parser
import re

import numpy as np
import pytest

from kerasseg import datasets, evaluation, metrics, report
from kerasseg.evaluation import scoring
from kerasseg.report import (
    closeups,
    encoding,
    gallery,
    markup,
    ranking,
    writing,
)

NAMES = "road", "car", "rare"
HOSTILE = '<script>alert("x")</script>&\ud800.png'


def make_spec(names=NAMES):
    colors = [(50 * i, 20, 200 - 50 * i) for i in range(len(names))]
    return datasets.DatasetSpec(
        name="small",
        source="tests.report.test_report",
        num_images={},
        classes=dict(zip(names, colors, strict=True)),
    )


class Split(list):
    """A list of samples, with the attributes of a split that scoring needs."""

    name = "val"

    def __init__(self, samples, spec=None):
        super().__init__(samples)
        self.spec = spec or make_spec()


def sample(label, mask, image=None, probabilities=None):
    label, mask = np.array(label, np.uint8), np.array(mask, np.uint8)
    return evaluation.Sample(label, mask, image, probabilities)


def evaluated(split, names=None, **options):
    """Returns the `Evaluation` of the samples of a split."""
    names = names or [f"p{i}.png" for i in range(len(split))]
    scored = [
        scoring.ScoredImage(i, names[i], each.label, each.mask, _confidence(each))
        for i, each in enumerate(split)
    ]
    return scoring.score(scored, split, **options)


def _confidence(sample):
    return None if sample.probabilities is None else sample.probabilities.max(axis=-1)


def noise_split(count=6, size=(48, 64), seed=0):
    """Creates samples whose masks get worse from one to the next."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        label = np.zeros(size, np.uint8)
        label[:, size[1] // 2 :] = 1
        label[:8, :8] = 2
        label[-2:] = 255
        mask = label.copy() % 3
        mask[:, size[1] // 2 : size[1] // 2 + 4 * i] = 0
        image = rng.integers(0, 255, (*size, 3)).astype(np.uint8)
        probabilities = np.eye(3, dtype=np.float32)[mask] * 0.7 + 0.1
        samples.append(sample(label, mask, image, probabilities))
    return Split(samples)


@pytest.fixture
def write(tmp_path):
    """Writes a page; returns its text and the indices of the requested samples."""

    def call(split, result=None, settings=None, **options):
        requested = []

        def get_sample(index):
            requested.append(index)
            return split[index]

        path = tmp_path / "report.html"
        result = result or evaluated(split)
        report.write(path, result, split.spec, settings or {}, get_sample, **options)
        return path.read_text("utf-8"), requested

    return call


# Chosen images.


def test_images_are_ranked_by_the_cost_of_their_errors():
    split = Split(
        [
            sample([[0, 0, 1, 1]], [[0, 0, 1, 1]]),
            sample([[0, 0, 1, 1]], [[1, 1, 0, 1]]),
            sample([[0, 1]], [[0, 1]]),
        ],
        make_spec(NAMES[:2]),
    )
    result = evaluated(split)
    # Road: 3 hits, 5 labeled, 4 predicted: 3/6. Car: 4 hits, 5, 6: 4/7.
    assert metrics.mean_iou(result.counts.sum(axis=0)) == pytest.approx(
        (3 / 6 + 4 / 7) / 2
    )
    first, *others = ranking.rank_images(result)
    # If the second image were correct, the IoU of both classes would be 1.
    assert first.index == 1
    assert first.cost == pytest.approx(1 - (3 / 6 + 4 / 7) / 2)
    assert (first.best_class, first.gain) == (0, pytest.approx(1 / 2))
    # Its largest confusion with road: two pixels of road predicted as car.
    assert first.confusion == (0, 1, 2)
    assert [(image.index, image.cost, image.confusion) for image in others] == [
        (0, 0, None),
        (2, 0, None),
    ]


def test_an_error_in_a_rare_class_costs_more_than_one_in_a_common_class():
    common = np.zeros((10, 10), np.uint8)
    wrong = common.copy()
    wrong[0, :4] = 1
    rare = common.copy()
    rare[0, :6] = 2
    missed = rare.copy()
    missed[0, :4] = 0
    cars = np.ones((10, 10), np.uint8)
    split = Split([sample(common, wrong), sample(rare, missed), sample(cars, cars)])
    ranked = ranking.rank_images(evaluated(split))
    assert [image.index for image in ranked] == [1, 0, 2]


def test_no_image_is_among_both_the_worst_and_the_best():
    ignored = sample([[255, 255]], [[0, 0]])
    samples = [sample([[0, 0]], [[0, 0]]), ignored, sample([[0, 0]], [[0, 1]])]
    result = evaluated(Split(samples))
    # The image without a labeled pixel is in neither.
    assert ranking.worst_and_best(result, 8) == ([2], [0])
    assert ranking.worst_and_best(evaluated(Split([ignored])), 8) == ([], [])
    worst, best = ranking.worst_and_best(evaluated(noise_split(9)), 3)
    assert (worst, best) == ([8, 7, 6], [0, 1, 2])


def test_closeups_are_of_the_image_with_most_pixels_of_the_confusion():
    split = Split(
        [
            sample([[0, 0, 0, 0, 1, 2]], [[0, 0, 0, 1, 0, 0]]),
            sample([[0, 0, 0, 0, 2, 2]], [[0, 0, 1, 1, 0, 2]]),
        ]
    )
    chosen = closeups.choose_closeups(evaluated(split), selected=[], max_more=2)
    # IoU of car 0, of rare 1/3, of road 5/11: 5 hits, 8 labeled, 8 predicted.
    assert chosen == [
        closeups.Closeup(label=1, predicted=0, index=0, pixels=1),
        closeups.Closeup(label=2, predicted=0, index=0, pixels=1),
        closeups.Closeup(label=0, predicted=1, index=1, pixels=2),
    ]
    # With only the first image available, all are shown there.
    chosen = closeups.choose_closeups(evaluated(split), selected=[0], max_more=0)
    assert [closeup.index for closeup in chosen] == [0, 0, 0]


def test_a_crop_is_around_the_largest_region_of_a_confusion():
    label = np.zeros((400, 600), np.uint8)
    mask = label.copy()
    mask[10:14, 10:14] = 1
    mask[300:380, 500:590] = 1
    closeup = closeups.Closeup(label=0, predicted=1, index=0, pixels=80 * 90 + 16)
    rows, columns = closeups.crop(sample(label, mask), closeup)
    # 1.6 times 90 is 144, around row 340 and column 545, moved into the image.
    assert (rows, columns) == (slice(400 - 144, 400), slice(600 - 144, 600))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2)])
def test_a_crop_of_a_small_image_is_the_whole_image(size):
    small = sample(np.zeros(size), np.ones(size))
    rows, columns = closeups.crop(small, closeups.Closeup(0, 1, 0, 1))
    # A crop would have 1.6 times the side of the region, at least 96 pixels.
    assert small.label[rows, columns].shape == size


# Drawings.


def test_errors_are_marked_and_ignored_pixels_are_gray():
    image = np.full((1, 3, 3), 90, np.uint8)
    drawn = gallery.error_map(sample([[0, 1, 255]], [[0, 0, 0]], image), (1, 3))
    # 170 plus a third of the gray value.
    colors = [[200] * 3, list(gallery.ERROR_COLOR), list(gallery.IGNORED_COLOR)]
    assert drawn[0].tolist() == colors


def test_entropy_is_dark_for_certain_and_bright_for_uncertain_pixels():
    probabilities = np.array([[[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]], np.float32)
    drawn = gallery.entropy_map(probabilities, (1, 2))
    scale = gallery.entropy_colors()
    np.testing.assert_array_equal(drawn[0, 0], scale[0])
    assert drawn[0, 1].tolist() in scale[254:].tolist()
    one_class = gallery.entropy_map(np.ones((2, 2, 1), np.float32), (2, 2))
    np.testing.assert_array_equal(one_class[0, 0], scale[0])


def test_entropy_does_not_depend_on_the_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), (60, 50)).astype(np.float32)
    whole = gallery.entropy_map(probabilities, (15, 13))
    monkeypatch.setattr(gallery, "_MAX_PROBABILITIES", 1)
    np.testing.assert_array_equal(gallery.entropy_map(probabilities, (15, 13)), whole)


def test_an_image_budget_reserves_up_to_its_limit():
    budget = encoding.ImageBudget(10)
    assert budget.reserve("123", "4567")
    assert not budget.exceeded
    assert not budget.reserve("8901")
    assert budget.exceeded
    assert budget.reserve("890")


# The page.


def test_names_are_escaped():
    assert markup.tag("p", 'a<b>&"\x00') == "\n<p>a&lt;b&gt;&amp;&quot;\ufffd</p>"
    assert markup.tag("img", alt='"><b>') == '\n<img alt="&quot;&gt;&lt;b&gt;">'
    inner = markup.tag("b", "x")
    assert markup.tag("i", inner, None, hidden=True, title=None) == (
        "<i hidden><b>x</b></i>"
    )


class Page(html.parser.HTMLParser):
    """Checks that all elements are closed, and collects their attributes."""

    def __init__(self, text):
        super().__init__()
        self._open, self.tags = [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def values(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def test_a_page_is_complete_and_loads_nothing(write):
    split = noise_split()
    names = [HOSTILE, *(f"p{i}.png" for i in range(1, 6))]
    result = evaluated(split, names, measures=list(scoring.MEASURES))
    result.scores["interval"] = metrics.interval(result.counts, split.spec.class_names)
    text, requested = write(split, result, {"model": "tiny", "split": "val"})
    page = Page(text)
    assert all(url.startswith("data:image/") for url in page.values("src"))
    assert "default-src 'none'" in page.values("content")[0]
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    links = page.values("href") + [f"#{i}" for i in page.values("aria-labelledby")]
    assert {link.removeprefix("#") for link in links} <= set(identifiers)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert images
    assert all(attrs["alt"] and attrs["width"] for attrs in images)
    # The only script is that of the page.
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "alert(&quot;x&quot;)" in text
    assert len(requested) == len(set(requested))
    assert {"classes", "first", "worst", "best", "closeups"} <= set(identifiers)


def test_the_page_has_the_scores(write):
    split = noise_split(2)
    result = evaluated(split)
    text, _ = write(split, result, {"command": "python -m kerasseg.evaluate --crf"})
    assert f"{100 * result.scores['mean_iou']:.2f}" in text
    assert f"{100 * result.scores['iou']['car']:.2f}" in text
    assert "python -m kerasseg.evaluate --crf" in text


def test_a_page_without_images_requests_no_sample(write):
    text, requested = write(noise_split(), num_images=0)
    assert requested == []
    assert "<img" not in text
    Page(text)


def test_a_negative_number_of_images_is_refused(write):
    with pytest.raises(ValueError, match="at least 0, got -1"):
        write(noise_split(), num_images=-1)


def test_a_page_leaves_images_out_to_limit_its_size(write, monkeypatch):
    whole, _ = write(noise_split())
    assert "More images were left out" not in whole
    monkeypatch.setattr(writing, "MAX_IMAGE_BYTES", 20_000)
    text, _ = write(noise_split())
    assert "More images were left out" in text
    assert 0 < sum(map(len, re.findall(r'src="([^"]*)"', text))) <= 20_000
    Page(text)


@pytest.mark.parametrize(
    ("label", "mask", "expected"),
    [
        ([[255, 255]], [[0, 1]], "Without a labeled pixel: 1 image."),
        ([[0, 0]], [[0, 0]], "No image would improve the mean IoU"),
        ([[0]], [[1]], "Predicted but never labeled, IoU 0: "),
        ([[0, 1]], [[0, 0]], "Labeled but never predicted, IoU 0: "),
        ([[0, 0]], [[0, 77]], "No image"),
    ],
)
def test_a_page_is_written_for_any_images(write, label, mask, expected):
    mask = np.array(mask)
    known = np.where(mask < 3, mask, 0)
    result = evaluated(Split([sample(label, known)]))
    text, _ = write(Split([sample(label, mask)]), result)
    Page(text)
    assert expected in text


def test_a_page_with_one_class_is_written(write):
    spec = make_spec(NAMES[:1])
    Page(write(Split([sample([[0, 255]], [[0, 0]])], spec))[0])


def test_a_page_that_fails_leaves_the_old_one(write, tmp_path):
    before, _ = write(noise_split(2))
    broken = Split([sample([[0, 1]], [[1, 0]])])
    result = evaluated(broken)
    broken[0] = None
    with pytest.raises(AttributeError):
        write(broken, result)
    assert (tmp_path / "report.html").read_text("utf-8") == before
