"""Safe reading of arrays and plain values from pickles and ``.npy`` files.

A pickle names functions and their arguments, so loading one can execute anything. Here no function that it names is
ever looked up: the few by which NumPy and torch write arrays are replaced by functions of this module, all others are
rejected.
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

from wsss.data.files import read_content
from wsss.errors import DataError

PLAIN_KINDS = "biufcSU"
"""Kinds of NumPy types whose values are plain bytes: booleans, numbers, texts."""

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
"""Exceptions that the parser may raise for bytes that are not a complete pickle."""


def read_pickle_safely(source: bytes | Path) -> Any:  # noqa: ANN401 - whatever plain values it holds
    """Read plain values from a pickle or a ``.npy`` file without executing any code in it.

    NumPy 1 and 2, Python 2 and 3 and all protocols are supported. A zero-dimensional array of objects, as
    ``numpy.save`` makes of a dictionary, is returned as its item, and a tensor as an array.

    Args:
        source: A file, or its content.

    Returns:
        Dictionaries, lists, tuples, sets, numbers, texts, bytes, booleans, None, and arrays of these.

    Raises:
        DataError: If the file is missing or damaged, or needs anything else.
    """
    name = "the pickle" if isinstance(source, bytes) else f"'{source}'"
    content = source if isinstance(source, bytes) else read_content(source)
    try:
        value = _read_npy(content) if content.startswith(npy.MAGIC_PREFIX) else _unpickle(content)
    except _Refusal as error:
        raise DataError(
            f"{name} asks for '{error}', which plain arrays and values do not need and which could execute any code, "
            f"so it is not read; ask its author for plain arrays"
        ) from None
    except DAMAGES as error:
        raise DataError(
            f"{name} can't be read as a pickle of plain values ({error}); fetch it again or have plain arrays saved"
        ) from error
    return value.item() if isinstance(value, np.ndarray) and value.dtype.hasobject and value.ndim == 0 else value


class _Refusal(Exception):  # noqa: N818 - carries the name of the rejected global to the message
    """A global that plain values do not need."""


class _Maker:
    """Replaces a global by a function of this module, which the pickle can neither access nor change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401 - whatever the pickle says
        return self._make(*args)

    def __setstate__(self, state: object) -> None:
        raise ValueError("it sets the state of a function")


class _Type:
    """A NumPy type under construction: first its code, then its byte order."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object, *_: object) -> None:
        self._code = _text(code)
        self._order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[3] is not None:
            raise ValueError("it has an array of records")
        self._order = _text(state[1])

    def resolve(self) -> np.dtype[Any]:
        """Return the type."""
        order: Any = self._order
        dtype = np.dtype(self._code).newbyteorder(order)
        if dtype.kind not in f"{PLAIN_KINDS}O" or dtype.names is not None or dtype.subdtype is not None:
            raise ValueError(f"it has an array of type {dtype}")
        return dtype


class _Array:
    """An array under construction: created empty, filled later."""

    __slots__ = ("_data", "_dtype", "_order", "_shape")

    def __init__(self, *_: object) -> None:
        self._data: object = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, column_major, data = state[-4:]
        self.fill(data, dtype, shape, "F" if column_major else "C")

    def fill(self, data: object, dtype: _Type, shape: tuple[int, ...], order: str) -> "_Array":
        """Set the content."""
        self._data, self._dtype, self._shape, self._order = data, dtype.resolve(), tuple(shape), _text(order)
        return self

    def resolve(self, finish: Callable[[Any], Any]) -> NDArray[Any]:
        """Create the array; ``finish`` is applied to the items of an array of objects."""
        if self._data is None:
            raise ValueError("it has an array without content")
        order: Any = self._order
        if not self._dtype.hasobject:
            stored = np.frombuffer(_bytes(self._data), self._dtype).reshape(self._shape, order=order)
            # a writable copy in this machine's byte order, the only one torch supports
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
    """Read the storage of a tensor, as a tensor of one dimension."""
    with warnings.catch_warnings():
        # about typed storages, and about bytes that torch has not written, which it rejects after the warning
        warnings.simplefilter("ignore", UserWarning)
        storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return torch.empty(0, dtype=storage.dtype).set_(storage.untyped())


def _tensor(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> object:
    view = storage.as_strided(size, stride, offset)
    # NumPy has no bfloat16
    return (view.float() if view.dtype == torch.bfloat16 else view.clone()).numpy()


def _no_bytes() -> bytes:
    return b""


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"it has bytes written as {encoding}")
    return text.encode(encoding)


_CORES = ("numpy.core", "numpy._core")
"""Modules in which NumPy 1 and NumPy 2 define their pickling functions."""

_MAKERS: dict[str, _Maker] = {
    "numpy.ndarray": _Maker(_Array),
    "numpy.dtype": _Maker(_Type),
    **{f"{core}.multiarray._reconstruct": _Maker(_Array) for core in _CORES},
    **{f"{core}.multiarray.scalar": _Maker(_scalar) for core in _CORES},
    **{f"{core}.numeric._frombuffer": _Maker(_from_buffer) for core in _CORES},
    "torch.storage._load_from_bytes": _Maker(_storage),
    "torch._utils._rebuild_tensor_v2": _Maker(_tensor),
    # how protocols before 3 write bytes, and how Python writes ordered dictionaries and old sets
    "_codecs.encode": _Maker(_encode),
    "__builtin__.bytes": _Maker(_no_bytes),
    "collections.OrderedDict": _Maker(dict),
    **{f"{module}.set": _Maker(set) for module in ("builtins", "__builtin__")},
}
"""All globals that a pickle may name, and their replacements."""


class _Reader(pickle.Unpickler):
    """A pickle parser that looks up no globals."""

    def find_class(self, module: str, name: str) -> _Maker:
        """Return the replacement of a global, or reject it."""
        try:
            return _MAKERS[f"{module}.{name}"]
        except KeyError:
            raise _Refusal(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> None:
        """Reject references to objects outside of the pickle."""
        raise _Refusal(f"what lies elsewhere, {pid!r}")


def _unpickle(content: bytes) -> Any:  # noqa: ANN401 - whatever it holds
    # Latin-1 preserves the bytes of texts written by Python 2, including those of arrays
    return _Finisher().finish(_Reader(io.BytesIO(content), fix_imports=False, encoding="latin1").load())


class _Finisher:
    """Replaces arrays under construction by finished ones; shared values are finished once."""

    def __init__(self) -> None:
        self._finished: dict[int, Any] = {}
        self._begun: list[Any] = []

    def finish(self, value: Any) -> Any:  # noqa: ANN401 - any plain value
        """Finish a value and everything in it.

        Raises:
            ValueError: If a value contains itself.
            TypeError: If a value is not a plain one.
        """
        if not isinstance(value, dict | list | tuple | set | frozenset | _Array | _Type | _Maker):
            return value
        if id(value) not in self._finished:
            # keep a reference, so that no other value can get the same id
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
