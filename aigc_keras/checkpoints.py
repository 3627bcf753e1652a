"""Weights that the course trained itself, by name.

A checkpoint is one `.npz` file: the model's configuration as JSON, its weights in half precision.
`manifest.json` beside it says how it was made; `make checkpoints NAME=...` makes it again.
"""

import json
import re
import zipfile
import zlib
from pathlib import Path

import filelock
import keras
import numpy as np

from aigc_keras.files import DATA, replaced, sha256

# What NumPy, zip and Keras raise for a file that is something else.
NO_CHECKPOINT = (ValueError, TypeError, LookupError, AttributeError, OSError, EOFError)
NO_CHECKPOINT += (zipfile.BadZipFile, zlib.error, NotImplementedError)
FOLDER = DATA / "checkpoints"


def manifest(folder=FOLDER):
    """All checkpoints: a dict from name to recipe, data, seed, training time, metrics, SHA-256."""
    path = Path(folder).expanduser() / "manifest.json"
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not all("sha256" in entry for entry in entries.values()):
            raise ValueError("an entry has no SHA-256")
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is truncated or altered: {error}.") from error
    return entries


def names(folder=FOLDER):
    """The names that `load` accepts."""
    return tuple(sorted(manifest(folder)))


def save(model, name, folder=FOLDER, **facts):
    """Write `model` as checkpoint `name`, with `facts` (JSON values) about it in the manifest.

    Raises:
        ValueError: a weight is not finite in half precision, or an argument is no model, name or
            JSON.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"model: got {model!r:.80}, accepted is a keras.Model.")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"name: got {name!r}, accepted are letters, digits, '_', '-' and '.'.")
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"facts: got {facts!r:.80} ({error}), accepted is JSON.") from error
    # What is there twice, as in a network and the average of its weights, is kept once.
    arrays, numbers, order = {}, {}, []
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight.value)
        if np.issubdtype(value.dtype, np.floating):
            with np.errstate(over="ignore"):  # the next line says it better
                value = value.astype(np.float16)
            if not np.isfinite(value).all():
                raise ValueError(f"model: {weight.path} is not finite in half precision.")
        number = numbers.setdefault((value.shape, value.dtype, value.tobytes()), len(arrays))
        if number == len(arrays):
            arrays[f"{number:04d} {weight.path}"] = value
        order.append(number)
    config = json.dumps(keras.saving.serialize_keras_object(model))
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    with filelock.FileLock(folder / ".lock"):  # the manifest is read, changed and written
        with replaced(path) as partial:
            np.savez_compressed(partial, config=np.array(config), order=np.array(order), **arrays)
        entry = {"sha256": sha256(path), "bytes": path.stat().st_size, **facts}
        with replaced(folder / "manifest.json") as partial:
            text = json.dumps({**manifest(folder), name: entry}, indent=2, sort_keys=True)
            partial.write_bytes(text.encode() + b"\n")


def load(name, folder=FOLDER):
    """The ready model that the course saved as `name`.

    Raises:
        ValueError: the name is unknown, or the file is not the one the manifest describes, or no
            checkpoint. Nothing in a file is executed.
        FileNotFoundError: the manifest knows the name, but the file is missing.
    """
    entries = manifest(folder)
    if not isinstance(name, str) or name not in entries:
        raise ValueError(
            f"name: got {name!r}, accepted are {', '.join(sorted(entries)) or 'none'}."
        )
    path = Path(folder).expanduser() / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: `make checkpoints NAME={name}` trains it again."
        )
    if sha256(path) != entries[name]["sha256"]:
        raise ValueError(f"{path} is truncated or altered: its SHA-256 is not the manifest's.")
    try:
        with np.load(path, allow_pickle=False) as file:
            config = json.loads(str(file["config"]))
            arrays = [file[key] for key in sorted(set(file.files) - {"config", "order"})]
            if "order" in file.files:  # older files keep every weight
                arrays = [arrays[number] for number in file["order"]]
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        for weight, value in zip(model.weights, arrays, strict=True):
            weight.assign(value.astype(weight.dtype))
    except NO_CHECKPOINT as error:
        raise ValueError(
            f"{path} is no checkpoint ({error}); accepted is what `save` wrote."
        ) from error
    return model
