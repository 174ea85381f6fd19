"""What to score, how, and how many images to choose; checked before TensorFlow."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from kerasseg import errors, images
from kerasseg.inference import resuming, segmenter
from kerasseg.inference.labeling import scores
from kerasseg.inference.options import PredictorOptions
from kerasseg.system import names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """A network, how images are scored, and how many are chosen.

    Creating it checks the arguments, and does not start TensorFlow.

    Attributes:
        workdir: Workdir of a run, or a `.keras` file or export.
        output_dir: Folder of the results.
        count: Number of images to choose.
        score: A key of `scores.SCORES`.
        diversity: Whether to choose images that differ, see `selection.order_images`.
        predictor: Scales, flip and tiles: the views that "disagreement" compares, or
            that the other scores fuse.
        output_stride: As in `inference.load`.
        max_pixels: Larger images are not decoded.

    Raises:
        errors.MissingFileError: The network does not exist.
        errors.UserError: An argument is out of range, or "disagreement" has one view
            only, or views that are not fused by their mean.
    """

    workdir: str
    output_dir: str
    count: int = 20
    score: str = "entropy"
    diversity: bool = False
    predictor: PredictorOptions = dataclasses.field(default_factory=PredictorOptions)
    output_stride: int | None = None
    max_pixels: int = images.DEFAULT_MAX_PIXELS

    def __post_init__(self):
        if self.count < 1:
            raise errors.UserError(f"`count={self.count}`: expected at least 1.")
        if self.score not in scores.SCORES:
            raise errors.UserError(
                f"`score={self.score}`: expected one of {', '.join(scores.SCORES)}."
            )
        if self.score == "disagreement":
            if self.num_views < 2:
                raise errors.UserError(
                    "`score=disagreement` compares several views of an image, and "
                    "there is only one. Give `flip`, or scales such as "
                    "`eval_scales=0.75,1,1.25`."
                )
            if self.predictor.eval_fusion != "mean":
                raise errors.UserError(
                    "`score=disagreement` compares views with their mean: leave out "
                    f"`eval_fusion={self.predictor.eval_fusion}`."
                )
        segmenter.check_exists(self.workdir)

    @property
    def num_views(self) -> int:
        """Number of scales, twice with flipping."""
        return len(self.predictor.scales) * (1 + self.predictor.flip)

    def settings(self) -> dict:
        """Returns everything that the scores depend on, as JSON values."""
        return {
            "network": resuming.fingerprint(self.workdir),
            **self.predictor.arguments(),
            "output_stride": self.output_stride,
            "score": self.score,
        }


def check_folders(paths: Mapping[str, pathlib.Path], output_dir: str) -> None:
    """Checks that results do not lie between the images, where they would be read.

    Raises:
        errors.UserError: An image is in the folder of the results.
    """
    results = os.path.realpath(output_dir)
    for path in paths.values():
        if pathlib.Path(os.path.realpath(path)).is_relative_to(results):
            raise errors.UserError(
                f"`output_dir={output_dir}` contains images to score, such as "
                f"{names.printable(path)}. Give a folder outside of `images`."
            )
