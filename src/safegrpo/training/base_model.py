"""Whether a run goes on from the same base model: a hash of the files that one is loaded from."""

from __future__ import annotations

import hashlib
from pathlib import Path

_MIB = 2**20
_READ_WHOLE = 20 * 2**30
_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json")


def model_sha256(model: str) -> str | None:
    """A hash of a model folder's weights and configuration; None for a name on the hub.

    It is of names, sizes and contents. Of weights of more than 20 GiB together only the first and
    the last MiB of each file are read.
    """
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = sorted({path for name in _FILES for path in folder.glob(name) if path.is_file()})
    sizes = {path: path.stat().st_size for path in files}
    whole = sum(sizes.values()) <= _READ_WHOLE
    digest = hashlib.sha256()
    for path, size in sizes.items():
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if whole or size <= 2 * _MIB:
                digest.update(hashlib.file_digest(file, "sha256").digest())
            else:
                digest.update(file.read(_MIB))
                file.seek(size - _MIB)
                digest.update(file.read(_MIB))
    return digest.hexdigest()
