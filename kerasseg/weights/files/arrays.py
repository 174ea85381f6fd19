"""What the readers of all formats share: their result, and limits of its size."""

from collections.abc import Iterable, Mapping

import numpy as np

from kerasseg import errors

MAX_BYTES = 16 << 30  # Of all arrays of a file.
# Arrays are larger than the file if it is compressed, if views overlap, and if bfloat16
# becomes float32.
_MAX_EXPANSION = 4
_SLACK = 1 << 20


class Weights(dict[str, np.ndarray]):
    """Arrays by name. Names of one tensor ("tied weights") share an array.

    Attributes:
        file_format: Such as "PyTorch (zip)" or "safetensors".
        key: Keys of the dictionary that was read in nested dictionaries, joined by
            dots: "state_dict", "model". Empty if the arrays are at the top level.
        prefix: Prefix that was removed from all names: "module." or "_orig_mod.".
            Usually empty.
        left_out: Names of the other entries: what is no array of numbers, and what is
            stored besides the dictionary, such as "optimizer".
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        file_format: str,
        key: str = "",
        prefix: str = "",
        left_out: Iterable[str] = (),
    ):
        super().__init__(arrays)
        self.file_format = file_format
        self.key = key
        self.prefix = prefix
        self.left_out = tuple(left_out)


def check_size(num_bytes: int, file_bytes: int) -> None:
    """Checks the size of arrays before they are allocated.

    Args:
        num_bytes: Bytes of all arrays, as the file describes them.
        file_bytes: Bytes of the file.

    Raises:
        errors.UserError: They are larger than `MAX_BYTES`, or much larger than the
            file.
    """
    if num_bytes > MAX_BYTES:
        raise errors.UserError(
            f"its arrays would take {num_bytes:,} bytes, and at most {MAX_BYTES:,} are "
            "read. Remove what is not needed from the file."
        )
    if num_bytes > _MAX_EXPANSION * file_bytes + _SLACK:
        raise errors.UserError(
            f"its arrays would take {num_bytes:,} bytes, but the file has only "
            f"{file_bytes:,}. It is damaged or made to exhaust the memory. If it is "
            "neither, save it again without compression and expanded views."
        )


def damaged(reason: object) -> errors.UserError:
    """Returns an error for a file that breaks the rules of its format."""
    text = " ".join(str(reason).split())[:200].rstrip(".")
    return errors.UserError(
        f"it is truncated or damaged ({text}). Copy or download it again."
    )


def from_bfloat16(values: np.ndarray) -> np.ndarray:
    """Returns float32 values of bfloat16 values that are stored as uint16."""
    return np.asarray(values.astype(np.uint32) << 16, order="C").view(np.float32)
