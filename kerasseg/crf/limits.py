"""What the dense CRF may take: memory by an estimate, time by counting iterations."""

from kerasseg import errors
from kerasseg.system import memory

# A pixel's bytes, and those of each of its chances, on noise, where each pixel has
# corners of the lattice of its own; of real pictures it is less. Measured were, of 2,
# 5, 10, 21 and 42 classes, 559, 743, 1309, 2198 and 3755 by pydensecrf, and of 1, 2, 5,
# 11, 21 and 42 classes 1049, 1141, 1430, 2031, 2975 and 5442 by Keras on TensorFlow.
_BYTES = {"pydensecrf": (500, 82), "keras": (1000, 110)}


def check_memory(height, width, num_classes, max_gigabytes, *, engine) -> None:
    """Raises `ValueError` where a picture needs more memory than there is.

    Args:
        height: In pixels.
        width: In pixels.
        num_classes: How many are likely.
        max_gigabytes: What may be taken; None for what is free.
        engine: Its name.
    """
    of_pixel, of_chance = _BYTES[engine]
    needed = height * width * (of_pixel + num_classes * of_chance) / 1e9
    room, given = memory.available() / 1e9, max_gigabytes
    if needed <= (room if given is None else given):
        return
    limit = f"{room:.3g} GB are free" if given is None else f"{given:g} are allowed"
    raise errors.UserError(
        f"A dense CRF of {height} x {width} pixels and {num_classes} likely classes "
        f"can take {needed:.3g} GB of memory, {limit}. Refine it smaller or in parts, "
        "or give a larger max_gigabytes."
    )
