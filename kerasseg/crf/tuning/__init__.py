"""Grid search for the settings of the dense CRF with the best mean IoU."""

from kerasseg.system import lazy

__all__ = [
    "AXES",
    "CachedImages",
    "Result",
    "Scores",
    "Setting",
    "coarse",
    "fine",
    "tune",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "cache": "",
        "grid": "AXES Setting coarse fine",
        "images": "CachedImages",
        "scores": "Scores",
        "search": "Result tune",
    },
)
