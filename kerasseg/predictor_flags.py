"""Flags of how a network looks at a picture: scales, the mirror, tiles."""

import dataclasses

from kerasseg import cli, errors


def _flag(default, text, **metadata):
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorFlags:
    """See `inference.Predictor`."""

    scales: str = _flag(
        "1",
        "Scales at which the network sees a picture, as in 0.5,0.75,1,1.25,1.5,1.75; "
        "its probabilities are averaged.",
        flag="eval_scales",
    )
    flip: bool = _flag(False, "Let the network see each scale in the mirror, too.")
    fusion: str = _flag(
        "mean",
        "Of several scales, take the mean of the probabilities, or the largest.",
        choices=("mean", "max"),
        flag="eval_fusion",
    )
    tile_size: int = _flag(
        0,
        "Pictures with a longer side go through the network in tiles of this side, a "
        "multiple of 128; 0: those for which the memory does not suffice.",
    )

    def options(self) -> dict:
        """Returns the arguments of `inference.Predictor`.

        Raises:
            ValueError: The scales are no numbers.
        """
        try:
            scales = tuple(float(part) for part in self.scales.split(","))
        except ValueError:
            raise errors.UserError(
                f"`eval_scales={self.scales}`: numbers with commas between them are "
                f"wanted, as in 0.5,0.75,1,1.25."
            ) from None
        return dataclasses.asdict(self) | {"scales": scales}


cli.define_fields(PredictorFlags)
