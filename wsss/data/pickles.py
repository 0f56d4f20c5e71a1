"""Arrays and plain values out of pickles and ``.npy`` files, without running what a pickle asks for.

A pickle names functions and what to call them with, so reading one can do anything. Here no function that it names is
ever looked up: the few by which NumPy and torch write arrays are answered by makers of this module, all others are
refused.
"""

import io
import pickle  # noqa: TID251 - only its parser is used; see find_class, which looks nothing up
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from wsss.errors import DataError

PLAIN_KINDS = "biufcSU"
"""Kinds of NumPy types whose values are nothing but bytes: flags, numbers, texts."""

DAMAGES = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
)
"""What the parser may raise over bytes that are no pickle, or only half of one."""


def read_pickle_safely(source: bytes | Path) -> Any:  # noqa: ANN401 - whatever plain values it holds
    """Read plain values from a pickle or a ``.npy`` file; no code that it may hold is run.

    NumPy 1 and 2, Python 2 and 3 and all protocols are understood. An array of objects without dimensions, as
    ``numpy.save`` makes of a dictionary, is given as what it holds, and a tensor as an array.

    Args:
        source: A file, or its content.

    Returns:
        Dictionaries, lists, tuples, sets, numbers, texts, bytes, flags, None, and arrays of these.

    Raises:
        DataError: If the file is missing or damaged, or asks for anything else.
    """
    name = "the pickle" if isinstance(source, bytes) else f"'{source}'"
    content = source if isinstance(source, bytes) else _content(source)
    try:
        value = _read_npy(content) if content.startswith(npy.MAGIC_PREFIX) else _unpickle(content)
    except _Refusal as error:
        raise DataError(
            f"{name} asks for '{error}', a file of arrays and plain values needs nothing of that kind and it could run "
            f"any code, so it is not read; ask its author for plain arrays"
        ) from None
    except DAMAGES as error:
        raise DataError(
            f"{name} can't be read as a pickle of plain values ({error}); fetch it again or have plain arrays saved"
        ) from error
    return value.item() if isinstance(value, np.ndarray) and value.dtype.hasobject and value.ndim == 0 else value


class _Refusal(Exception):  # noqa: N818 - what was refused, on its way to the message
    """A global that no plain value needs."""


class _Maker:
    """Answers a global by calling a function of this module; the pickle can neither see nor change that function."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401 - whatever the pickle says
        return self._make(*args)

    def __setstate__(self, state: object) -> None:
        raise ValueError("it sets the state of a function")


class _Type:
    """A NumPy type under construction: its code first, its byte order afterwards."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object, *_: object) -> None:
        self._code = _text(code)
        self._order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[3] is not None:
            raise ValueError("it has an array of records")
        self._order = _text(state[1])

    def resolve(self) -> np.dtype[Any]:
        """Look the type up."""
        order: Any = self._order
        dtype = np.dtype(self._code).newbyteorder(order)
        if dtype.kind not in f"{PLAIN_KINDS}O" or dtype.names is not None or dtype.subdtype is not None:
            raise ValueError(f"it has an array of type {dtype}")
        return dtype


class _Array:
    """An array under construction: made empty first, filled afterwards."""

    __slots__ = ("_data", "_dtype", "_order", "_shape")

    def __init__(self, *_: object) -> None:
        self._data: object = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, column_major, data = state[-4:]
        self.fill(data, dtype, shape, "F" if column_major else "C")

    def fill(self, data: object, dtype: _Type, shape: tuple[int, ...], order: str) -> "_Array":
        """Take over the content."""
        self._data, self._dtype, self._shape, self._order = data, dtype.resolve(), tuple(shape), _text(order)
        return self

    def resolve(self, finish: Callable[[Any], Any]) -> NDArray[Any]:
        """Make the array; ``finish`` is called on the objects of an array of objects."""
        if self._data is None:
            raise ValueError("it has an array without content")
        order: Any = self._order
        if not self._dtype.hasobject:
            stored = np.frombuffer(_bytes(self._data), self._dtype).reshape(self._shape, order=order)
            # a copy, so that it can be written to, in this machine's byte order, which is the only one torch knows
            return stored.astype(self._dtype.newbyteorder("="), order="C")
        items = finish(self._data)
        flat = np.empty(len(items), dtype=object)
        for place, item in enumerate(items):
            flat[place] = item
        return flat.reshape(self._shape, order=order)


def _scalar(dtype: _Type, data: object) -> object:
    resolved = dtype.resolve()
    if resolved.hasobject:
        raise ValueError("it has a number of unknown type")
    return np.frombuffer(_bytes(data), resolved)[0]


