"""A page about an evaluation, in one file: scores, confusions, curves and pictures.

Nothing in it comes from elsewhere, and it asks for nothing. What it says is in plain
HTML; a few lines of script sort the table and enlarge the pictures.
"""

from kerasseg.report.ranking import order
from kerasseg.report.writing import write

__all__ = ["order", "write"]
