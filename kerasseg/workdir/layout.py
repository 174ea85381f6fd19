"""The files of a run's workdir, by their names."""

import os

FLAGS = "flags.txt"  # A flag file that repeats the run.
RUN = "run.json"  # Version of the workdir's format.
DATASET = "dataset.json"  # Class names, colors and sizes of the data set.
RECORDS = "records.json"  # Fingerprint of the records of each split.
MICRO_BATCHES = "batch_parts.json"  # What train_batch_size=auto found.
CHECKPOINTS = "checkpoints"  # ckpt-<step>: every variable of the training state.
BEST_MODEL = os.path.join("best", "model.keras")  # The best network so far.
BEST_METADATA = os.path.join("best", "model.json")  # Its architecture and scores.
THRESHOLDS = os.path.join("best", "thresholds.json")  # Tuned ones of its classes.
SCORES = "scores.csv"  # A row for each validation.
CURVES = "curves.png"
EVENTS = "events"  # TensorBoard reads this folder.
IMAGES = "pictures"  # Predictions on validation images.
METRICS = "metrics.json"  # Scores of the last evaluation.
IMAGE_COUNTS = "pictures.csv"  # Its counts for each image.
INSTANCE_COUNTS = "instances.csv"  # The same of detected instances.
INSTANCE_MATCHES = "instances.npz"  # Their matches, by which runs are compared.
REPORT = "report.html"  # Its report.
CRF = "crf"  # Results of kerasseg.tune_crf.
PLAN = "plan.flags"  # Plan of kerasseg fit, a flag file of kerasseg.train.
FIT = "fit.json"  # Its data, its minutes and its complete stages.
FIT_RECORDS = "records"  # Folder of its records.
FIT_EXPORT = "export"  # Folder of its exported versions.
