"""The page of an evaluation of instances: chosen images, counts and drawings."""

import base64
import dataclasses
import html.parser
import re

import cv2
import numpy as np
import pytest

from kerasseg import errors, evaluation, report
from kerasseg.metrics import instance_errors
from kerasseg.report import encoding, gallery, instance_views, instance_writing, writing
from tests.support import browser, detected

pytest.importorskip("pycocotools.mask")

HOSTILE = '<script>alert("x")</script>&\ud800.png'
SIZE = 60, 80


def image(index, instances, found, *, name=None, size=SIZE, pixels=True):
    rng = np.random.default_rng(index)
    return evaluation.DetectedImage(
        index,
        name or f"image{index}.jpg",
        detected.objects(size, instances),
        detected.detections(size, found),
        image=rng.integers(0, 99, (*size, 3)).astype(np.uint8) if pixels else None,
    )


def scored(each):
    return evaluation.score_instances(each, detected.Split(len(each)))


CAR, PERSON = (0, 0, 20, 20), (30, 30, 50, 70)
EACH = [
    image(0, [(1, CAR)], [(1, 0.9, CAR)]),  # F1 1.
    image(1, [(1, CAR), (2, PERSON)], [(1, 0.9, CAR)]),  # F1 1 / 1.5.
    image(2, [(2, PERSON)], [(2, 0.9, PERSON), (2, 0.8, (30, 30, 50, 68))]),  # 1 / 1.5.
    image(3, [(1, CAR)], [(3, 0.7, CAR)]),  # F1 0.
    image(4, [], []),
    image(5, [(1, CAR), (2, PERSON)], [(1, 0.9, CAR), (2, 0.9, PERSON)]),  # F1 1.
]


@pytest.fixture
def write(tmp_path):
    """Writes a page; returns its text and the indices of the requested images."""

    def call(each=EACH, settings=None, **options):
        requested = []

        def get_sample(index):
            requested.append(index)
            return each[index]

        path = tmp_path / "report.html"
        report.write_instances(
            path,
            scored(each),
            detected.spec(),
            settings or {},
            get_sample,
            **{"min_score": 0.5, **options},
        )
        return path.read_text("utf-8"), requested

    return call


def test_images_are_ordered_by_their_f1_score_and_then_by_counts():
    result = scored(EACH)
    worst, best = instance_writing.worst_and_best(result, 8)
    # Image 5 has two correct detections; image 4 has nothing to be detected.
    assert best == [5, 0, 1]
    assert worst == [3, 2]
    assert instance_writing.worst_and_best(result, 1) == ([3], [5])
    assert instance_writing.worst_and_best(result, 0) == ([], [])


def test_closeups_are_of_few_errors_in_each_image():
    boxes = [(2 * i, 2 * i, 2 * i + 10, 2 * i + 10 + i) for i in range(20)]
    each = [image(i, [(1, box) for box in boxes[i : i + 4]], []) for i in range(3)]
    chosen = instance_writing.choose_closeups(scored(each), [])
    assert len(chosen) == 3 * 2
    assert {error.kind for error in chosen} == {instance_errors.MISSED}
    areas = [error.rank for error in chosen]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] == 10 * (10 + 5)


def test_closeups_are_in_the_shown_images_and_few_others(monkeypatch):
    monkeypatch.setattr(instance_writing, "_MAX_MORE", 1)
    each = [image(i, [(1, (0, 0, 10, 40 - i))], []) for i in range(5)]
    chosen = instance_writing.choose_closeups(scored(each), [3])
    assert [error.image for error in chosen] == [0, 3]


