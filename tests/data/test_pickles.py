import io
import os
import pickle  # noqa: TID251 - the tests write pickles, good and evil ones
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsss.data.pickles import read_pickle_safely
from wsss.errors import DataError

VALUES: dict[Any, Any] = {
    "2007_000032": np.eye(3, dtype=np.float32)[1],
    7: np.arange(6, dtype=np.int64).reshape(2, 3).T,
    "column major": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "other byte order": np.arange(3, dtype=">i2"),
    "no dimension": np.array(2.5),
    "no entry": np.zeros((0, 3)),
    "flags": np.array([True, False]),
    "texts": np.array(["sofa", "Kühe"]),
    "nested": [1, (2.5, "zwölf", None, True, b"\x00\xff", b""), {"deep": [np.float16(0.5), np.bool_(True)]}],
    "set": {1, 2},
    "ordered": OrderedDict([("b", 1), ("a", np.ones(2))]),
}
OBJECTS = np.array([{"keys": np.arange(2)}, None, "text"], dtype=object)


def saved(value: object) -> bytes:
    """What ``numpy.save`` writes today."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(value, dtype=object), allow_pickle=True)
    return stream.getvalue()


def saved_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def saved_by_numpy_1(value: object) -> bytes:
    """What ``numpy.save`` of NumPy 1 wrote: protocol 3, functions of ``numpy.core``."""
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + in_the_names_of_numpy_1(pickle.dumps(np.array(value, dtype=object), protocol=3))


def in_the_names_of_numpy_1(pickled: bytes) -> bytes:
    renamed = pickled.replace(b"cnumpy._core.", b"cnumpy.core.")
    assert renamed != pickled or np.__version__ < "2"
    return renamed


def assert_same(got: object, wanted: object) -> None:
    if isinstance(wanted, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert (got.dtype, got.shape) == (wanted.dtype.newbyteorder("="), wanted.shape)
        assert_same(got.tolist(), wanted.tolist())
    elif isinstance(wanted, dict):
        assert isinstance(got, dict)
        assert list(got) == list(wanted)
        for key, value in wanted.items():
            assert_same(got[key], value)
    elif isinstance(wanted, list | tuple):
        assert type(got) is type(wanted)
        assert len(got) == len(wanted)  # type: ignore[arg-type]
        for one, other in zip(got, wanted, strict=True):  # type: ignore[call-overload]
            assert_same(one, other)
    else:
        assert type(got) is type(wanted)
        assert got == wanted


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_of_every_protocol_are_read_as_pickle_reads_them(protocol: int) -> None:
    assert_same(read_pickle_safely(pickle.dumps(VALUES, protocol)), VALUES)
    assert_same(read_pickle_safely(pickle.dumps(OBJECTS, protocol)), OBJECTS)


def test_files_of_numpy_1_and_2_read_equal(tmp_path: Path) -> None:
    for name, content in {"1.npy": saved_by_numpy_1(VALUES), "2.npy": saved(VALUES)}.items():
        (tmp_path / name).write_bytes(content)
        assert_same(read_pickle_safely(tmp_path / name), VALUES)
        # and as NumPy itself reads them, which looks the names up
        assert_same(np.load(tmp_path / name, allow_pickle=True).item(), VALUES)
    assert_same(read_pickle_safely(in_the_names_of_numpy_1(pickle.dumps(VALUES, 2))), VALUES)


def test_plain_npy_files_are_read_too(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.arange(6.0).reshape(2, 3))
    assert_same(read_pickle_safely(tmp_path / "plain.npy"), np.arange(6.0).reshape(2, 3))


def test_what_python_2_has_written_is_read() -> None:
    # S and T are the byte strings of Python 2: here 'key', and the two bytes of an array
    written = (
        b"(dS'key'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb\x89T\x02\x00\x00\x00\x07\xfftbs."
    )
    assert_same(read_pickle_safely(written), {"key": np.array([7, 255], dtype=np.uint8)})


def test_tensors_come_as_arrays() -> None:
    whole = torch.arange(12.0).view(4, 3)
    tensors = {"view": whole.T[1:], "keys": torch.tensor([3, 4]), "half": whole.half(), "none": torch.zeros(0, 2)}
    got = read_pickle_safely(saved(tensors))
    assert_same(got, {name: tensor.numpy() for name, tensor in tensors.items()})
    coarse = read_pickle_safely(pickle.dumps(torch.tensor([0.5]).bfloat16()))
    assert_same(coarse, np.array([0.5], dtype=np.float32))


def saved_by_torch(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


class Evil:
    """Unpickled, it would leave a file behind."""

    def __init__(self, command: object, *args: object) -> None:
        self.command, self.args = command, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.command, self.args


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_by_name_and_nothing_is_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    attacks = {
        f"{os.mkdir.__module__}.mkdir": Evil(os.mkdir, str(trace)),
        "eval": Evil(eval, f"__import__('os').mkdir({str(trace)!r})"),
        "numpy.*fromfile": Evil(np.fromfile, str(trace)),
    }
    for name, attack in attacks.items():
        for content in (pickle.dumps({"a": attack}, protocol), saved({"a": attack})):
            with pytest.raises(DataError, match=rf"the pickle asks for '.*{name}'.*it is not read"):
                read_pickle_safely(content)
    assert not trace.exists()
    # the attack would work where pickles are believed
    pickle.loads(pickle.dumps(attacks[f"{os.mkdir.__module__}.mkdir"], protocol))
    assert trace.exists()


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_malicious_pickle_inside_of_a_tensor_is_not_run_either(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    inner = pickle.dumps(Evil(os.mkdir, str(trace)), protocol)
    load = torch.storage._load_from_bytes
    for storage in (inner, saved_by_torch(Evil(os.mkdir, str(trace)))):
        with pytest.raises(DataError, match="can't be read as a pickle of plain values"):
            read_pickle_safely(pickle.dumps({"cam": Evil(load, storage)}, protocol))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Ran out of input"),
        (b"no pickle", "can't be read as a pickle"),
        (saved(VALUES)[:-200], "truncated"),
        (saved(VALUES)[:60], "can't be read as a pickle"),
        (b"cnumpy\nndarray\n.", "a type or a function in the place of a value"),
        (b"cnumpy\ndtype\n}X\x05\x00\x00\x00_makeI1\nsb.", "sets the state of a function"),
        (b"cnumpy\ndtype\n)\x81.", "must be a type"),
        (b"]q\x00h\x00a.", "a value that holds itself"),
        (b"]" * 100_000 + b"a" * 99_999 + b".", "recursion"),
        (b"cnumpy\nndarray\n)R.", "an array without content"),
        (b"Pelsewhere\n.", "what lies elsewhere, 'elsewhere'"),
        (pickle.dumps(np.zeros(1, dtype=[("a", "f4")])), "records"),
        (pickle.dumps(np.zeros(1, dtype="datetime64[s]")), "array of type datetime64"),
        (pickle.dumps(np.zeros(100))[:-40], "can't be read as a pickle"),
        # headers of arrays are Python, which may be damaged in its own ways
        (saved_npy().replace(b"'descr'", b"'de(cr'").replace(b"}", b"("), "can't be read as a pickle"),
        (saved_npy().replace(b"{", b" "), "can't be read as a pickle"),
    ],
)
def test_what_is_damaged_or_more_than_plain_values_is_one_error(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_pickle_safely(content)


def test_what_occurs_many_times_is_read_once() -> None:
    # 2^64 lists, were each of them written out
    pile: list[Any] = [np.ones(2)]
    for _ in range(64):
        pile = [pile, pile]
    read = read_pickle_safely(pickle.dumps(pile))
    assert read[0] is read[1]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npy' is missing"):
        read_pickle_safely(tmp_path / "none.npy")


def test_reading_imports_nothing_that_a_pickle_names() -> None:
    sys.modules.pop("antigravity", None)
    with pytest.raises(DataError, match=r"antigravity\.fly"):
        read_pickle_safely(b"cantigravity\nfly\n.")
    assert "antigravity" not in sys.modules
