"""Scores of a model on a split: one confusion matrix, each picture at its own size."""

import weakref

import numpy as np
import tensorflow as tf

from kerasseg import metrics, pipeline, progress, workers

_predictors: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


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
            `[height, width, num_classes]` to class numbers `[height, width]`, such as
            a CRF; or None. It is called from several threads at once.
        on_batch: Called with each batch and its integer predictions, or None.

    Returns:
        See `metrics.scores`.

    Raises:
        ValueError: There is no picture, a record is damaged, a label out of range, or
            what the model says of a picture is no number.
    """
    spec = reader.split.spec
    count = len(reader.split.sizes[:limit])
    if not count:
        raise ValueError(
            f"Split '{reader.split.name}' holds no record to score (limit: {limit}). "
            f"Choose another split, or build it again."
        )
    dataset = pipeline.evaluation_dataset(reader, batch_size=batch_size, limit=limit)
    total = np.zeros((spec.num_classes, spec.num_classes), np.int64)
    with (
        reader.errors_named(),
        progress.track(count, unit="picture", text="evaluating") as bar,
    ):
        for batch, predictions in _predictions(model, dataset, refine):
            _check(batch, predictions)
            matrix = metrics.confusion_matrix(
                batch["label"], predictions, spec.num_classes
            )
            total += np.asarray(matrix).astype(np.int64)
            if on_batch is not None:
                on_batch(batch, predictions)
            bar.update(len(predictions))
    return metrics.scores(total, spec.class_names)


def predictor(model):
    """Compiles a model, once for every picture size and every call with that model.

    Returns:
        Function of uint8 images `[batch, height, width, 3]` and `probabilities`: True
        for float32 probabilities `[batch, height, width, num_classes]`, False for
        int32 class numbers `[batch, height, width]`, -1 where a logit is NaN.
    """
    if model not in _predictors:
        _predictors[model] = _compiled(weakref.ref(model))
    return _predictors[model]


def _compiled(reference):
    """Holds no model: it would keep alive what the key of the dictionary lets go."""

    def logits(images):
        outputs = reference()(tf.cast(images, tf.float32), training=False)
        return outputs["logits"] if isinstance(outputs, dict) else outputs

    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    functions = {
        True: tf.function(lambda images: tf.nn.softmax(logits(images)), signature),
        False: tf.function(lambda x: metrics.class_numbers(logits(x)), signature),
    }
    return lambda images, *, probabilities=False: functions[probabilities](images)


def _predictions(model, dataset, refine):
    """Yields batches and their class numbers; refined ones picture by picture."""
    predict = predictor(model)
    if refine is None:
        for batch in dataset:
            yield batch, predict(batch["image"]).numpy()
        return

    def refined(item):
        batch, probabilities = item
        return batch, refine(batch["image"][0].numpy(), probabilities)[np.newaxis]

    pictures = (
        ({key: value[i : i + 1] for key, value in batch.items()}, probabilities)
        for batch in dataset
        for i, probabilities in enumerate(
            predict(batch["image"], probabilities=True).numpy()
        )
    )
    yield from workers.in_order(refined, pictures, num_threads=workers.num_cores())


def _check(batch, predictions):
    for name, prediction in zip(batch["name"].numpy(), predictions, strict=True):
        if prediction.min() < 0:
            raise ValueError(
                f"Picture {name.decode()}: the model's logits are no numbers (NaN). "
                f"Its weights are damaged, or its training diverged; train it again "
                f"with a lower learning rate."
            )
