"""Cross-validation of the dense CRF: which settings score best on some pictures."""

from kerasseg.crf_tuning.grid import AXES, Setting, coarse, fine
from kerasseg.crf_tuning.pictures import Pictures
from kerasseg.crf_tuning.scores import Scores
from kerasseg.crf_tuning.search import Tuned, tune

__all__ = [
    "AXES",
    "Pictures",
    "Scores",
    "Setting",
    "Tuned",
    "coarse",
    "fine",
    "tune",
]
