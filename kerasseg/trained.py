"""`kerasseg.load`: a trained network that predicts, and is evaluated and exported."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kerasseg import errors, images, inference
from kerasseg.inference import tflite
from kerasseg.workdir import imported, layout


class _Trained:
    """What both kinds of networks do: open records and export."""

    path: str
    model: Any
    class_names: tuple[str, ...]
    palette: np.ndarray
    _output_stride: int | None

    def _open(self, data, split):
        """Opens a split of the run's records, or of the records in a folder."""
        from kerasseg import pipeline, records
        from kerasseg.workdir import run_records

        if self._is_run:
            return run_records.open_records(self.path, split, records_dir=data)
        if data is None:
            raise errors.UserError(
                f"{self.path} is not the workdir of a run, which would name its "
                f"records. Give `data`: a folder of records, or pairs of image and "
                f"label."
            )
        opened = records.open_split(data, split)
        self._check_classes(opened.spec.class_names, data)
        return pipeline.ImageReader(opened)

    def _check_classes(self, found, source):
        numbers = tuple(str(i) for i in range(len(found)))
        if self.class_names not in (tuple(found), numbers):
            raise errors.UserError(
                f"{source} has the classes {', '.join(found)}, and the network "
                f"{', '.join(self.class_names)}. Give `data` with the same classes in "
                f"the same order."
            )

    @property
    def _is_run(self):
        return os.path.exists(os.path.join(self.path, layout.BEST_METADATA))

    def _settings(self, split, **more):
        model = getattr(self.model, "name", "exported model")
        return {"model": model, "split": split, "path": self.path, **more}

    def export(
        self,
        export_dir: str | os.PathLike,
        *,
        format_names: str | Iterable[str] = ("saved_model",),
        **options: Any,
    ) -> str:
        """Exports the network, and compares each format with it.

        Scales and flipping with which the network was loaded are not exported; give
        `test_time_options`.

        Args:
            export_dir: Folder of the versions.
            format_names: Names of formats, or one; see docs/export.md.
            **options: Keyword arguments of `exporting.export_run` for the workdir of a
                run, of `exporting.export_model` for a `.keras` file.

        Returns:
            Path of the version, such as "export/1".

        Raises:
            errors.UserError: This is an export; otherwise see `export_model`.
            OSError: See `export_model`.
        """
        from kerasseg import exporting

        if isinstance(format_names, str):
            format_names = format_names.split(",")
        options = {"format_names": tuple(format_names), **options}
        if self._is_run:
            stride = {"output_stride": self._output_stride}
            return exporting.export_run(self.path, export_dir, **stride, **options)
        if not os.path.isfile(self.path) or tflite.is_file(self.path):
            raise errors.UserError(
                f"{self.path} is an export, which cannot be exported again. Load the "
                f"workdir of the run or its .keras file."
            )
        names = {"class_names": self.class_names, "palette": self.palette}
        return exporting.export_model(self.model, export_dir, **names, **options)


class Segmenter(_Trained, inference.Segmenter):
    """A trained network that segments images of any size; see `kerasseg.load`.

    Args:
        network: What `inference.load` returned.
        path: Where it was loaded from.
        output_stride: With which it was loaded, or None.

    Attributes:
        path: Where it was loaded from.
        model: See `inference.Segmenter`, like `class_names`, `palette`, `predictor`.
    """

    def __init__(
        self, network: inference.Segmenter, path: str, output_stride: int | None
    ):
        super().__init__(
            network.model,
            network.class_names,
            network.palette,
            rule=network.rule,
            image_kind=network.image_kind,
        )
        self.predictor = network.predictor  # With the options of `load`.
        self.path, self._output_stride = path, output_stride

    def evaluate(
        self,
        data: Any = None,
        *,
        split: str = "val",
        measures: Sequence[str] | None = None,
        batch_size: int = 1,
    ):
        """Scores the network on labeled images, each at its own size.

        Args:
            data: A folder of records; or a sequence of pairs of an image, as `predict`
                takes it, and its label: class numbers and 255 for ignored pixels,
                integers `[height, width]`, or a PNG file of them; of a multi-label
                network 0 or 1 for each class, `[height, width, num_classes]`. The
                image's name may be a third entry. None for the records of the run.
            split: Name of the split of records.
            measures: Names of `evaluation.MEASURE_NAMES` that are computed besides the
                confusion matrix; None for all.
            batch_size: Images of equal size per batch, for records.

        Returns:
            `evaluation.Evaluation`: `scores`, a dict; printed, it is a table.

        Raises:
            errors.MissingFileError: There are no records.
            errors.UserError: The classes differ, there is no image, an image or label
                is damaged or of another size, or a label is out of range.
        """
        reader = self._reader(data, split)
        return self._evaluate(reader, measures, batch_size)

    def report(
        self,
        path: str | os.PathLike,
        data: Any = None,
        *,
        split: str = "val",
        num_images: int = 8,
    ):
        """Evaluates the network, and writes a page of scores, charts and images.

        Args:
            path: The HTML file; it is replaced.
            data: See `evaluate`.
            split: See `evaluate`.
            num_images: Maximum number of the worst images shown, and of the best ones.

        Returns:
            See `evaluate`.

        Raises:
            errors.UserError: See `evaluate`; or `num_images` is negative.
        """
        from kerasseg import evaluation, report

        reader = self._reader(data, split)
        result = self._evaluate(reader, None, 1)
        report.write(
            path,
            result,
            reader.split.spec,
            self._settings(reader.split.name),
            evaluation.network_samples(self.predictor, reader),
            num_images=num_images,
        )
        return result

    def _reader(self, data, split):
        if data is None or isinstance(data, str | os.PathLike):
            return self._open(data, split)
        from kerasseg import evaluation

        if (found := getattr(data, "classes", None)) is not None:
            self._check_classes(found, "`data`")
        return evaluation.Pairs(
            data,
            self.class_names,
            self.palette,
            self.image_kind,
            multi_label=self.rule.multi_label,
        )

    def _evaluate(self, reader, measures, batch_size):
        from kerasseg import evaluation

        default = () if self.rule.multi_label else evaluation.MEASURE_NAMES
        measures = default if measures is None else measures
        if not isinstance(reader, evaluation.Pairs):
            return evaluation.evaluate(
                self.predictor, reader, measures=measures, batch_size=batch_size
            )

        def scored():
            for i in range(len(reader.split)):
                image, label, name = reader.read(i)
                masks, confidence = self.predictor.confident_classes(
                    image[np.newaxis], names=[name]
                )
                yield evaluation.ScoredImage(i, name, label, masks[0], confidence[0])

        return evaluation.score(scored(), reader.split, measures)


