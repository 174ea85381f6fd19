"""A prediction of many files as one value, which a Ray cluster can distribute."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from kerasseg import errors, images
from kerasseg.images.class_rules import DEFAULT_RULE
from kerasseg.inference import outputs, pseudo_labels, resuming, segmenter
from kerasseg.inference.options import (
    InferenceOptions,
    PredictorOptions,
    check_min_score,
)
from kerasseg.inference.pseudo_labels import Counts, PseudoLabelOptions
from kerasseg.system import files, lock


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A network, its options, and the results to write.

    Creating it checks the arguments, and does not start TensorFlow.

    Attributes:
        workdir: Workdir of a run, or a `.keras` file; None if `export_dir` is given.
        export_dir: Folder of an export, or its TFLite file.
        output_dir: Folder of the results.
        kinds: Some of `outputs.NAMES`.
        predictor: Scales, flip and tiles.
        options: Output stride, CRF and superpixels.
        max_pixels: Larger images are not decoded.
        batch_size: As in `predict_files`.
        min_score: As in `predict_files`.
        pseudo_labels: Threshold of the pseudo-labels.

    Raises:
        errors.MissingFileError: The network does not exist.
        errors.UserError: Not exactly one network is given, there is no such kind of
            result, `output_stride` is combined with `export_dir`, `min_score` is out
            of range, or options of pseudo-labels are given without their kind.
    """

    workdir: str | None = None
    export_dir: str | None = None
    output_dir: str
    kinds: tuple[str, ...] = ("index", "overlay")
    predictor: PredictorOptions = dataclasses.field(default_factory=PredictorOptions)
    options: InferenceOptions = dataclasses.field(default_factory=InferenceOptions)
    max_pixels: int = images.DEFAULT_MAX_PIXELS
    batch_size: int = 1
    min_score: float | None = None
    pseudo_labels: PseudoLabelOptions = dataclasses.field(
        default_factory=PseudoLabelOptions
    )

    def __post_init__(self):
        if (self.workdir is None) == (self.export_dir is None):
            raise errors.UserError("Give either `workdir` or `export_dir`.")
        if self.export_dir is not None and self.options.output_stride is not None:
            raise errors.UserError(
                f"`output_stride={self.options.output_stride}` needs a `workdir`: an "
                f"export has a fixed output stride. Leave it out, or give the workdir."
            )
        if self.min_score is not None:
            check_min_score(self.min_score)
        outputs.check(self.kinds, outputs.NAMES)
        self.pseudo_labels.check_kinds(self.kinds)
        segmenter.check_exists(self.network)

    @property
    def network(self) -> str:
        """Path of the network."""
        return str(self.workdir if self.export_dir is None else self.export_dir)

    @property
    def predicted_kinds(self) -> tuple[str, ...]:
        """The kinds that are written image by image, keys of `outputs.KINDS`."""
        return outputs.predicted(self.kinds)

    def settings(self) -> dict:
        """Returns everything that the results of an image depend on, as JSON values."""
        # Without the default, so that folders of earlier releases are resumed.
        has_default = self.min_score in (None, images.MIN_SCORE)
        return {
            "network": resuming.fingerprint(self.network),
            **self.predictor.arguments(),
            "output_stride": self.options.output_stride,
            "crf": self.options.crf_settings(),
            "superpixels": self.options.superpixels,
            **({} if has_default else {"min_score": self.min_score}),
        }

    @contextlib.contextmanager
    def open(self) -> Iterator["Opened"]:
        """Loads the network.

        Yields:
            The network, as a function of images.

        Raises:
            errors.MissingFileError: There is no trained network at the path.
            errors.UserError: The network cannot be loaded, or does not have a kind of
                result.
        """
        from kerasseg.inference import refining
        from kerasseg.inference.files import predict_files

        network = self._load()
        is_semantic = isinstance(network, segmenter.Segmenter)
        outputs.check_network(
            self.kinds,
            detects_instances=not is_semantic,
            min_score=self.min_score,
            multi_label=is_semantic and network.predictor.rule.multi_label,
        )
        crf, superpixels = self.options.crf_settings(), self.options.superpixels
        kinds = self.predicted_kinds
        with refining.start_refiner(
            crf,
            superpixels,
            with_confidence="confidence" in kinds,
            rule=network.predictor.rule if is_semantic else DEFAULT_RULE,
        ) as refine:
            predict = functools.partial(
                predict_files,
                network,
                output_dir=self.output_dir,
                kinds=kinds,
                refine=refine,
                max_pixels=self.max_pixels,
                batch_size=self.batch_size,
                min_score=self.min_score,
            )
            yield Opened(predict, network.class_names, network.palette)

    def _load(self):
        arguments = self.predictor.arguments()
        with errors.renamed({"scales": "eval_scales", "fusion": "eval_fusion"}):
            if self.export_dir is not None:
                return segmenter.load_export(self.export_dir, **arguments)
            stride = self.options.output_stride
            return segmenter.load(self.network, output_stride=stride, **arguments)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A loaded network, which predicts the images of a job.

    Attributes:
        predict: Function of paths by name to the lines of failures, see
            `predict_files`, whose `journal` is an option.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
    """

    predict: Callable
    class_names: tuple[str, ...]
    palette: np.ndarray

    def __call__(self, paths: Mapping[str, pathlib.Path], **options) -> list[str]:
        """Returns the lines of failures, see `predict`."""
        return self.predict(paths, **options)


@dataclasses.dataclass(frozen=True)
class Summary:
    """The outcome of a job.

    Attributes:
        total: Number of images and videos.
        resumed: Number of those whose results an earlier run had written.
        failures: A line "PATH: reason" for each one that failed.
        pseudo_labels: Numbers of pseudo-labels, if they were written.
    """

    total: int
    resumed: int
    failures: list[str]
    pseudo_labels: Counts | None = None


def run_job(
    job: Job,
    paths: Mapping[str, pathlib.Path],
    *,
    overwrite: bool = False,
    engine: str = "local",
    num_workers: int | None = None,
) -> Summary:
    """Predicts images and videos; a second call resumes where the first one stopped.

    The failures are also written into failed.txt in the folder of the results.

    Args:
        job: The network and its options.
        paths: Images and videos by name, see `find_images`.
        overwrite: Whether to predict again what an earlier run has predicted.
        engine: "local", or "ray" for the Ray cluster that RAY_ADDRESS names.
        num_workers: Number of Ray's worker processes; None: one per GPU, or one per
            machine without GPUs.

    Raises:
        errors.UserError: The network cannot be loaded, or the folder holds results of
            other settings.
        lock.LockedError: Another prediction writes into the folder.
        OSError: A result cannot be written.
    """
    job.pseudo_labels.check_labels(paths)
    # Also with Ray the network is loaded here: it may fail before the folder is used.
    with job.open() as predict:
        os.makedirs(job.output_dir, exist_ok=True)
        with lock.hold(job.output_dir) as is_held:
            if is_held:
                outputs.remove_partial(job.output_dir)
            kept = resuming.claim(job.output_dir, job.settings(), overwrite=overwrite)
            journal = resuming.Journal(job.output_dir)
            kinds = outputs.with_classes(job.predicted_kinds, predict.class_names)
            counts = None
            journal.adopt(paths if kept else {}, kinds)
            remaining = {
                name: path
                for name, path in paths.items()
                if not (kept and journal.is_done(name, path, kinds))
            }
            if engine == "ray":
                from kerasseg.inference import ray_engine

                failures = ray_engine.run(
                    job,
                    remaining,
                    num_workers=num_workers,
                    journal=journal,
                    kinds=kinds,
                )
            else:
                failures = predict(remaining, journal=journal)
            _write_failures(job.output_dir, failures)
            if outputs.PSEUDO_LABELS in job.kinds:
                names, palette = predict.class_names, predict.palette
                counts = pseudo_labels.write(
                    job.output_dir, paths, job.pseudo_labels, names, palette
                )
    return Summary(len(paths), len(paths) - len(remaining), failures, counts)


def _write_failures(output_dir, failures):
    path = os.path.join(output_dir, "failed.txt")
    if failures or os.path.exists(path):
        files.write_bytes(path, "".join(f"{line}\n" for line in failures).encode())
