"""Options for the list of labeled images that a build writes into dataset.json."""

import dataclasses
from collections.abc import Sequence

from kerasseg import errors
from kerasseg.records import labeled_lists
from kerasseg.system.option_fields import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabeledOptions:
    """Which labels of a split are used in training. Fields with a help text are flags.

    The records have all labels. A build that only changes the list writes no record.

    Attributes:
        labeled_list: File with the name or path of one image per line.
    """

    labeled_fraction: str | None = option(
        None,
        "Use the labels of this fraction of the training images, which are drawn with "
        "--split_seed: 1/8 or 0.125, or the name of the size of a published split: "
        f"{', '.join(labeled_lists.SIZES)}. The records hold all labels.",
    )
    labeled_count: int | None = option(
        None, "As --labeled_fraction, but the number of images."
    )
    labeled_split: str = option("train", "Split of the list of labeled images.")
    split_seed: int = option(
        0, "Seed of --labeled_fraction and --labeled_count, at least 0."
    )
    labeled_list: str | None = None

    def __post_init__(self):
        """Checks that at most one option gives the list."""
        names = "labeled_fraction", "labeled_count", "labeled_list"
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise errors.UserError(
                f"`{given[0]}` and `{given[1]}` both give the labeled images. Give one."
            )
        if self.split_seed < 0:
            raise errors.UserError(
                f"`split_seed={self.split_seed}` must be at least 0."
            )

    @property
    def is_given(self) -> bool:
        """Whether there is a list."""
        amounts = self.labeled_fraction, self.labeled_count, self.labeled_list
        return any(amount is not None for amount in amounts)

    def check_splits(self, splits: Sequence[str]) -> None:
        """Raises `errors.UserError` if the split of the list is not built."""
        if self.is_given and self.labeled_split not in splits:
            raise errors.UserError(
                f"`labeled_split={self.labeled_split}` is not built, only "
                f"{', '.join(splits)}. Choose one of them, or add it to `splits`."
            )

    def choose(
        self, labeled: Sequence[str], unlabeled: Sequence[str]
    ) -> labeled_lists.LabeledList:
        """Returns the list.

        Args:
            labeled: Names of the images of the split that have a label.
            unlabeled: Names of those without a label.

        Raises:
            errors.MissingFileError: See `labeled_lists.read_list`.
            errors.UserError: No image has a label, or see `labeled_lists`.
        """
        if not labeled:
            raise errors.UserError(
                f"No image of the split '{self.labeled_split}' has a label, so none "
                "can be listed. Omit the list, or choose another `labeled_split`."
            )
        if self.labeled_list is not None:
            return labeled_lists.read_list(self.labeled_list, labeled, unlabeled)
        count = self.labeled_count
        if self.labeled_fraction is not None:
            total = len(labeled)
            count = labeled_lists.count_labeled(self.labeled_fraction, total)
        return labeled_lists.draw(labeled, int(count or 0), self.split_seed)
