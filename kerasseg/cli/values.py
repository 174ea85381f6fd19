"""Texts of flags to the values that they mean."""

import inspect


def model_options(builder, given) -> dict:
    """Types `key=value` texts by the signature of an architecture's builder.

    Args:
        builder: The function that `models.metadata` names.
        given: Texts such as `output_stride=8`.

    Raises:
        ValueError: A text is no `key=value`, the key is an argument that is no
            option, or the value is not of the kind of the option's default. Unknown
            keys are left to the builder's own error.
    """
    parameters = inspect.signature(builder).parameters
    options = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator:
            raise ValueError(
                f"--model_option takes key=value, for example output_stride=8; got "
                f"'{text}'."
            )
        default = parameters[key].default if key in parameters else None
        if default is inspect.Parameter.empty:
            raise ValueError(
                f"--model_option={key} is no option: another flag or the data set "
                f"decides it. Leave it out."
            )
        options[key] = _typed(key, value, default)
    return options


def _typed(key, text, default):
    lowered = text.lower()
    if lowered == "none":
        return None
    if isinstance(default, bool) or (default is None and lowered in ("true", "false")):
        if lowered not in ("true", "false", "1", "0"):
            raise ValueError(f"--model_option={key} is true or false, got '{text}'.")
        return lowered in ("true", "1")
    if isinstance(default, tuple):
        like = default[0] if default else None
        return tuple(_typed(key, part, like) for part in text.split(","))
    kinds = (type(default),) if default is not None else (int, float, str)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(
        f"--model_option={key} takes {kinds[0].__name__}, as in {key}={default}; "
        f"got '{text}'."
    )


def crop_size(text: str) -> tuple[int, int]:
    """Reads `513` or `360,480` (height, width)."""
    try:
        sides = [int(part) for part in str(text).split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise ValueError(
            f"A size is one number, or height,width, in pixels, as in 513 or 360,480; "
            f"got '{text}'."
        )
    return sides[0], sides[-1]
