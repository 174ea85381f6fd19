"""A prediction as one value that can be sent to another machine."""

import collections.abc
import contextlib
import dataclasses
import functools

from kerasseg import errors, inference, inference_flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A network, how it is run, and what is written where.

    Attributes:
        workdir: Of a run, or a `.keras` file; None where `export_dir` is given.
        export_dir: Folder of an export.
        options: What comes after the network.
        views: How it looks at a picture, see `inference.Predictor`.
        output_dir: Folder of the results.
        kinds: Of `inference.outputs.KINDS`.
        max_pixels: Larger pictures are not decoded.
        batch_size: See `inference.predict_files`.
    """

    workdir: str | None
    export_dir: str | None
    options: inference_flags.InferenceFlags
    views: dict
    output_dir: str
    kinds: tuple[str, ...]
    max_pixels: int
    batch_size: int

    def settings(self) -> dict:
        """Returns what the results depend on, plain for JSON."""
        return {
            "network": inference.resuming.fingerprint(self._path()),
            **self.views,
            "output_stride": self.options.output_stride,
            "crf": self.options.crf_settings(),
            "superpixels": self.options.superpixels,
        }

    @contextlib.contextmanager
    def open(self) -> collections.abc.Iterator[collections.abc.Callable]:
        """Loads the network; a context manager of a function that predicts pictures.

        The function takes what `inference.find_images` returns, and returns what
        could not be predicted, as `inference.predict_files` does.

        Raises:
            ImportError: The CRF or superpixels need what is not installed.
            ValueError: Not one of `workdir` and `export_dir` is given, the network
                cannot be loaded, there is no such kind, or a setting is out of range.
        """
        inference.outputs.check(self.kinds)
        with self.options.refiner() as refine:
            yield functools.partial(
                inference.predict_files,
                self._segmenter(),
                output_dir=self.output_dir,
                kinds=self.kinds,
                refine=refine,
                max_pixels=self.max_pixels,
                batch_size=self.batch_size,
            )

    def _segmenter(self):
        path, stride = self._path(), self.options.output_stride
        if self.workdir is not None:
            return inference.load(path, output_stride=stride, **self.views)
        if stride is not None:
            raise errors.UserError("`output_stride` can be chosen with `workdir` only.")
        return inference.load_export(path, **self.views)

    def _path(self) -> str:
        given = [x for x in (self.workdir, self.export_dir) if x is not None]
        if len(given) != 1:
            raise errors.UserError("One of `workdir` and `export_dir` is needed.")
        return given[0]
