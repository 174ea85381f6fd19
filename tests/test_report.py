"""The page about an evaluation: what it chooses, draws and says."""

import html.parser
import re

import numpy as np
import pytest

from kerasseg import datasets, evaluation, metrics, report
from kerasseg.evaluation import scoring
from kerasseg.report import crops, encoding, markup, ranking, views, writing

NAMES = "road", "car", "rare"
HOSTILE = '<script>alert("x")</script>&\ud800.png'


def make_spec(names=NAMES):
    colors = [(50 * i, 20, 200 - 50 * i) for i in range(len(names))]
    return datasets.DatasetSpec(
        name="small",
        source="tests.test_report",
        num_images={},
        classes=dict(zip(names, colors, strict=True)),
    )


class Split(list):
    """Looks at pictures, with what scoring asks of a split."""

    name = "val"

    def __init__(self, looks, spec=None):
        super().__init__(looks)
        self.spec = spec or make_spec()


def look(label, prediction, image=None, probabilities=None):
    label, prediction = np.array(label, np.uint8), np.array(prediction, np.uint8)
    return evaluation.Sample(label, prediction, image, probabilities)


def evaluated(split, names=None, **options):
    """Returns the `Evaluation` of the looks of a split."""
    names = names or [f"p{i}.png" for i in range(len(split))]
    scored = [
        scoring.Scored(i, names[i], seen.label, seen.prediction, _confidence(seen))
        for i, seen in enumerate(split)
    ]
    return scoring.score(scored, split, **options)


def _confidence(seen):
    return None if seen.probabilities is None else seen.probabilities.max(axis=-1)


def photographs(count=6, size=(48, 64), seed=0):
    """Draws looks whose predictions get worse from one to the next."""
    rng = np.random.default_rng(seed)
    looks = []
    for i in range(count):
        label = np.zeros(size, np.uint8)
        label[:, size[1] // 2 :] = 1
        label[:8, :8] = 2
        label[-2:] = 255
        prediction = label.copy() % 3
        prediction[:, size[1] // 2 : size[1] // 2 + 4 * i] = 0
        image = rng.integers(0, 255, (*size, 3)).astype(np.uint8)
        probabilities = np.eye(3, dtype=np.float32)[prediction] * 0.7 + 0.1
        looks.append(look(label, prediction, image, probabilities))
    return Split(looks)


@pytest.fixture
def write(tmp_path):
    """Writes a page; returns its text and the pictures looked at."""

    def call(split, found=None, setting=None, **options):
        looked = []

        def look_at(index):
            looked.append(index)
            return split[index]

        path = tmp_path / "report.html"
        found = found or evaluated(split)
        report.write(path, found, split.spec, setting or {}, look_at, **options)
        return path.read_text("utf-8"), looked

    return call


# What to look at.


def test_pictures_come_in_the_order_of_what_their_errors_cost():
    # Pixels of road, car: IoU 4/6 and 4/6 of the split; mean of both 2/3.
    split = Split(
        [
            look([[0, 0, 1, 1]], [[0, 0, 1, 1]]),
            look([[0, 0, 1, 1]], [[1, 1, 0, 1]]),
            look([[0, 1]], [[0, 1]]),
        ],
        make_spec(NAMES[:2]),
    )
    found = evaluated(split)
    # Road: hits 3, labelled 5, predicted 4: 3/6. Car: hits 4, 5, 6: 4/7.
    assert metrics.mean_iou(found.counts.sum(axis=0)) == pytest.approx(
        (3 / 6 + 4 / 7) / 2
    )
    first, *others = ranking.order(found)
    # Were the second right, both would be 1.
    assert first.index == 1
    assert first.cost == pytest.approx(1 - (3 / 6 + 4 / 7) / 2)
    assert (first.number, first.gain) == (0, pytest.approx(1 / 2))
    # Its largest confusion with road: two of road taken for car.
    assert first.mistake == (0, 1, 2)
    assert [(item.index, item.cost, item.mistake) for item in others] == [
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
    split = Split([look(common, wrong), look(rare, missed), look(cars, cars)])
    assert [item.index for item in ranking.order(evaluated(split))] == [1, 0, 2]


def test_no_picture_is_among_the_worst_and_the_best():
    void = look([[255, 255]], [[0, 0]])
    looks = [look([[0, 0]], [[0, 0]]), void, look([[0, 0]], [[0, 1]])]
    found = evaluated(Split(looks))
    assert ranking.extremes(found, 8) == ([2], [0])  # That without a label is neither.
    assert ranking.extremes(evaluated(Split([void])), 8) == ([], [])
    worst, best = ranking.extremes(evaluated(photographs(9)), 3)
    assert (worst, best) == ([8, 7, 6], [0, 1, 2])


def test_confusions_are_shown_where_most_of_them_is():
    split = Split(
        [
            look([[0, 0, 0, 0, 1, 2]], [[0, 0, 0, 1, 0, 0]]),
            look([[0, 0, 0, 0, 2, 2]], [[0, 0, 1, 1, 0, 2]]),
        ]
    )
    chosen = crops.choose(evaluated(split), looked=[], most_looks=2)
    # IoU of car 0, of rare 1/3, of road 5/11: hits 5, labelled 8, predicted 8.
    assert chosen == [
        crops.Mistake(truth=1, taken=0, index=0, pixels=1),
        crops.Mistake(truth=2, taken=0, index=0, pixels=1),
        crops.Mistake(truth=0, taken=1, index=1, pixels=2),
    ]
    # Where only the first may be looked at, each is shown there.
    chosen = crops.choose(evaluated(split), looked=[0], most_looks=0)
    assert [mistake.index for mistake in chosen] == [0, 0, 0]


def test_a_piece_is_around_the_largest_region_of_a_confusion():
    label = np.zeros((400, 600), np.uint8)
    prediction = label.copy()
    prediction[10:14, 10:14] = 1
    prediction[300:380, 500:590] = 1
    mistake = crops.Mistake(truth=0, taken=1, index=0, pixels=80 * 90 + 16)
    rows, columns = crops.piece(look(label, prediction), mistake)
    # 1.6 times 90 is 144, around row 340 and column 545, moved into the picture.
    assert (rows, columns) == (slice(400 - 144, 400), slice(600 - 144, 600))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2)])
