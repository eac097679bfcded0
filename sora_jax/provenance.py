"""Provenance: which code, weights and folders a result comes from."""

import hashlib
import json
import os
import subprocess
from typing import Any

import jax
import numpy as np
from etils import epath

ENCODE_NOTE = "encode.json"
"""File that `sora-jax encode` writes beside latents: their codec, clips and text encoder."""


def commit() -> str:
    """The git commit of the running code, with `+` if files differ; "" outside a checkout."""
    folder = epath.Path(__file__).parent
    try:
        describe = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def relative(path: epath.PathLike, folder: epath.PathLike) -> str:
    """`path` relative to `folder`, so that both may be moved together; URIs stay as they are."""
    path, here = os.fspath(path), os.fspath(folder)
    if "://" in path or "://" in here:
        return path if "://" in path else os.path.abspath(path)
    return os.path.relpath(os.path.abspath(path), os.path.abspath(here))


def resolve(folder: epath.PathLike, path: str) -> epath.Path:
    """Inverse of `relative`."""
    if "://" in path or os.path.isabs(path):
        return epath.Path(path)
    return epath.Path(os.path.normpath(os.path.join(os.fspath(folder), path)))


def weights_hash(params: Any) -> str:
    """SHA-256 of all arrays of a pytree and their names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def read_encode_note(folder: epath.PathLike) -> dict[str, Any] | None:
    """The content of a folder's `ENCODE_NOTE`; None if there is no such file."""
    path = epath.Path(folder) / ENCODE_NOTE
    return json.loads(path.read_text()) if path.exists() else None
