"""Sizes and rotations: does a mask fit its picture, upright or as it is stored?"""

from tfrecords_tools.doctor import findings
from tfrecords_tools.writing import label_rules


def exif(looks, *, is_given: bool):
    """Yields what is rotated.

    Args:
        looks: Pairs that can be read.
        is_given: Whether a flag says already what is done with them.
    """
    rotated = [look for look in looks if look.orientation != 1]
    if not rotated or is_given:
        return
    upright = [look for look in rotated if _fits_upright(look)]
    stored = [look for look in rotated if not _fits_upright(look)]
    if upright and stored:
        yield findings.of_pictures(
            rotated,
            "EXIF rotation",
            f"{len(upright)} masks fit the upright picture, {len(stored)} the picture "
            "as it is stored, and flags are for all. Store the pictures upright, "
            "without EXIF.",
            leave_out=tuple(look.name for look in min(upright, stored, key=len)),
        )
        return
    how = "upright" if upright else "as they are stored"
    unclear = [look for look in rotated if _sizes_are_equal(look)]
    evidence = ""
    if unclear:
        strengths = (
            sum(look.edges[0] for look in unclear),
            sum(look.edges[1] for look in unclear),
        )
        high, low = max(strengths), max(min(strengths), 1e-9)
        evidence = (
            f" Of {len(unclear)} the size does not tell; where their masks change, the "
            f"picture's edges are {high / low:.1f} times as strong that way."
        )
    yield findings.of_pictures(
        rotated,
        "EXIF rotation",
        f"Pictures that EXIF says are rotated: {len(rotated)}. Their masks fit them "
        f"{how}.{evidence} The flag stores them so.",
        flags={"apply_exif": True} if upright else {"ignore_exif": True},
    )


def _sizes_are_equal(look):
    return look.size == look.upright_size


def _fits_upright(look):
    if not _sizes_are_equal(look):
        if look.mask.size in (look.size, look.upright_size):
            return look.mask.size == look.upright_size
        return label_rules.fits(look.mask.size, look.upright_size)
    return look.edges[1] >= look.edges[0]


def sizes(looks, *, is_given: bool):
    """Yields masks of another size than their picture; see `exif`."""
    other = [
        look for look in looks if look.mask.size not in (look.size, look.upright_size)
    ]
    alike = [look for look in other if _has_shape(look)]
    misfit = [look for look in other if not _has_shape(look)]
    if alike and not is_given:
        yield findings.of(
            alike,
            "masks of another size",
            f"Masks of their picture's shape but another size: {len(alike)}, such as "
            f"{_sizes(alike[0])}. The flag brings them to the picture's size "
            "by the nearest pixel. Fine borders were lost when they were resized: "
            "better are the masks as they were drawn.",
            flags={"resize_masks": True},
        )
    if misfit:
        yield findings.of(
            misfit,
            "masks of another shape",
            f"Masks that cannot belong to their picture: {len(misfit)}, such as "
            f"{_sizes(misfit[0])}.",
            leave_out=tuple(look.name for look in misfit),
        )


def _has_shape(look):
    return label_rules.fits(look.mask.size, look.size) or label_rules.fits(
        look.mask.size, look.upright_size
    )


def _sizes(look):
    height, width = look.mask.size
    return f"{width} x {height} for {look.upright_size[1]} x {look.upright_size[0]}"