def test_a_piece_of_a_small_picture_is_what_there_is(size):
    seen = look(np.zeros(size), np.ones(size))
    rows, columns = crops.piece(seen, crops.Mistake(0, 1, 0, 1))
    piece = seen.label[rows, columns]
    # 1.6 times 300 is more than there is.
    assert piece.shape == size


# What is drawn.


def test_errors_are_marked_and_pixels_without_a_label_are_grey():
    image = np.full((1, 3, 3), 90, np.uint8)
    drawn = views.errors(look([[0, 1, 255]], [[0, 0, 0]], image), (1, 3))
    # 170 and a third of the grey.
    assert drawn[0].tolist() == [[200] * 3, list(views.WRONG), list(views.VOID)]


def test_entropy_goes_from_dark_where_sure_to_bright_where_undecided():
    probabilities = np.array([[[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]], np.float32)
    drawn = views.entropy(probabilities, (1, 2))
    scale = views.entropy_colors()
    np.testing.assert_array_equal(drawn[0, 0], scale[0])
    assert drawn[0, 1].tolist() in scale[254:].tolist()
    one_class = views.entropy(np.ones((2, 2, 1), np.float32), (2, 2))
    np.testing.assert_array_equal(one_class[0, 0], scale[0])


def test_the_entropy_of_a_picture_read_in_parts_is_that_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), (60, 50)).astype(np.float32)
    whole = views.entropy(probabilities, (15, 13))
    monkeypatch.setattr(views, "_ROWS", 1)
    np.testing.assert_array_equal(views.entropy(probabilities, (15, 13)), whole)


def test_an_album_takes_what_it_has_room_for():
    album = encoding.Album(10)
    assert album.take("123", "4567")
    assert not album.full
    assert not album.take("8901")
    assert album.full
    assert album.take("890")


# What is written.