class InstanceSegmenter(_Trained, inference.InstanceSegmenter):
    """A trained network that detects objects in images of any size.

    Args:
        network: See `Segmenter`, like the others.
        path: Where it was loaded from.
        output_stride: With which it was loaded, or None.

    Attributes:
        path: Where it was loaded from.
        model: See `inference.InstanceSegmenter`, like `class_names`, `palette` and
            `detector`.
    """

    def __init__(
        self, network: inference.InstanceSegmenter, path: str, output_stride: int | None
    ):
        super().__init__(network.model, network.class_names, network.palette)
        self.detector = network.detector  # With the options of `load`.
        self.path, self._output_stride = path, output_stride

    def evaluate(
        self,
        data: str | os.PathLike | None = None,
        *,
        split: str = "val",
        min_score: float = images.MIN_SCORE,
    ):
        """Scores the detected objects on records with instances.

        Args:
            data: A folder of records; None for those of the run.
            split: Name of the split.
            min_score: See `evaluation.score_instances`.

        Returns:
            `evaluation.InstanceEvaluation`.

        Raises:
            errors.MissingFileError: There are no records.
            errors.UserError: The classes differ, or the records have no instances.
        """
        from kerasseg import evaluation

        reader = self._open(data, split)
        return evaluation.evaluate_instances(self.detector, reader, min_score=min_score)

    def report(
        self,
        path: str | os.PathLike,
        data: str | os.PathLike | None = None,
        *,
        split: str = "val",
        min_score: float = images.MIN_SCORE,
    ):
        """Evaluates the network, and writes a page of scores, charts and images.

        Args:
            path: The HTML file; it is replaced.
            data: See `evaluate`, like `split` and `min_score`.
            split: Name of the split.
            min_score: Smallest score of the objects that are counted and drawn.

        Returns:
            See `evaluate`.

        Raises:
            errors.UserError: See `evaluate`.
        """
        from kerasseg import evaluation, report

        reader = self._open(data, split)
        result = evaluation.evaluate_instances(
            self.detector, reader, min_score=min_score
        )
        report.write_instances(
            path,
            result,
            reader.split.spec,
            self._settings(reader.split.name, min_score=min_score),
            lambda i: evaluation.detected_image(self.detector, reader, i),
            min_score=min_score,
        )
        return result


def load(
    path: str | os.PathLike,
    *,
    output_stride: int | None = None,
    accept_license: bool = False,
    **options: Any,
) -> Segmenter | InstanceSegmenter:
    """Loads a trained network.

    Args:
        path: The workdir of a run, whose best model is loaded; a `.keras` file, whose
            classes are named by their numbers unless kerasseg saved it; an export; or
            the name of published weights, one of `list_weights()` or "hf:OWNER/NAME",
            which are downloaded and converted once.
        output_stride: 8, 16 or 32, for the workdir of a run or a name; None: as it was
            trained.
        accept_license: Whether weights may be downloaded whose license forbids
            commercial use.
        **options: `trust=True` if Python code in a `.keras` file may run; keyword
            arguments of `inference.Predictor`: scales, flip, fusion, tile_size; or of
            `inference.Detector`, for a network that detects objects.

    Returns:
        The network: `predict`, `evaluate`, `report` and `export`.

    Raises:
        errors.MissingFileError: There is no trained network at `path`.
        errors.UserError: The file is damaged, its model does not segment images,
            `output_stride` does not apply, or an option is out of range; or there are
            no weights of this name.
        OSError: The weights cannot be downloaded.
    """
    place = imported.path_of(path, accept_license=accept_license)
    network = inference.load(place, output_stride=output_stride, **options)
    if isinstance(network, inference.InstanceSegmenter):
        return InstanceSegmenter(network, place, output_stride)
    return Segmenter(network, place, output_stride)
