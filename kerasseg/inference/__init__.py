"""Pictures to masks with a trained network: of a run, of a file, or exported."""

from kerasseg.inference import outputs, resuming
from kerasseg.inference.files import predict_files
from kerasseg.inference.inputs import find_images
from kerasseg.inference.loading import load, load_export, voc_palette
from kerasseg.inference.predictor import Predictor
from kerasseg.inference.segmenter import Segmenter

__all__ = [
    "Predictor",
    "Segmenter",
    "find_images",
    "load",
    "load_export",
    "outputs",
    "predict_files",
    "resuming",
    "voc_palette",
]
