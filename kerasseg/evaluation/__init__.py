"""Scores of a trained network, or of masks on disk, on a split.

Every image is scored at its own size. `evaluate_run` and `evaluate_masks` write the
files that `python -m kerasseg.evaluate` promises, and `evaluate_results` those of
detected instances; `evaluate`, `score_masks` and `score_instances` return the scores
alone.
"""

from kerasseg.system import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "counts": "compare read_counts write_counts",
        "coco_evaluation": "EncodedMasks pycocotools",
        "coco_results": "read_results",
        "inputs": "MEASURE_NAMES Output check_inputs check_results",
        "instance_comparison": "",
        "instance_run": "evaluate_detector evaluate_results write_results",
        "instance_scoring": "detected_image evaluate_instances",
        "instance_table": "",
        "instances": "DetectedImage InstanceEvaluation score_instances",
        "masks": "LabelFolder RecordLabels score_masks",
        "pairs": "Pairs",
        "record_objects": "RecordObjects",
        "run": "evaluate_masks evaluate_run write_metrics",
        "samples": "Sample mask_samples network_samples",
        "scoring": "MEASURES Evaluation ScoredImage evaluate score",
    },
)
