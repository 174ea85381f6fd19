"""Input pipeline: records are read at random, decoded, augmented and batched.

The order and the augmentation of an image depend on (seed, epoch, position) alone. So a
run resumes at any step without a state of the pipeline, and skips what it has read
without reading it again.
"""

from kerasseg.system import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "augment": "",
        "augmentations": "",
        "batches": "InputShard equal_size_batches evaluation_dataset oversample "
        "training_dataset",
        "border_weights": "",
        "class_statistics": "",
        "crops": "Crop CropReader",
        "data": "",
        "dataset": "Dataset",
        "instances": "InstanceCounts InstanceOptions instance_evaluation_dataset "
        "instance_training_dataset",
        "reading": "ImageReader labeled_order unlabeled_order",
        "transforms": "",
        "unlabeled": "Views unlabeled_dataset",
    },
)
