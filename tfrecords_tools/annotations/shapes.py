"""What the readers of all formats return."""

import dataclasses
import typing

from kerasseg import errors

IGNORED = "__ignore__"  # labelme's name of ignored shapes.


class AnnotationError(errors.UserError):
    """Annotations that cannot be used; the message names their file."""


class Instance(typing.NamedTuple):
    """One object of an image.

    Attributes:
        rle: Its mask, as `records.rle` encodes it.
        number: Number of its class; 255 if it is unknown or ignored.
        is_crowd: Whether it is a group of objects.
    """

    rle: bytes
    number: int
    is_crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        name: Name of its class.
        kind: As its format calls it, such as "polygon" or "box".
        data: What `drawing` needs to draw it: lists, numbers and strings.
        drawer: A key of `drawing.KINDS`; "" if it cannot be drawn.
        item: What it is in its file, such as "annotation 7".
        group: Shapes of one name and one group are one object; None for a shape that is
            a whole object.
        crowd_of: Name of the class, if the shape is a group of objects. Its `name` is
            `IGNORED` where labels ignore it.
        is_object: Whether it is an object; stuff is none.
    """

    name: str
    kind: str
    data: typing.Any = None
    drawer: str = ""
    item: str = ""
    group: int | str | None = None
    crowd_of: str = ""
    is_object: bool = True


@dataclasses.dataclass(frozen=True)
class Annotated:
    """The shapes of one image.

    Attributes:
        file_name: File name of the image, as given in the annotations.
        origin: Path of the annotation file.
        height: Height of the image in pixels, as given in the annotations.
        width: Width of the image in pixels, as given in the annotations.
        shapes: From back to front, unless `largest_first`.
        known: Names of the classes that the file lists, in order.
        largest_first: Whether smaller shapes are drawn over larger ones, in whatever
            order they are listed.
        one_file: Whether the file annotates this image only.
        fault: Why the annotations of this image cannot be used, or "".
        stuff: Names among `known` of classes without objects.
        label_file: Path of an image file from which the shapes are drawn, or "".
    """

    file_name: str
    origin: str
    height: int
    width: int
    shapes: tuple[Shape, ...]
    known: tuple[str, ...] = ()
    largest_first: bool = False
    one_file: bool = False
    fault: str = ""
    stuff: tuple[str, ...] = ()
    label_file: str = ""
