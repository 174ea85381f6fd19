"""A page about an evaluation: scores, confusion matrix, charts and images.

It is a single HTML file that loads nothing else. A short script sorts the table of
classes and enlarges images; without it the page is complete.
"""

from kerasseg.report.few_labels import FewLabels
from kerasseg.report.instance_writing import write_instances
from kerasseg.report.ranking import rank_images
from kerasseg.report.writing import write

__all__ = ["FewLabels", "rank_images", "write", "write_instances"]
