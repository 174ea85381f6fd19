"""Flags from the fields of a dataclass, and the dataclass from flags."""

import collections.abc
import sys
import typing

from absl import flags

from kerasseg.system import option_fields

T = typing.TypeVar("T")


def define_fields(cls: type) -> None:
    """Defines a flag for each field of a dataclass whose metadata has a "help" text.

    Name, type and default are the field's. `metadata["choices"]` lists the allowed
    values; `metadata["parse"]` is a function from the text to the value. The flags of
    fields with `metadata["shared"]` are defined in `cli`.
    """
    definers: dict[type, collections.abc.Callable] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for field, kind in option_fields.fields(cls):
        name, text = field.name, field.metadata["help"]
        if field.metadata.get("shared"):
            continue
        if "choices" in field.metadata:
            choices = field.metadata["choices"]
            flags.DEFINE_enum(name, field.default, choices, text, module_name=_main())
        elif "parse" in field.metadata:
            parser = _Parser(field.metadata["parse"])
            written: flags.ArgumentSerializer = flags.ArgumentSerializer()
            flags.DEFINE(
                parser,
                name,
                field.default,
                text,
                serializer=written,
                module_name=_main(),
            )
        else:
            definers[kind](name, field.default, text, module_name=_main())


def read_fields(cls: type[T], **others: typing.Any) -> T:
    """Creates an instance of the dataclass from the flags that `define_fields` defined.

    Args:
        cls: The dataclass.
        **others: Values of the fields without flags.
    """
    names = [field.name for field, _ in option_fields.fields(cls)]
    values = {name: flags.FLAGS[name].value for name in names}
    return cls(**values, **others)


class _Parser(flags.ArgumentParser):
    def __init__(self, read):
        super().__init__()
        self._read = read

    def parse(self, argument):
        return self._read(argument)


def _main():
    return sys.argv[0]
