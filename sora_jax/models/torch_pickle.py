"""Reads tensors of a file that torch.save wrote before version 1.6, without torch or unpickling.

Such a file is a sequence of pickles (a magic number, the protocol's version, sizes of types, the
tensors, keys of their storages) and then, for each key, the number of elements and the elements. A
pickle is a program; here its operations are listed by `pickletools.genops`, which runs nothing, and
read as data. They may make numbers, texts, tuples, lists, dictionaries and views of storages:
every other operation, and every other name that the file mentions, is refused.
"""

import hashlib
import pickletools
import struct
from typing import IO, Any, NamedTuple

import numpy as np
from etils import epath

_DTYPES = {"torch FloatStorage": np.float32, "torch LongStorage": np.int64}
_REBUILD, _DICTIONARY = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_ARGUMENTS = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MARK = object()


class _Tensor(NamedTuple):
    """A view of a storage, whose elements stand at the end of the file."""

    key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(path: epath.PathLike, sha256: str = "") -> dict[str, np.ndarray]:
    """Reads the arrays of a file by name.

    Args:
      sha256: digest that the file must have; "" for any.

    Raises:
      ValueError: the file is another one, is damaged, or holds something else than tensors.
    """
    path = epath.Path(path)
    if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{path} is not the file that is expected: its SHA-256 differs")
    try:
        with path.open("rb") as file:
            dtypes: dict[str, Any] = {}
            *_, tensors, keys = (_read_pickle(file, dtypes) for _ in range(5))
            storages = {}
            for key in keys:
                (count,) = struct.unpack("<q", file.read(8))
                data = file.read(count * np.dtype(dtypes[key]).itemsize)
                storages[key] = np.frombuffer(data, dtypes[key])
        return {name: _view(storages, tensor) for name, tensor in tensors.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise ValueError(f"{path} holds no tensors of torch: {error}") from error


def _read_pickle(file: IO[bytes], dtypes: dict[str, Any]) -> Any:
    """Reads one pickle as data; notes the dtype of each storage that it mentions."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}

    def pop_marked() -> list[Any]:
        at = len(stack) - 1 - stack[::-1].index(_MARK)
        taken = stack[at + 1 :]
        del stack[at:]
        return taken

    for operation, argument, _ in pickletools.genops(file):
        name: str = operation.name
        if name in _ARGUMENTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "TUPLE":
            stack.append(tuple(pop_marked()))
        elif name in ("TUPLE1", "TUPLE2"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "GLOBAL":
            if argument not in (*_DTYPES, _REBUILD, _DICTIONARY):
                raise ValueError(f"the file asks for {argument}, which no tensor needs")
            stack.append(argument)
        elif name == "BINPERSID":
            _, kind, key, *_ = stack.pop()
            dtypes[key] = _DTYPES[kind]
            stack.append(key)
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_Tensor(*arguments[:4]) if function == _REBUILD else {})
        elif name == "SETITEM":
            key, value = stack[-2:]
            del stack[-2:]
            stack[-1][key] = value
        elif name == "SETITEMS":
            items = pop_marked()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = pop_marked() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif name == "BUILD":  # attributes of a dictionary, which no tensor needs
            stack.pop()
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"the file has the operation {name}, which no tensor needs")
    return stack.pop()


def _view(storages: dict[str, np.ndarray], tensor: _Tensor) -> np.ndarray:
    """The array of a tensor.

    Raises:
      TypeError: it has elements beyond its storage.
    """
    data = storages[tensor.key][tensor.offset :]
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if min((*tensor.shape, *tensor.stride, 0)) < 0 or tensor.offset < 0 or last >= len(data):
        raise TypeError("a tensor is larger than its storage")
    strides = [step * data.itemsize for step in tensor.stride]
    return np.array(np.lib.stride_tricks.as_strided(data, tensor.shape, strides))
