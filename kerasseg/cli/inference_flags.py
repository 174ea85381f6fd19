"""Flags shared by the commands that predict: evaluate, predict, export, tune_crf."""

from kerasseg.cli import fields
from kerasseg.inference import options

fields.define_fields(options.PredictorOptions)
fields.define_fields(options.InferenceOptions)


def read_predictor_options() -> options.PredictorOptions:
    """Returns the options of `inference.Predictor` that the flags set.

    Raises:
        errors.UserError: A value is out of range.
    """
    return fields.read_fields(options.PredictorOptions)


def read_inference_options() -> options.InferenceOptions:
    """Returns output stride, CRF and superpixels that the flags set.

    Raises:
        errors.UserError: A value is out of range.
        errors.MissingPackageError: A package that an option needs is not installed.
    """
    return fields.read_fields(options.InferenceOptions)
