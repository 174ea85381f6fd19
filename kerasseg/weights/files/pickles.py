"""An unpickler that calls nothing: of objects it creates only descriptions of tensors.

`pickle.Unpickler` calls what a file names, and lets it change attributes of what
`find_class` returns. This one interprets the opcodes itself. Functions and classes that
a file names are never imported: those of tensors are known here by name, and the result
of any other is an `Other`. The number of opcodes and bytes is limited, so a small file
cannot use much memory or time.
"""

import pickletools
import sys
from typing import Any, BinaryIO, NamedTuple

from kerasseg import errors
from kerasseg.system import json_values, names
from kerasseg.weights.files import arrays

MAX_BYTES = 32 << 20
MAX_STEPS = 4_000_000  # Opcodes, and entries of dictionaries that are copied.
_MAX_NUMBER = 1 << 62
_MAX_RANK = 32
# Data of the standard library beside the tensors, in the settings of a training run.
_DATA_MODULES = {
    *("_codecs", "argparse", "array", "collections", "copyreg", "datetime", "decimal"),
    *("enum", "fractions", "pathlib", "uuid"),
}
_DATA_NAMES = {
    *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr"),
    *("int", "list", "object", "range", "set", "slice", "str", "tuple", "type"),
    *("functools.partial", "types.SimpleNamespace"),
}
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Global(NamedTuple):
    """A function or class that a file names."""

    module: str
    name: str

    def __str__(self):
        return names.one_line(f"{self.module}.{self.name}")[:80]


class Storage(NamedTuple):
    """A one-dimensional array that tensors are views of.

    Attributes:
        kind: Its class, such as "FloatStorage", or the name of a dtype.
        key: Its name in the file.
        size: Number of its elements.
    """

    kind: str
    key: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Other(NamedTuple):
    """Takes the place of an object that is not created, made by `source`."""

    source: str


