"""What a folder was made with: paths of models as seen from it, and hashes of their weights."""

import hashlib
import os
from typing import Any

import jax
import numpy as np
from etils import epath


def relative(path: epath.PathLike, folder: epath.PathLike) -> str:
    """`path` as seen from `folder`, so that both may be moved together; URIs stay as they are."""
    path, here = os.fspath(path), os.fspath(folder)
    if "://" in path or "://" in here:
        return path if "://" in path else os.path.abspath(path)
    return os.path.relpath(os.path.abspath(path), os.path.abspath(here))


def beside(folder: epath.PathLike, path: str) -> epath.Path:
    """Inverse of `relative`."""
    if "://" in path or os.path.isabs(path):
        return epath.Path(path)
    return epath.Path(os.path.normpath(os.path.join(os.fspath(folder), path)))


def weights_hash(params: Any) -> str:
    """A hash of all weights and their names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
