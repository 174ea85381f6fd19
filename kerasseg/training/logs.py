"""What a run writes for people: scores.csv, curves, TensorBoard, pictures."""

import csv
import io
import os

import numpy as np
import tensorflow as tf

from kerasseg import durable, visualize

_PICTURES = 4  # Validation pictures that are drawn each time.


class RunLog:
    """Writes the scores and pictures of one run into its workdir.

    Rows of `scores.csv` after `start_step` are dropped: a resumed run makes them
    again. A folder that cannot be written to costs the pictures, not the run.

    Args:
        workdir: Folder of the run.
        spec: `datasets.DatasetSpec`.
        start_step: Step at which the run goes on.
    """

    def __init__(self, workdir, spec, start_step=0):
        self._workdir = workdir
        self._spec = spec
        self._events = tf.summary.create_file_writer(os.path.join(workdir, "events"))
        self._rows: list[dict] = []
        self._drawn: list[list[np.ndarray]] = []
        if os.path.exists(self._path("scores.csv")):
            with open(self._path("scores.csv"), newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self._rows = [row for row in rows if int(row["step"]) <= start_step]

    def scalars(self, step, **values) -> None:
        """Writes numbers for TensorBoard."""
        with self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def draw(self, batch, predictions) -> None:
        """Keeps the first pictures of a validation: image, truth and prediction."""
        palette = self._spec.palette
        for image, label, prediction in zip(
            batch["image"].numpy(), batch["label"].numpy(), predictions, strict=True
        ):
            if len(self._drawn) == _PICTURES:
                return
            prediction = prediction.astype(np.uint8)
            truth = visualize.overlay(image, label, palette)
            found = visualize.overlay(image, prediction, palette)
            self._drawn.append([image, truth, found])

    def validation(self, step, loss, rate, scores) -> None:
        """Adds a row to scores.csv and draws the curves and pictures anew."""
        row = {
            "step": step,
            "loss": f"{loss:.6g}",
            "learning_rate": f"{rate:.6g}",
            **{
                name: f"{scores[name]:.6f}"
                for name in ("mean_iou", "pixel_accuracy", "mean_accuracy")
            },
        }
        self._rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, row.keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        durable.write_bytes(self._path("scores.csv"), text.getvalue().encode())
        self.scalars(step, **{f"val/{k}": float(row[k]) for k in list(row)[3:]})
        self._curves()
        if self._drawn:
            self._pictures(step)

    def _curves(self):
        def column(name):
            return [float(row[name]) for row in self._rows]

        steps = [int(row["step"]) for row in self._rows]
        visualize.save_curves(
            self._path("curves.png"),
            {
                "training loss": {"loss": (steps, column("loss"))},
                "validation": {
                    "mean IoU": (steps, column("mean_iou")),
                    "pixel accuracy": (steps, column("pixel_accuracy")),
                },
            },
        )

    def _pictures(self, step):
        sheet = visualize.contact_sheet(
            self._drawn,
            captions=["picture", "truth", f"step {step}"],
            legend=(self._spec.class_names, self._spec.palette),
        )
        os.makedirs(self._path("pictures"), exist_ok=True)
        png = tf.io.encode_png(sheet).numpy()
        durable.write_bytes(self._path("pictures", f"{step:08d}.png"), png)
        with self._events.as_default(step=step):
            tf.summary.image("val/pictures", sheet[None])
        self._drawn = []

    def close(self) -> None:
        """Sees everything to the disk."""
        self._events.close()

    def _path(self, *names):
        return os.path.join(self._workdir, *names)
