"""Class counts and the weights computed from them, worked out by hand."""

import numpy as np
import pytest

from kerasseg import pipeline, records
from kerasseg.pipeline import class_statistics
from tests.support import tiny

# Two images of four pixels: the first has class 0 three times and class 1 once, the
# second class 0 twice and two ignored pixels. Class 2 does not occur.
LABELS = [
    np.array([[0, 0], [0, 1]], np.uint8),
    np.array([[0, 0], [255, 255]], np.uint8),
]


@pytest.fixture
def counts():
    return class_statistics.count_classes(LABELS, 3)


def test_pixels_are_counted(counts):
    assert counts.pixels.tolist() == [5, 1, 0]
    assert counts.pixels_around.tolist() == [8, 4, 0]
    assert counts.images.tolist() == [2, 1, 0]
    assert counts.ignored == 2


def test_median_frequency_weights(counts):
    # Frequencies 5/8 and 1/4; their median is 7/16; 7/16 / (5/8) = 0.7, / (1/4) = 1.75.
    weights = class_statistics.median_frequency_weights(counts)
    np.testing.assert_allclose(weights, [0.7, 1.75, 0])


def test_enet_weights():
    # Fractions of 1 %, 50 % and 49 %: 1 / ln(1.03), 1 / ln(1.52), 1 / ln(1.51).
    counts = class_statistics.ClassCounts(np.array([1, 50, 49]), None, None, 0)
    np.testing.assert_allclose(
        class_statistics.enet_weights(counts), [33.83, 2.388, 2.4264], rtol=1e-3
    )


def test_a_whole_split_is_counted(tmp_path):
    folder = tiny.write_records(tmp_path, train=3)
    reader = pipeline.ImageReader(records.open_split(folder, "train"))
    labels = [tiny.image_and_label(i)[1] for i in range(3)]
    expected = class_statistics.count_classes(labels, 3)
    assert (
        class_statistics.count_split(reader).pixels.tolist() == expected.pixels.tolist()
    )
    assert class_statistics.class_weights("none", reader) is None
    assert class_statistics.class_weights("1,2,0.5", reader).tolist() == [1, 2, 0.5]
    weights = class_statistics.class_weights("median_frequency", reader)
    np.testing.assert_allclose(
        weights, class_statistics.median_frequency_weights(expected)
    )
    path = tmp_path / "weights.txt"
    path.write_text("right 3\nleft 0.5\nmiddle 2\n")
    assert class_statistics.class_weights(str(path), reader).tolist() == [0.5, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "# Of the sky, mostly.\n\nroad  2\n  potted plant 0.5\nsky 1e1\n",
        '{"road": 2, "sky": 10, "potted plant": 0.5}',
        "[10, 0.5, 2]",
    ],
)
def test_weights_are_read_from_a_file(tmp_path, text):
    path = tmp_path / "weights"
    path.write_text(text)
    weights = class_statistics.read_weights(path, ("sky", "potted plant", "road"))
    assert weights.tolist() == [10, 0.5, 2]


@pytest.mark.parametrize(
    "text",
    [
        *("", "sky 1", "sky 1\nroad 2\nsea 3", "sky 1\nroad 2\nroad 2", "sky\nroad 2"),
        *("sky 1\nroad much", "sky 1\nroad -2", "sky 1\nroad nan", "[1, 2, 3]", "[1]"),
        *('{"sky": 1}', '{"sky": 1, "road": [2]}', '[1, "much"]', "[1, Infinity]", "7"),
    ],
)
def test_files_without_a_weight_per_class_are_refused(tmp_path, text):
    path = tmp_path / "weights"
    path.write_text(text)
    message = "weights does not contain class weights.*`name weight` for each of sky, "
    with pytest.raises(ValueError, match=f"{message}road"):
        class_statistics.read_weights(path, ("sky", "road"))