def load(file: BinaryIO, num_bytes: int) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle.

    Args:
        file: Is left after the end of the pickle.
        num_bytes: Bytes that the pickle may have; at most `MAX_BYTES` are read.

    Returns:
        The object: dict, list, tuple, numbers, text, `Tensor`, `Other`. And the
        storages that it refers to, by their keys.

    Raises:
        errors.UserError: It is damaged or too large, names a function that can run
            programs, or has an opcode that no program writes today.
    """
    machine = _Machine()
    try:
        bounded: Any = _Bounded(file, num_bytes)
        for opcode, argument, _ in pickletools.genops(bounded):
            machine.step(opcode.name, argument)
        return machine.stack.pop(), machine.storages
    except errors.UserError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise arrays.damaged(f"pickle: {error}") from error


class _Bounded:
    """A file whose reads are limited before they allocate memory."""

    def __init__(self, file, num_bytes):
        self._file = file
        self._left = min(num_bytes, MAX_BYTES)
        self._is_limit = num_bytes > MAX_BYTES

    def read(self, size):
        self._check(size)
        data = self._file.read(size)
        self._left -= len(data)
        return data

    def readline(self):
        self._check(1)
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line

    def _check(self, size):
        if size > self._left and self._is_limit:
            raise errors.UserError(
                f"its pickle has more than {MAX_BYTES:,} bytes besides the tensors, "
                "which is no plain state dict. Save model.state_dict() alone."
            )
        if size > self._left:
            raise arrays.damaged("it ends within the pickle")


_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT"),
    *("BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "BINBYTES8"),
    *("SHORT_BINBYTES", "BYTEARRAY8", "UNICODE", "BINUNICODE", "BINUNICODE8"),
    "SHORT_BINUNICODE",
}
_NAMED_CONSTANTS = {
    **{"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()},
    "EMPTY_SET": Other("set"),
}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_IGNORED = {"PROTO", "FRAME", "STOP"}


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self):
        self.stack = []
        self.storages = {}
        self._below = []  # Stacks below the marks.
        self._memo = {}
        self._steps = 0

    def step(self, name, argument):
        self._count(1)
        if name in _CONSTANTS:
            self.stack.append(argument)
        elif name in _NAMED_CONSTANTS:
            self.stack.append(_NAMED_CONSTANTS[name])
        elif name in _PUTS:
            self._memo[argument] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self._memo[argument])
        elif name not in _IGNORED:
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise errors.UserError(
                    f"its pickle has the opcode {name}, which weights do not need. "
                    "Load it with the program that wrote it, and save its "
                    "state_dict() with torch.save."
                )
            method(*[] if argument is None else [argument])

    def _count(self, steps):
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise errors.UserError(
                f"its pickle has more than {MAX_STEPS:,} steps, which is no plain "
                "state dict. Save model.state_dict() alone."
            )

    def _memoize(self):
        self._memo[len(self._memo)] = self.stack[-1]

    # Stack.

    def _mark(self):
        self._below.append(self.stack)
        self.stack = []

    def _pop_mark(self):
        items = self.stack
        self.stack = self._below.pop()
        return items

    def _pop(self):
        if self.stack:
            self.stack.pop()
        else:
            self._pop_mark()

    def _dup(self):
        self.stack.append(self.stack[-1])

    # Containers. Sets are never read.

    def _empty_list(self):
        self.stack.append([])

    def _empty_dict(self):
        self.stack.append({})

    def _tuple(self):
        items = self._pop_mark()
        self.stack.append(tuple(items))

    def _tuple1(self):
        self._last_as_tuple(1)

    def _tuple2(self):
        self._last_as_tuple(2)

    def _tuple3(self):
        self._last_as_tuple(3)

    def _last_as_tuple(self, size):
        self.stack.append(tuple([self.stack.pop() for _ in range(size)][::-1]))

    def _list(self):
        items = self._pop_mark()
        self.stack.append(items)

    def _dict(self):
        items = self._pop_mark()
        self.stack.append({})
        self._add_pairs(items)

    def _frozenset(self):
        self._pop_mark()
        self.stack.append(Other("frozenset"))

    def _append(self):
        item = self.stack.pop()
        self._extend([item])

    def _appends(self):
        self._extend(self._pop_mark())

    def _additems(self):
        self._pop_mark()

    def _extend(self, items):
        if not isinstance(self.stack[-1], Other):
            _checked(self.stack[-1], list).extend(items)

    def _setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._add_pairs([key, value])

    def _setitems(self):
        self._add_pairs(self._pop_mark())

    def _add_pairs(self, items):
        if not isinstance(self.stack[-1], Other):
            target = _checked(self.stack[-1], dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_key(key)] = value

    # Functions and classes: their names, and what tensors need of their results.

    def _global(self, argument):
        self.stack.append(_named(*argument.split(" ", 1)))

    def _stack_global(self):
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_named(_checked(module, str), _checked(name, str)))

    def _reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self._result(function, _checked(arguments, tuple)))

    _newobj = _reduce

    def _newobj_ex(self):
        self.stack.pop()
        self._reduce()

    def _build(self):
        self.stack.pop()
        self.stack[-1]  # Raises an error if there is no object.

    def _binpersid(self):
        identifier = _checked(self.stack.pop(), tuple)
        if identifier[0] == "module":  # A class with its source, before PyTorch 1.6.
            self.stack.append(identifier[1])
            return
        tag, kind, key, _, size, *view = identifier
        if tag != "storage" or not isinstance(kind, Global):
            raise arrays.damaged("pickle: an unknown persistent ID")
        if any(part is not None for part in view):
            raise errors.UserError(
                "it has views of storages as PyTorch before 0.4 wrote them. Load it "
                "with PyTorch, and save its state_dict() again."
            )
        storage = Storage(kind.name, _checked(key, str), _natural(size))
        if self.storages.setdefault(key, storage) != storage:
            raise arrays.damaged("pickle: a storage with two sizes or types")
        self.stack.append(storage)

    def _result(self, function, arguments):
        if function == ("torch._tensor", "_rebuild_from_type_v2"):
            function, _, arguments, *_ = arguments
        if not isinstance(function, Global):
            return Other(str(function.source) if isinstance(function, Other) else "")
        if function in _DICTIONARIES:
            return self._dictionary(function, arguments)
        if function in _TENSORS:
            return _tensor(*arguments[:4])
        if function == ("torch._utils", "_rebuild_tensor_v3"):
            storage, *view = arguments[:4]
            return _tensor(_typed(storage, arguments[6]), *view)
        if function in _FIRST_ARGUMENT:
            return arguments[0]
        return Other(str(function))

    def _dictionary(self, function, arguments):
        result: dict[Any, Any] = {}
        if function.name == "OrderedDict" and arguments:  # Written by Python 2.
            pairs = _checked(arguments[0], list)
            self._count(len(pairs))
            for key, value in pairs:
                result[_key(key)] = value
        return result


_DICTIONARIES = {("collections", "OrderedDict"), ("collections", "defaultdict")}
_TENSORS = {
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
}
_FIRST_ARGUMENT = {
    ("torch", "Size"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
}


def _named(module, name):
    top = module.partition(".")[0]
    top = _PYTHON_2.get(top, top)
    full_name = name if top == "builtins" else f"{module}.{name}"
    if top not in sys.stdlib_module_names or top in _DATA_MODULES:
        return Global(module, name)
    if full_name not in _DATA_NAMES:
        raise errors.UserError(
            f"it contains {Global(module, name)}, which weights do not need, and which "
            "may run a program when other software loads the file. Do not use it; get "
            "the weights from their authors."
        )
    return Global(module, name)


def _tensor(storage, offset, shape, strides):
    shape, strides = _checked(shape, tuple), _checked(strides, tuple)
    if not len(shape) == len(strides) <= _MAX_RANK:
        raise arrays.damaged("pickle: shape and strides of a tensor do not match")
    for number in (*shape, *strides):
        _natural(number)
    return Tensor(_checked(storage, Storage), _natural(offset), shape, strides)


def _typed(storage, dtype):
    """Returns a storage of bytes as one of a dtype, see `torch_arrays`."""
    widths = {"uint16": 2, "uint32": 4, "uint64": 8}
    width = widths.get(_checked(dtype, Global).name, 1)
    storage = _checked(storage, Storage)
    return Storage(dtype.name, storage.key, storage.size // width)


def _natural(number):
    if type(number) is not int or not 0 <= number < _MAX_NUMBER:
        value = json_values.shorten(number) if type(number) is int else "no number"
        raise arrays.damaged(f"pickle: {value} as a size of a tensor")
    return number


def _checked(value, kind):
    if not isinstance(value, kind):
        raise arrays.damaged(f"pickle: a {type(value).__name__}, not {kind.__name__}")
    return value


def _key(key):
    """Returns a key whose hash is fast; nested tuples and equal hashes are not."""
    if isinstance(key, str) or key is None:
        return key
    is_short = type(key) in (bool, int) and -_MAX_NUMBER < key < _MAX_NUMBER
    return key if is_short else Other(f"{type(key).__name__} {id(key)}")
