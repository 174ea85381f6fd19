"""Fields of option dataclasses, which `cli.define_fields` turns into flags."""

import dataclasses
from typing import Any


def option(default: Any, text: str, **metadata: Any) -> Any:
    """Returns a dataclass field that is a flag of the commands.

    Args:
        default: Default of the field and of the flag.
        text: Help text.
        **metadata: Further metadata, see `cli.define_fields`.
    """
    return dataclasses.field(default=default, metadata={"help": text, **metadata})