class _Ids(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        del tag
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.sources += [v for k, v in attrs if k in ("src", "href")]


def test_a_page_has_every_section_and_loads_nothing(write):
    text, requested = write(settings={"model": "mask_rcnn", "split": "val"})
    parser = _Ids()
    parser.feed(text)
    assert sorted(requested) == [0, 1, 2, 3, 5]  # Each once, and not the empty one.
    for section in instance_writing._TITLES:
        assert section in parser.ids
        assert f"#{section}" in parser.sources
    assert all(source.startswith(("data:", "#")) for source in parser.sources)
    assert "mask_rcnn on things, val" in text
    assert text.count("<figure") == 3 * 5 + 2 + 1 + 1  # Rows, and a figure per error.


def test_the_page_has_the_scores_and_counts(write):
    text, _ = write()
    scores = scored(EACH).scores
    assert f"<strong>{100 * scores['mask_ap']:.2f}<small> %" in text
    assert "Shown are 2 of 2." in text  # Missed.
    assert "F1 66.7 %, 1 found, 1 duplicate" in text
    assert "F1 0.0 %, 0 found, 1 missed, 1 false positive" in text
    # Of the table of errors: found, missed, false positives, duplicates.
    cells = re.findall(r'data-value="(\d+)">\d+</td>', text)
    assert cells[-12:] == [*"3100", *"2101", *"0010"]


def test_names_are_escaped(write):
    each = [dataclasses.replace(EACH[1], index=0, name=HOSTILE)]
    text, _ = write(each)
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_a_page_is_written_without_images_masks_or_errors(write):
    assert write(num_images=0)[1] == []
    boxes = [
        dataclasses.replace(e, detections=dataclasses.replace(e.detections, masks=None))
        for e in EACH
    ]
    text, _ = write(boxes)
    assert "<p>box AP</p>" in text
    assert "mask AP" not in text
    text, _ = write([image(0, [(1, CAR)], [(1, 0.9, CAR)], pixels=False)])
    assert 'id="missed"' not in text
    write([image(0, [], [])])
    write([image(0, [(1, (0, 0, 1, 1))], [], size=(1, 1))])
    crowd = [(0, (0, 0, 9, 9), True), (1, CAR, True)]
    assert "ignored" in write([image(0, crowd, [(2, 0.9, PERSON)])])[0]


def test_a_page_leaves_images_out_to_limit_its_size(write, monkeypatch):
    monkeypatch.setattr(writing, "MAX_IMAGE_BYTES", 30_000)
    text, _ = write()
    assert "More images were left out" in text
    with pytest.raises(errors.UserError, match="`num_images` must be at least 0"):
        write(num_images=-1)


# Drawings.


def pixels_of(views, kind):
    """Decodes the JPEG of a view."""
    data = base64.b64decode(views[kind].split(",")[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def has_color(pixels, color):
    return (np.abs(pixels.astype(int) - color).max(axis=-1) < 25).sum() > 50


def test_errors_have_their_own_colors():
    result, spec = scored(EACH), detected.spec()
    for index, kind, color in (
        (1, "Ground truth", gallery.ERROR_COLOR),
        (1, "Ground truth", spec.palette[1]),
        (3, "Detections", gallery.ERROR_COLOR),
        (2, "Detections", instance_views.DUPLICATE_COLOR),
    ):
        sample = dataclasses.replace(EACH[index], image=None)
        window = instance_views._whole(SIZE)
        assert window.size == (240, 320)  # Small images are enlarged four times.
        views = instance_views._views(sample, result.matches[index], window, spec)
        assert has_color(pixels_of(views, kind), color)
    views = instance_views._views(sample, result.matches[2], window, spec)
    assert not has_color(pixels_of(views, "Ground truth"), gallery.ERROR_COLOR)


def test_a_closeup_is_around_the_box():
    window = instance_views._around((20, 40, 60, 80), (200, 300))
    # 1.8 x 40 = 72 pixels around the center (40, 60).
    assert (window.rows, window.columns) == (slice(4, 76), slice(24, 96))
    assert window.size == (320, 320)
    assert window.box((20, 40, 60, 80)).tolist() == pytest.approx(
        [16 * 320 / 72, 16 * 320 / 72, 56 * 320 / 72, 56 * 320 / 72]
    )
    assert window.box((80, 0, 90, 10)) is None
    corner = instance_views._around((0, 0, 4, 4), (30, 300))
    assert (corner.rows, corner.columns) == (slice(0, 30), slice(0, 48))


def test_an_image_that_is_predicted_differently_is_drawn_without_errors():
    matches = scored(EACH).matches[3]
    sample = dataclasses.replace(EACH[3], detections=EACH[5].detections, image=None)
    views = instance_views._views(
        sample, matches, instance_views._whole(SIZE), detected.spec()
    )
    assert not has_color(pixels_of(views, "Detections"), gallery.ERROR_COLOR)
    budget = encoding.ImageBudget(10**6)
    assert instance_views.row(sample, matches, "a", detected.spec(), budget)


def test_the_page_opens_in_a_browser(write, tmp_path):
    write()
    with browser.chromium() as opened:
        opened.get(f"file://{tmp_path}/report.html")
        assert not browser.complaints(opened)
        assert len(opened.find_elements("css selector", "table.sortable")) == 2
