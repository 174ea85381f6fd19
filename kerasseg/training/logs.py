"""What a run writes for people: scores.csv, curves, TensorBoard, pictures."""

import contextlib
import csv
import io
import logging
import os

import numpy as np
import tensorflow as tf

from kerasseg.images import visualization
from kerasseg.system import files

_PICTURES = 4  # Validation pictures that are drawn each time.


class RunLog:
    """Writes the scores and pictures of one run into its workdir.

    Rows of `scores.csv` after `start_step` are dropped: a resumed run makes them
    again. What cannot be written costs a warning, not the run.

    Args:
        workdir: Folder of the run.
        spec: `datasets.DatasetSpec`.
        start_step: Step at which the run goes on.

    Attributes:
        events: Folder that TensorBoard reads.
    """

    def __init__(self, workdir, spec, start_step=0):
        self._workdir = workdir
        self._spec = spec
        self.events = self._path("events")
        self._warned: set[str] = set()
        self._events = tf.summary.create_noop_writer()
        with self._forgiven("events"):
            self._events = tf.summary.create_file_writer(self.events)
        self._drawn: list[list[np.ndarray]] = []
        self._rows = self._read(start_step)

    def _read(self, start_step):
        """Reads the rows up to a step; sets a damaged file aside."""
        path = self._path("scores.csv")
        try:
            with open(path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                rows = list(reader)
            if "step" not in (reader.fieldnames or ["step"]):
                raise KeyError("step")
            return [_checked(row) for row in rows if int(row["step"]) <= start_step]
        except FileNotFoundError:
            return []
        except (KeyError, TypeError, ValueError, csv.Error, OSError) as error:
            logging.warning("%s is damaged and begins anew: %r", path, error)
            with self._forgiven("scores.csv"):
                os.replace(path, f"{path}.damaged")
            return []

    @contextlib.contextmanager
    def _forgiven(self, name):
        """Turns what the system refuses into one warning a file."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            if name not in self._warned:
                self._warned.add(name)
                logging.warning(
                    "%s cannot be written, training goes on: %s",
                    self._path(name),
                    str(error).strip().partition("\n")[0],
                )

    def scalars(self, step, **values) -> None:
        """Writes numbers for TensorBoard."""
        with self._forgiven("events"), self._events.as_default(step=step):
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
            truth = visualization.overlay(image, label, palette)
            found = visualization.overlay(image, prediction, palette)
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
        # One of this step is that of a run that ended before it was saved.
        self._rows = [each for each in self._rows if int(each["step"]) < step]
        self._rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, row.keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        with self._forgiven("scores.csv"):
            files.write_bytes(self._path("scores.csv"), text.getvalue().encode())
        self.scalars(step, **{f"val/{k}": float(row[k]) for k in list(row)[3:]})
        with self._forgiven("curves.png"):
            self._curves()
        if self._drawn:
            with self._forgiven("pictures"):
                self._pictures(step)
        self.forget_drawn()

    def forget_drawn(self) -> None:
        """Drops the pictures of a validation that came to no end."""
        self._drawn = []

    def _curves(self):
        def column(name):
            return [float(row[name]) for row in self._rows]

        steps = [int(row["step"]) for row in self._rows]
        visualization.save_curves(
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
        sheet = visualization.contact_sheet(
            self._drawn,
            captions=["picture", "truth", f"step {step}"],
            legend=(self._spec.class_names, self._spec.palette),
        )
        os.makedirs(self._path("pictures"), exist_ok=True)
        png = tf.io.encode_png(sheet).numpy()
        files.write_bytes(self._path("pictures", f"{step:08d}.png"), png)
        with self._events.as_default(step=step):
            tf.summary.image("val/pictures", sheet[None])

    def close(self) -> None:
        """Sees everything to the disk."""
        with self._forgiven("events"):
            self._events.close()

    def _path(self, *names):
        return os.path.join(self._workdir, *names)


def _checked(row):
    """Raises where a row lacks a number that the curves show."""
    for name in ("step", "loss", "mean_iou", "pixel_accuracy"):
        float(row[name])
    return row
