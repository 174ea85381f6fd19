"""What the readers of all formats return."""

import dataclasses
import typing

from kerasseg import errors

IGNORED = "__ignore__"  # labelme's name of what does not count.


class AnnotationError(errors.UserError):
    """Annotations that cannot be used; the text names their file and says why."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        name: Of its class.
        kind: Such as "polygon"; `drawing.KINDS` have an area.
        data: What is drawn: lists, numbers and texts, see `drawing`.
    """

    name: str
    kind: str
    data: typing.Any = None


@dataclasses.dataclass(frozen=True)
class Annotated:
    """The shapes of one picture.

    Attributes:
        file_name: Name of the picture, as the annotations have it.
        origin: Path of the file of annotations.
        height: Rows of the picture, as the annotations have them.
        width: Columns.
        shapes: From back to front, unless `largest_first`.
        known: Names of classes that the file lists, in order.
        largest_first: Whether smaller shapes lie on larger ones, whatever their order.
        one_file: Whether the file is about this picture alone.
    """

    file_name: str
    origin: str
    height: int
    width: int
    shapes: tuple[Shape, ...]
    known: tuple[str, ...] = ()
    largest_first: bool = False
    one_file: bool = False
