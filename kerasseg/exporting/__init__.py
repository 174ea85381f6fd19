"""A trained model as what others run: SavedModel, TFLite, ONNX, Keras.

A version is a folder `<export_dir>/<number>/` of what was asked for:

saved_model.pb, variables/   two signatures; weights are constants in the graph
assets/classes.json          class names, colours, the ignore label
assets.extra/                requests to warm up a server with
model_float32.tflite         and model_float16.tflite, model_int8.tflite
model.onnx, model.keras
metadata.json                where it comes from, and how near it is to the model
README.md                    how to call it
"""

from kerasseg.exporting.card import how_to_call
from kerasseg.exporting.checking import Picture
from kerasseg.exporting.formats import expand as expand_formats
from kerasseg.exporting.formats import file_of
from kerasseg.exporting.metadata import read as read_metadata
from kerasseg.exporting.provenance import describe
from kerasseg.exporting.saved_model import operations
from kerasseg.exporting.versions import check as check_version
from kerasseg.exporting.views import SETTINGS as CRF_SETTINGS
from kerasseg.exporting.views import Views
from kerasseg.exporting.writing import export_model, export_saved_model

__all__ = [
    "CRF_SETTINGS",
    "Picture",
    "Views",
    "check_version",
    "describe",
    "expand_formats",
    "export_model",
    "export_saved_model",
    "file_of",
    "how_to_call",
    "operations",
    "read_metadata",
]
