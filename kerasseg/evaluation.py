"""Scores of a model on a split: one confusion matrix, each picture at its own size."""

import numpy as np
import tensorflow as tf

from kerasseg import metrics, pipeline, progress


def evaluate(
    model, reader, *, batch_size=1, limit=None, refine=None, on_batch=None
) -> dict:
    """Scores a model.

    Args:
        model: Takes `[batch, height, width, 3]` RGB, 0..255, to logits of that size;
            a dict's "logits" are taken.
        reader: `pipeline.PictureReader` of the split.
        batch_size: Pictures of equal size that go through the model at once.
        limit: Pictures in all; None for the whole split.
        refine: Function of a uint8 image `[height, width, 3]` and its probabilities
            `[height, width, num_classes]` to better ones, such as a CRF; or None.
        on_batch: Called with each batch and its int64 predictions, or None.

    Returns:
        See `metrics.scores`.

    Raises:
        ValueError: A record is damaged or a label out of range.
    """
    spec = reader.split.spec
    dataset = pipeline.evaluation_dataset(reader, batch_size=batch_size, limit=limit)
    predict = predictor(model)
    total = np.zeros((spec.num_classes, spec.num_classes), np.int64)
    count = len(reader.split.sizes[:limit])
    with (
        reader.errors_named(),
        progress.track(count, unit="picture", text="evaluating") as bar,
    ):
        for batch in dataset:
            probabilities, predictions = predict(batch["image"])
            if refine is not None:
                pairs = zip(batch["image"].numpy(), probabilities.numpy(), strict=True)
                refined = [refine(image, scores) for image, scores in pairs]
                predictions = np.argmax(refined, axis=-1)
            matrix = metrics.confusion_matrix(
                batch["label"], predictions, spec.num_classes
            )
            total += np.asarray(matrix).astype(np.int64)
            if on_batch is not None:
                on_batch(batch, np.asarray(predictions))
            bar.update(len(batch["image"]))
    return metrics.scores(total, spec.class_names)


def predictor(model):
    """Compiles a model once for every picture size.

    Returns:
        Function of uint8 images `[batch, height, width, 3]` to float32 probabilities
        `[batch, height, width, num_classes]` and int64 class numbers.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def predict(images):
        outputs = model(tf.cast(images, tf.float32), training=False)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        return tf.nn.softmax(logits), tf.argmax(logits, axis=-1)

    return predict
