"""Choice of the images to label next, and their predictions for labeling tools.

scores           how uncertain a network is about an image
selection        the order of images by score, with diversity
journal          scores that an interrupted run has computed
preannotations   predictions as files that labeling tools read
query            what to score and choose, checked before TensorFlow starts
running          reads, scores, orders and writes
"""

from kerasseg.system import lazy

__all__ = ["SCORES", "Query", "label_next", "order_images", "preannotations"]

__getattr__ = lazy.attributes(
    __name__,
    {
        "journal": "",
        "preannotations": "",
        "query": "Query",
        "running": "label_next",
        "scores": "SCORES",
        "selection": "order_images",
    },
)
