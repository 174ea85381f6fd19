"""The Keras format: a `.keras` file, for Python with kerasseg."""

from kerasseg import runtime
from kerasseg.exporting import formats

_USAGE = """\
    import kerasseg

    mask = kerasseg.load("{path}/{file}").predict("image.jpg")
"""


def write(source: formats.Source, path: str) -> None:
    """Saves the model with its own dtype policy and batch normalization."""
    source.model.save(path)


def load(path: str) -> formats.Loaded:
    """Loads the model in inference mode."""
    runtime.start_tensorflow()
    import tensorflow as tf

    from kerasseg.models import outputs
    from kerasseg.workdir import best_model

    model = best_model.load_file(path)

    def logits(images):
        return {"logits": outputs.logits(model(images, training=False))}

    image = tf.TensorSpec([None, None, None, 3], tf.float32)
    return formats.Loaded(tf.function(logits, input_signature=[image]))


FORMATS = [
    formats.Format(
        name="keras",
        file="model.keras",
        write=write,
        load=load,
        usage=_USAGE,
        tolerance=1e-4,
        keeps_dtype=True,
    )
]
