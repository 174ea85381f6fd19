"""What a run logs: scores.csv, curves, TensorBoard events, validation images."""

import contextlib
import csv
import io
import logging
import math
import os
import pathlib

import numpy as np
import tensorflow as tf

from kerasseg import datasets
from kerasseg.images import visualization
from kerasseg.system import files
from kerasseg.training.tasks import Semantic, Task
from kerasseg.workdir import layout

_NUM_IMAGES = 4  # Validation images that are drawn each time.


class RunLog:
    """Writes the scores and images of one run into its workdir.

    Rows of `scores.csv` after `start_step` are dropped: a resumed run writes them
    again. A file that cannot be written causes a warning and does not stop the run.

    Args:
        workdir: Folder of the run.
        spec: Specification of the data set.
        task: What is trained, which names the scores; None: classes of pixels.
        start_step: Step from which the run is resumed.

    Attributes:
        events: Folder that TensorBoard reads.
    """

    def __init__(
        self,
        workdir: str,
        spec: datasets.DatasetSpec,
        task: Task | None = None,
        start_step: int = 0,
    ):
        self._workdir = workdir
        self._spec, self._task = spec, task or Semantic()
        self.events = self._path(layout.EVENTS)
        self._warned: set[str] = set()
        self._events = tf.summary.create_noop_writer()
        with self._warn_only(layout.EVENTS):
            self._events = tf.summary.create_file_writer(self.events)
        self._images: list[list[np.ndarray]] = []
        self._rows = self._read(start_step)

    def _read(self, start_step):
        """Reads the rows up to a step; renames a damaged file."""
        path = self._path(layout.SCORES)
        try:
            with open(path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                rows = list(reader)
            if "step" not in (reader.fieldnames or ["step"]):
                raise KeyError("step")
            shown = ("step", "loss", *self._task.shown)
            for row in rows:
                for name in shown:  # An error if a number of the curves is missing.
                    float(row[name])
            return [row for row in rows if int(row["step"]) <= start_step]
        except FileNotFoundError:
            return []
        except (KeyError, TypeError, ValueError, csv.Error, OSError) as error:
            logging.warning("%s is damaged and started again: %r", path, error)
            with self._warn_only(layout.SCORES):
                os.replace(path, f"{path}.damaged")
            return []

    @contextlib.contextmanager
    def _warn_only(self, name):
        """Turns errors of the system into one warning per file."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            if name not in self._warned:
                self._warned.add(name)
                logging.warning(
                    "%s cannot be written, training continues: %s",
                    self._path(name),
                    str(error).strip().partition("\n")[0],
                )

    def scalars(self, step: int, **values: float) -> None:
        """Writes numbers for TensorBoard."""
        with self._warn_only(layout.EVENTS), self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def texts(self, step: int) -> None:
        """Writes the flags of the run for TensorBoard, as an indented text."""
        path = pathlib.Path(self._path(layout.FLAGS))
        if not path.exists():
            return
        with self._warn_only(layout.EVENTS):
            lines = path.read_text("utf-8", errors="replace").splitlines()
            text = "".join(f"    {line}\n" for line in lines)
            with self._events.as_default(step=step):
                tf.summary.text("flags", text)

    def keep_images(self, batch: dict, masks: np.ndarray) -> None:
        """Keeps the first images of a validation with their labels and masks."""
        palette = self._spec.palette
        multi = {"multi_label": self._spec.multi_label}
        for image, label, mask in zip(
            np.asarray(batch["image"]), np.asarray(batch["label"]), masks, strict=True
        ):
            if len(self._images) == _NUM_IMAGES:
                return
            image = self._spec.image_kind.view(image)
            self._images.append(
                [
                    image,
                    visualization.overlay(image, label, palette, **multi),
                    visualization.overlay(
                        image, mask.astype(label.dtype), palette, **multi
                    ),
                ]
            )

    def add_validation(self, step: int, loss: float, rate: float, scores: dict) -> None:
        """Adds a row to scores.csv and draws the curves and images.

        Args:
            step: Step of the validation.
            loss: Training loss since the last validation.
            rate: Learning rate of the step.
            scores: The scores, and "loss", that of the validation, where it is
                computed.
        """
        row = {
            "step": step,
            "loss": f"{loss:.6g}",
            "learning_rate": f"{rate:.6g}",
            **{name: f"{scores[name]:.6f}" for name in self._task.columns},
        }
        # A row of this step is from a run that ended before it was saved.
        self._rows = [each for each in self._rows if int(each["step"]) < step]
        self._rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, row.keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        with self._warn_only(layout.SCORES):
            files.write_bytes(self._path(layout.SCORES), text.getvalue().encode())
        self.scalars(step, **_tags(scores, self._task.columns))
        with self._warn_only(layout.CURVES):
            self._curves()
        if self._images:
            with self._warn_only(layout.IMAGES):
                self._draw_images(step)
        self.drop_images()

    def add_samples(self, step: int, samples: np.ndarray) -> None:
        """Draws generated images, uint8 RGB `[number, height, width, 3]`, in a row."""
        row = np.concatenate(list(samples), axis=1)
        with self._warn_only(layout.IMAGES):
            self._write_image(f"{step:08d}_generated.png", row)
            with self._events.as_default(step=step):
                tf.summary.image("train/generated", row[None])

    def drop_images(self) -> None:
        """Drops the images of a validation that was stopped."""
        self._images = []

    def _curves(self):
        def column(name: str):
            return [float(row[name]) for row in self._rows]

        steps = [int(row["step"]) for row in self._rows]
        visualization.save_curves(
            self._path(layout.CURVES),
            {
                "training loss": {"loss": (steps, column("loss"))},
                "validation": {
                    name: (steps, column(key)) for key, name in self._task.shown.items()
                },
            },
        )

    def _draw_images(self, step):
        sheet = visualization.contact_sheet(
            self._images,
            captions=["image", "label", f"step {step}"],
            legend=(self._spec.class_names, self._spec.palette),
        )
        self._write_image(f"{step:08d}.png", sheet)
        with self._events.as_default(step=step):
            tf.summary.image("val/pictures", sheet[None])

    def _write_image(self, name, image):
        os.makedirs(self._path(layout.IMAGES), exist_ok=True)
        png = tf.io.encode_png(image).numpy()
        files.write_bytes(self._path(layout.IMAGES, name), png)

    def close(self) -> None:
        """Flushes everything to the disk."""
        with self._warn_only(layout.EVENTS):
            self._events.close()

    def _path(self, *names):
        return os.path.join(self._workdir, *names)


def _tags(scores, columns):
    """Returns the scores that TensorBoard shows, by tag; without those that are NaN."""
    named = {
        f"val/{name}": scores[name] for name in ("loss", *columns) if name in scores
    }
    classes = scores.get("iou") or {}
    named |= {f"val_iou/{name}": value for name, value in classes.items()}
    return {
        tag: float(value)
        for tag, value in named.items()
        if value is not None and math.isfinite(value)
    }
