"""The Keras format: a `.keras` file, for Python with kerasseg."""

from kerasseg.exporting import formats
from kerasseg.system import runtime

_USAGE = """\
    import kerasseg

    mask = kerasseg.load("{path}/{file}").predict("image.jpg")
"""
_DETECTION_USAGE = """\
    import kerasseg

    found = kerasseg.load("{path}/{file}"{sides}).detect("image.jpg")
    for i in range(len(found)):
        print(found.classes[i], found.scores[i], found.boxes[i], found.masks[i].sum())
"""
_DETECTION_DESCRIPTION = """\
The Keras model itself maps images, float32 [N, height, width, 3], RGB from 0 to 255, to
a dict of `boxes`, `scores`, `classes`, `valid` and `masks`, where `masks`, float32
[N, {num_detections}, {cells}, {cells}], are probabilities in the boxes.
"""


def write(source: formats.Source, path: str) -> None:
    """Saves the model, with its own dtype policy, and the class names."""
    from kerasseg.workdir import class_names

    class_names.attach(
        source.model,
        source.class_names,
        source.palette,
        source.image_kind,
        rule=source.rule,
    )
    source.model.save(path)


def load(path: str) -> formats.Loaded:
    """Loads the model in inference mode."""
    runtime.start_tensorflow()
    import tensorflow as tf

    from kerasseg.exporting import signatures
    from kerasseg.workdir import best_model

    model = best_model.load_file(path)

    def named(images):
        return signatures.named(model(images, training=False))

    channels = model.inputs[0].shape[-1]
    image = tf.TensorSpec([None, None, None, channels], tf.float32)
    return formats.Loaded(tf.function(named, input_signature=[image]))


FORMATS = [
    formats.Format(
        name="keras",
        file="model.keras",
        write=write,
        load=load,
        usage=_USAGE,
        detection_usage=_DETECTION_USAGE,
        detection_description=_DETECTION_DESCRIPTION,
        tolerance=1e-4,
        keeps_model=True,
    )
]
