"""A problem that the doctor found, and what fixes it."""

import dataclasses
from collections.abc import Sequence

from tfrecords_tools.doctor import scanning


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of problem.

    Attributes:
        kind: Its title.
        text: What was found, and what the options do about it.
        files: Paths, or names, of the affected files.
        options: Values of `LabelOptions` and `OwnData` that fix it.
        leave_out: Names of images to leave out, as `leave_out` takes them.
        examples: (split, name) of affected images, for the contact sheet.
        is_note: Whether nothing needs to be done.
    """

    kind: str
    text: str
    files: tuple[str, ...] = ()
    options: dict = dataclasses.field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    is_note: bool = False

    @property
    def is_fixable(self) -> bool:
        """Whether options or leaving images out fix it, or nothing needs to be done."""
        return self.is_note or bool(self.options) or bool(self.leave_out)


def of_masks(scans: Sequence[scanning.Scan], kind: str, text: str, **fields) -> Finding:
    """Returns a finding about the masks of some scans.

    Args:
        scans: Scans of the affected pairs.
        kind: See `Finding`.
        text: See `Finding`.
        **fields: Other fields of `Finding`.
    """
    return Finding(
        kind,
        text,
        files=tuple(
            dict.fromkeys(scan.pair.label or scan.pair.image for scan in scans)
        ),
        examples=tuple((scan.split, scan.pair.name) for scan in scans),
        **fields,
    )


def of_images(
    scans: Sequence[scanning.Scan], kind: str, text: str, **fields
) -> Finding:
    """Returns a finding about the images of some scans; see `of_masks`."""
    finding = of_masks(scans, kind, text, **fields)
    return dataclasses.replace(
        finding, files=tuple(dict.fromkeys(scan.pair.image for scan in scans))
    )