def test_names_are_text_whatever_they_hold():
    assert markup.tag("p", 'a<b>&"\x00') == "\n<p>a&lt;b&gt;&amp;&quot;\ufffd</p>"
    assert markup.tag("img", alt='"><b>') == '\n<img alt="&quot;&gt;&lt;b&gt;">'
    inner = markup.tag("b", "x")
    assert markup.tag("i", inner, None, hidden=True, title=None) == (
        "<i hidden><b>x</b></i>"
    )


class Page(html.parser.HTMLParser):
    """Checks that each element that is opened is closed, and notes its attributes."""

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


def test_a_page_is_whole_and_asks_for_nothing(write):
    split = photographs()
    names = [HOSTILE, *(f"p{i}.png" for i in range(1, 6))]
    found = evaluated(split, names, measures=list(scoring.MEASURES))
    found.scores["interval"] = metrics.interval(found.counts, split.spec.class_names)
    text, looked = write(split, found, {"model": "tiny", "split": "val"})
    page = Page(text)
    assert all(address.startswith("data:image/") for address in page.values("src"))
    assert "default-src 'none'" in page.values("content")[0]
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    links = page.values("href") + [f"#{i}" for i in page.values("aria-labelledby")]
    assert {link.removeprefix("#") for link in links} <= set(identifiers)
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert pictures
    assert all(attrs["alt"] and attrs["width"] for attrs in pictures)
    # The only script is the page's own.
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "alert(&quot;x&quot;)" in text
    assert len(looked) == len(set(looked))
    assert {"classes", "first", "worst", "best", "closeups"} <= set(identifiers)


def test_the_page_says_the_scores(write):
    split = photographs(2)
    found = evaluated(split)
    text, _ = write(split, found, {"command": "python -m kerasseg.evaluate --crf"})
    assert f"{100 * found.scores['mean_iou']:.2f}" in text
    assert f"{100 * found.scores['iou']['car']:.2f}" in text
    assert "python -m kerasseg.evaluate --crf" in text


def test_a_page_without_pictures_looks_at_none(write):
    text, looked = write(photographs(), num_pictures=0)
    assert looked == []
    assert "<img" not in text
    Page(text)


def test_a_negative_number_of_pictures_is_refused(write):
    with pytest.raises(ValueError, match="from 0, got -1"):
        write(photographs(), num_pictures=-1)


def test_a_page_that_would_grow_too_large_leaves_pictures_out(write, monkeypatch):
    whole, _ = write(photographs())
    assert "More pictures were left out" not in whole
    monkeypatch.setattr(writing, "MOST_PICTURE_BYTES", 20_000)
    text, _ = write(photographs())
    assert "More pictures were left out" in text
    assert 0 < sum(map(len, re.findall(r'src="([^"]*)"', text))) <= 20_000
    Page(text)


@pytest.mark.parametrize(
    ("label", "prediction", "said"),
    [
        ([[255, 255]], [[0, 1]], "Without a labelled pixel: 1 picture."),
        ([[0, 0]], [[0, 0]], "No picture costs any mean IoU."),
        ([[0]], [[1]], "Predicted but never labelled, IoU 0: "),
        ([[0, 1]], [[0, 0]], "Labelled but never predicted, IoU 0: "),
        ([[0, 0]], [[0, 77]], "No picture"),
    ],
)
def test_a_page_is_written_of_any_pictures(write, label, prediction, said):
    prediction = np.array(prediction)
    known = np.where(prediction < 3, prediction, 0)
    found = evaluated(Split([look(label, known)]))
    text, _ = write(Split([look(label, prediction)]), found)
    Page(text)
    assert said in text


def test_a_page_of_one_class_is_written(write):
    spec = make_spec(NAMES[:1])
    Page(write(Split([look([[0, 255]], [[0, 0]])], spec))[0])


def test_a_page_that_cannot_be_written_leaves_the_old_one(write, tmp_path):
    before, _ = write(photographs(2))
    broken = Split([look([[0, 1]], [[1, 0]])])
    found = evaluated(broken)
    broken[0] = None
    with pytest.raises(AttributeError):
        write(broken, found)
    assert (tmp_path / "report.html").read_text("utf-8") == before
