"""Export of a trained model: SavedModel, TFLite, ONNX, Keras.

A version is a folder `<export_dir>/<number>/` with the requested formats:

saved_model.pb, variables/   two signatures; weights are constants in the graph
assets/classes.json          class names, colors, the ignore label
assets.extra/                requests that warm up a server
model_float32.tflite         and model_float16.tflite, model_int8.tflite
model.onnx, model.keras
metadata.json                origin of the model, and how close the formats are to it
README.md                    how to use it
"""

from kerasseg.system import lazy

__all__ = [
    "CRF_SETTINGS",
    "DetectionOptions",
    "Sample",
    "TestTimeOptions",
    "check_version",
    "describe",
    "expand_formats",
    "export_model",
    "export_run",
    "export_saved_model",
    "file_of",
    "how_to_call",
    "operations",
    "read_metadata",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "card": "how_to_call",
        "checking": "",
        "folding": "",
        "formats": "expand_formats file_of",
        "metadata": "describe read_metadata",
        "options": "CRF_SETTINGS DetectionOptions TestTimeOptions",
        "run": "export_run",
        "runtimes": "",
        "samples": "Sample",
        "signatures": "operations",
        "versions": "check_version",
        "warm_up": "",
        "writing": "export_model export_saved_model",
    },
)
