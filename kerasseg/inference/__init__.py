"""Prediction with a trained network: of a run, a `.keras` file or an export.

options       what a command can choose, checked before TensorFlow starts
segmenter     `load`: a network with the names and colors of its classes
sources       what its `predict` takes: files, arrays, folders, videos
segmentation  what its `predict` returns
predictor     a network for images of any size: in tiles, at several scales
tflite        the same for a TFLite file, without TensorFlow
refining      the dense CRF or superpixels, after the network
job           a prediction of many files, local or on a Ray cluster
inputs, files, videos, outputs, resuming     from files to results
"""

from kerasseg.system import lazy

__all__ = [
    "Detector",
    "FailedImage",
    "InferenceOptions",
    "InstanceSegmenter",
    "Job",
    "Predictor",
    "PredictorOptions",
    "Segmentation",
    "Segmentations",
    "Segmenter",
    "TFLiteModel",
    "TFLitePredictor",
    "find_images",
    "load",
    "load_export",
    "outputs",
    "predict_files",
    "resuming",
    "run_job",
    "start_refiner",
    "tune_crf",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "contours": "",
        "crf_tuning": "tune_crf",
        "detector": "Detector",
        "exported_model": "",
        "files": "predict_files",
        "foreign_model": "",
        "inputs": "find_images",
        "instance_outputs": "",
        "job": "Job run_job",
        "memory_estimate": "",
        "options": "InferenceOptions PredictorOptions",
        "outputs": "",
        "predictor": "Predictor",
        "ray_engine": "",
        "reading": "",
        "refining": "start_refiner",
        "resuming": "",
        "segmentation": "FailedImage Segmentation",
        "segmenter": "InstanceSegmenter Segmenter load load_export",
        "sources": "Segmentations",
        "superpixels": "",
        "tflite": "TFLiteModel TFLitePredictor",
        "tiles": "",
        "video_reader": "",
        "videos": "",
    },
)
