"""Weights that the course trained itself, by name.

A checkpoint is one `.npz` file: the model's configuration as JSON, its weights in half precision.
`manifest.json` beside it says how it was made; `make checkpoints NAME=...` makes it again.
"""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np

from aigc_keras.shared import replaced

FOLDER = Path(__file__).resolve().parents[1] / "data" / "checkpoints"


def manifest(folder=FOLDER):
    """All checkpoints: a dict from name to recipe, data, seed, training time, metrics, SHA-256."""
    path = Path(folder) / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def names(folder=FOLDER):
    """The names that `load` accepts."""
    return tuple(sorted(manifest(folder)))


def save(model, name, folder=FOLDER, **facts):
    """Write `model` as checkpoint `name`, with `facts` (JSON values) about it in the manifest.

    Raises:
        ValueError: a weight is not finite in half precision.
    """
    arrays = {}
    for i, weight in enumerate(model.weights):
        value = keras.ops.convert_to_numpy(weight.value)
        if np.issubdtype(value.dtype, np.floating):
            with np.errstate(over="ignore"):  # the next line says it better
                value = value.astype(np.float16)
            if not np.isfinite(value).all():
                raise ValueError(f"model: {weight.path} is not finite in half precision.")
        arrays[f"{i:04d} {weight.path}"] = value
    config = json.dumps(keras.saving.serialize_keras_object(model))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    with replaced(path) as partial:
        np.savez_compressed(partial, config=np.array(config), **arrays)
    entry = {"sha256": _sha256(path), "bytes": path.stat().st_size, **facts}
    with replaced(folder / "manifest.json") as partial:
        text = json.dumps({**manifest(folder), name: entry}, indent=2, sort_keys=True)
        partial.write_bytes(text.encode() + b"\n")


def load(name, folder=FOLDER):
    """The ready model that the course saved as `name`.

    Raises:
        ValueError: the name is unknown, or the file is not the one the manifest describes.
        FileNotFoundError: the manifest knows the name, but the file is missing.
    """
    entries = manifest(folder)
    if name not in entries:
        raise ValueError(
            f"name: got {name!r}, accepted are {', '.join(sorted(entries)) or 'none'}."
        )
    path = Path(folder) / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: `make checkpoints NAME={name}` trains it again."
        )
    if _sha256(path) != entries[name]["sha256"]:
        raise ValueError(f"{path} is truncated or altered: its SHA-256 is not the manifest's.")
    with np.load(path, allow_pickle=False) as file:
        model = keras.saving.deserialize_keras_object(json.loads(str(file["config"])))
        arrays = [file[key] for key in sorted(set(file.files) - {"config"})]
    for weight, value in zip(model.weights, arrays, strict=True):
        weight.assign(value.astype(weight.dtype))
    return model


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
