"""One thing that the doctor found, and what settles it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        kind: What it is called.
        text: What was found, and what the flags do about it.
        files: Paths, or names, of what has it.
        flags: Values of `label_flags.LabelFlags` and `own_data.OwnData` that settle it.
        leave_out: Names, as --leave_out takes them, of what can only be left out.
        examples: (split, name) of what the contact sheet shows of it.
        is_note: Whether nothing needs to be done.
    """

    kind: str
    text: str
    files: tuple[str, ...] = ()
    flags: dict = dataclasses.field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    is_note: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether it needs nothing, or flags or leaving out settle it."""
        return self.is_note or bool(self.flags) or bool(self.leave_out)


def of(looks, kind: str, text: str, **more) -> Finding:
    """Makes a finding of the masks of some `looking.Look`s."""
    return Finding(
        kind,
        text,
        files=tuple(dict.fromkeys(look.pair.label for look in looks)),
        examples=tuple((look.split, look.pair.name) for look in looks),
        **more,
    )


def of_pictures(looks, kind: str, text: str, **more) -> Finding:
    """Makes a finding of the pictures of some `looking.Look`s."""
    found = of(looks, kind, text, **more)
    return dataclasses.replace(
        found, files=tuple(dict.fromkeys(look.pair.image for look in looks))
    )
