"""Reads tensors of a file that torch.save wrote before version 1.6, without torch.

Such a file is a sequence of pickles (a magic number, the protocol's version, sizes of types, the
tensors, keys of their storages) and then, for each key, the number of elements and the elements.
The reader makes arrays and dictionaries and refuses everything else that a pickle can ask for.
"""

import collections
import pickle
import struct
from typing import Any, NamedTuple

import numpy as np
from etils import epath

_TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class _Tensor(NamedTuple):
    """A view of a storage, whose elements stand at the end of the file."""

    key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Notes tensors and the types of their storages; calls nothing that the file names."""

    def __init__(self, file, types: dict[str, Any]):
        super().__init__(file)
        self._types = types

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, stride, *_: _Tensor(key, offset, shape, stride)
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: Any) -> str:
        _, kind, key, *_ = pid
        self._types[key] = kind
        return key


def read_tensors(path: epath.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a file by name.

    Raises:
      ValueError: the file is damaged, or holds something else than tensors.
    """
    try:
        with epath.Path(path).open("rb") as file:
            types: dict[str, Any] = {}
            *_, tensors, keys = (_Unpickler(file, types).load() for _ in range(5))
            storages = {}
            for key in keys:
                (count,) = struct.unpack("<q", file.read(8))
                dtype = np.dtype(types[key])
                storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
        return {name: _view(storages, tensor) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"{path} holds no tensors of torch: {error}") from error


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
