"""Cross-validation of the dense CRF: which settings score best on some pictures."""

from kerasseg.crf.tuning.grid import AXES, Setting, coarse, fine
from kerasseg.crf.tuning.images import Pictures
from kerasseg.crf.tuning.scores import Scores
from kerasseg.crf.tuning.search import Tuned, tune

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