def _from_buffer(data: object, dtype: _Type, shape: tuple[int, ...], order: str) -> _Array:
    return _Array().fill(data, dtype, shape, order)


def _storage(content: bytes) -> torch.Tensor:
    """Read what a tensor looks at, as a tensor of one dimension."""
    with warnings.catch_warnings():
        # about storages with a type, and about bytes that torch has not written, which it refuses after the warning
        warnings.simplefilter("ignore", UserWarning)
        storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return torch.empty(0, dtype=storage.dtype).set_(storage.untyped())


def _tensor(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> object:
    view = storage.as_strided(size, stride, offset)
    # NumPy knows no bfloat16
    return (view.float() if view.dtype == torch.bfloat16 else view.clone()).numpy()


def _no_bytes() -> bytes:
    return b""


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"it has bytes written as {encoding}")
    return text.encode(encoding)


_CORES = ("numpy.core", "numpy._core")
"""Where NumPy 1 and NumPy 2 keep what they pickle by."""

_MAKERS: dict[str, _Maker] = {
    "numpy.ndarray": _Maker(_Array),
    "numpy.dtype": _Maker(_Type),
    **{f"{core}.multiarray._reconstruct": _Maker(_Array) for core in _CORES},
    **{f"{core}.multiarray.scalar": _Maker(_scalar) for core in _CORES},
    **{f"{core}.numeric._frombuffer": _Maker(_from_buffer) for core in _CORES},
    "torch.storage._load_from_bytes": _Maker(_storage),
    "torch._utils._rebuild_tensor_v2": _Maker(_tensor),
    # how protocols before 3 write bytes, and how Python writes dictionaries that keep their order and old sets
    "_codecs.encode": _Maker(_encode),
    "__builtin__.bytes": _Maker(_no_bytes),
    "collections.OrderedDict": _Maker(dict),
    **{f"{module}.set": _Maker(set) for module in ("builtins", "__builtin__")},
}
"""All globals that a pickle may name, and what answers instead."""


class _Reader(pickle.Unpickler):
    """A parser of pickles that looks no global up."""

    def find_class(self, module: str, name: str) -> _Maker:
        """Answer a global with a maker of this module, or refuse it."""
        try:
            return _MAKERS[f"{module}.{name}"]
        except KeyError:
            raise _Refusal(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> None:
        """Refuse what lies outside of the pickle."""
        raise _Refusal(f"what lies elsewhere, {pid!r}")


def _unpickle(content: bytes) -> Any:  # noqa: ANN401 - whatever it holds
    # Latin-1 keeps the bytes of texts that Python 2 has written, among them those of arrays
    return _Finisher().finish(_Reader(io.BytesIO(content), fix_imports=False, encoding="latin1").load())


class _Finisher:
    """Puts finished arrays in the place of those under construction; what occurs twice is finished once."""

    def __init__(self) -> None:
        self._finished: dict[int, Any] = {}
        self._begun: list[Any] = []

    def finish(self, value: Any) -> Any:  # noqa: ANN401 - any plain value
        """Finish a value and all that it holds.

        Raises:
            ValueError: If a value holds itself.
            TypeError: If a value is none that a pickle of plain values can hold.
        """
        if not isinstance(value, dict | list | tuple | set | frozenset | _Array | _Type | _Maker):
            return value
        if id(value) not in self._finished:
            # a value that was begun is kept, so that no other can come to have its id
            self._begun.append(value)
            self._finished[id(value)] = _UNFINISHED
            self._finished[id(value)] = self._make(value)
        made = self._finished[id(value)]
        if made is _UNFINISHED:
            raise ValueError("it holds a value that holds itself")
        return made

    def _make(self, value: Any) -> Any:  # noqa: ANN401 - any plain value
        if isinstance(value, _Array):
            return value.resolve(self.finish)
        if isinstance(value, dict):
            return {self.finish(key): self.finish(entry) for key, entry in value.items()}
        if isinstance(value, _Type | _Maker):
            raise TypeError("it holds a type or a function in the place of a value")
        return type(value)(self.finish(entry) for entry in value)


_UNFINISHED = object()


def _read_npy(content: bytes) -> NDArray[Any]:
    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    _, _, dtype = read_header(stream)
    if dtype.kind == "O":
        value = _unpickle(content[stream.tell() :])
        if not isinstance(value, np.ndarray):
            raise ValueError("its pickle is no array")
        return value
    return np.load(io.BytesIO(content), allow_pickle=False)


def _text(value: object) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _bytes(data: object) -> bytes:
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise TypeError(f"it has the content of an array as {type(data).__name__}")
    return bytes(data)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"'{path}' is missing; restore the file") from error
    except OSError as error:
        raise DataError(f"'{path}' can't be read ({error.strerror or error}); restore the file") from error
