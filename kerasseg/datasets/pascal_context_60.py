"""PASCAL-Context (Mottaghi et al., 2014) with a class for the background: 60 classes.

The background is all pixels of other than the 59 most frequent classes; see
`pascal_context`.
"""

from kerasseg import datasets
from kerasseg.datasets import pascal_context

SPEC = datasets.DatasetSpec(
    source="https://cs.stanford.edu/~roozbeh/pascal-context",
    num_images={"train": 4998, "val": 5105},
    classes={"background": (0, 0, 0), **pascal_context.SPEC.classes},
)
