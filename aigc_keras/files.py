"""Files: where the course's own lie, how one is written whole, and what a weights file knows."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import h5py
import numpy as np

_PACKAGE = Path(__file__).resolve().parent
# In the repository the folder stands beside the package, in a wheel inside it.
DATA = next(folder for folder in (_PACKAGE / "data", _PACKAGE.parent / "data") if folder.is_dir())


@contextlib.contextmanager
def replaced(path):
    """A path to write to; what is there takes the place of `path` only once it is complete."""
    path = Path(path)
    partial = path.with_name(f"partial.{path.name}")  # Keras goes by the end of the name
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path):
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class UnreadableFileError(OSError, ValueError):
    """A file is damaged or of another model. An OSError: so Keras tries the copy of a backup."""


def digest(file):
    """SHA-256 of all that an open HDF5 file holds, but for the digest itself."""
    total = hashlib.sha256()

    def add(name, item):
        attributes = sorted((k, str(v)) for k, v in item.attrs.items() if k != "sha256")
        array = item[()] if isinstance(item, h5py.Dataset) else np.zeros(0)
        total.update(repr((name, attributes, array.shape, str(array.dtype))).encode())
        total.update(np.ascontiguousarray(array))

    add("", file)
    file.visititems(add)
    return total.hexdigest()


def check_digest(path):
    with h5py.File(path) as file:
        if "sha256" in file.attrs and file.attrs["sha256"] != digest(file):
            raise ValueError("Its content does not have the SHA-256 that was saved with it.")


def complete_backup(folder):
    """Make the two files of a `BackupAndRestore` agree where a run was killed between them.

    Raises:
        ValueError: the first one is missing; or the second one is damaged, and the first one, of an
            older version of this library, does not know its epoch.
    """
    accepted = "accepted is what BackupAndRestore wrote; without the folder, training begins anew."
    weights = Path(folder) / "latest.weights.h5"
    if not weights.exists() and (Path(folder) / "training_metadata.json").exists():
        raise ValueError(f"backup_dir: {weights} is missing, {accepted}")  # Keras skips epochs
    for end in ("", ".bkp"):
        weights = Path(folder) / f"latest.weights.h5{end}"
        metadata = Path(folder) / f"training_metadata.json{end}"
        try:
            with h5py.File(weights) as file:
                epoch = file.attrs.get("epoch")
        except OSError:  # there is none, or `load_weights` will say what it is
            continue
        try:
            known = json.loads(metadata.read_text(encoding="utf-8"))["epoch"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if epoch is None:
                raise ValueError(
                    f"backup_dir: {metadata} is missing or damaged, {accepted}"
                ) from error
            known = None
        if epoch is not None and known != epoch:
            with replaced(metadata) as partial:
                partial.write_text(json.dumps({"epoch": int(epoch), "batch": 0}))


def arrays_in(path):
    """Names of the arrays in a `.weights.h5` file: a dict from each part of the model to a set."""
    names = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            part, _, rest = name.partition("/")
            names.setdefault(part, set()).add(rest)

    with h5py.File(path) as file:
        file.visititems(visit)
    return names


def replaceable(filepath, overwrite):
    """Whether this is a file of this machine that Keras need not ask about."""
    return "://" not in str(filepath) and (overwrite or not Path(filepath).exists())
