"""Class counts and the weights made of them, worked by hand."""

import numpy as np
import pytest

from kerasseg import pipeline, records, statistics
from tests import tiny

# Two pictures of four pixels: the first shows class 0 three times and class 1 once, the
# second class 0 twice and two ignored pixels. Class 2 never occurs.
LABELS = [
    np.array([[0, 0], [0, 1]], np.uint8),
    np.array([[0, 0], [255, 255]], np.uint8),
]


@pytest.fixture
def counts():
    return statistics.count_classes(LABELS, 3)


def test_pixels_are_counted(counts):
    assert counts.pixels.tolist() == [5, 1, 0]
    assert counts.pixels_around.tolist() == [8, 4, 0]
    assert counts.pictures.tolist() == [2, 1, 0]
    assert counts.ignored == 2


def test_median_frequency_weights(counts):
    # Frequencies 5/8 and 1/4; their median is 7/16; 7/16 / (5/8) = 0.7, / (1/4) = 1.75.
    weights = statistics.median_frequency_weights(counts)
    np.testing.assert_allclose(weights, [0.7, 1.75, 0])


def test_enet_weights():
    # Shares of 1 %, 50 % and 49 %: 1 / ln(1.03), 1 / ln(1.52), 1 / ln(1.51).
    counts = statistics.ClassCounts(np.array([1, 50, 49]), None, None, 0)
    np.testing.assert_allclose(
        statistics.enet_weights(counts), [33.83, 2.388, 2.4264], rtol=1e-3
    )


def test_a_whole_split_is_counted(tmp_path):
    folder = tiny.write_records(tmp_path, train=3)
    reader = pipeline.PictureReader(records.open_split(folder, "train"))
    labels = [tiny.picture(i)[1] for i in range(3)]
    wanted = statistics.count_classes(labels, 3)
    assert statistics.count_split(reader).pixels.tolist() == wanted.pixels.tolist()
    assert statistics.class_weights("none", reader) is None
    assert statistics.class_weights("1,2,0.5", reader).tolist() == [1, 2, 0.5]
    named = statistics.class_weights("median_frequency", reader)
    np.testing.assert_allclose(named, statistics.median_frequency_weights(wanted))
