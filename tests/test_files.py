"""Bad files load nothing and execute nothing; a write that fails leaves what was there."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import pickle
import random
import resource
import sys
import types
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_models import POINTS, Models

from aigc_keras import callbacks, checkpoints, gan, images, text, vae
from aigc_keras.files import replaced


@pytest.fixture(scope="module")
def m(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("files"))


# --- bad files ---


class Evil:
    """Creates a file where a pickle of it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def saved(m, tmp_path):
    """A model as `tmp_path/gan.keras`, and that `module_that_marks` which marks its import."""
    m.gan.save(tmp_path / "gan.keras")
    (tmp_path / "module_that_marks.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'marker')!r}).touch()\nclass Evil: pass\n"
    )
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    assert "module_that_marks" not in sys.modules
    assert not (tmp_path / "marker").exists()


def rezipped(folder, **changed):
    """`gan.keras` with members changed or, with None, left out; "." in names is "_"."""
    path = folder / "changed.keras"
    with zipfile.ZipFile(folder / "gan.keras") as old, zipfile.ZipFile(path, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        members |= {name.replace("__", "."): value for name, value in changed.items()}
        for name, value in members.items():
            if value is not None:
                new.writestr(name, value)
    return path


def config_of(folder):
    with zipfile.ZipFile(folder / "gan.keras") as file:
        return json.loads(file.read("config.json"))


def evil_objects():
    """Configurations that name what Keras must neither import nor call."""
    for module, name in (
        ("module_that_marks", "Evil"),
        ("os", "system"),
        ("builtins", "eval"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("keras.utils", "get_file"),
        ("keras.src.saving.saving_api", "load_model"),
        ("aigc_keras.checkpoints", "load"),
    ):
        yield {"module": module, "class_name": name, "config": {}, "registered_name": name}
        yield {
            "module": module,
            "class_name": "function",
            "config": name,
            "registered_name": "function",
        }


def evil_lambda(folder):
    """A Sequential model with a Lambda that would create the marker."""
    path = str(folder / "marker")
    touch = keras.layers.Lambda(
        lambda x: __import__("pathlib").Path(path).touch() or x, output_shape=(2,)
    )
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    config = keras.saving.serialize_keras_object(model)
    config["config"]["layers"][-1] = keras.saving.serialize_keras_object(touch)
    return config


def test_a_marker_would_be_seen(tmp_path):
    """The attacks of the next tests work where nobody refuses them."""
    pickle.loads(pickle.dumps(Evil(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()
    (tmp_path / "marker").unlink()
    config = evil_lambda(tmp_path)
    model = keras.saving.deserialize_keras_object(config, safe_mode=False)
    model(np.zeros((1, 2), "float32"))
    assert (tmp_path / "marker").exists()


REFUSED = (ValueError, TypeError)  # what Keras documents, and what it raises for unknown classes


def test_nothing_that_a_configuration_names_is_executed(saved):
    config = config_of(saved)
    bad = [evil_lambda(saved), *evil_objects()]
    for each in bad:
        for whole in (
            each,
            {**config, "config": {**config["config"], "generator": each}},
            {**config, "compile_config": {"generator_optimizer": each}},
        ):
            path = rezipped(saved, config__json=json.dumps(whole))
            with pytest.raises(REFUSED):
                keras.models.load_model(path)
        path = npz(saved, config=np.array(json.dumps(each)))
        with pytest.raises(ValueError, match=r"tiny\.npz is no checkpoint"):
            checkpoints.load("tiny", saved)
    assert len(bad) == 17 and path.exists()


def npz(folder, content=None, **arrays):
    """A checkpoint `tiny` of these arrays, with the right SHA-256 in its manifest."""
    path = folder / "tiny.npz"
    if content is None:
        np.savez(path, **arrays)
    else:
        path.write_bytes(content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"tiny": {"sha256": digest}}))
    return path


@pytest.mark.filterwarnings("ignore:Skipping")
def test_no_pickle_is_loaded(saved, m):
    evil = Evil(saved / "marker")
    pickled, objects = pickle.dumps(evil), np.array([evil], dtype=object)
    before = [v.numpy() for v in m.gan.variables]
    for name in ("pickle.keras", "pickle.weights.h5", "pickle.h5"):
        (saved / name).write_bytes(pickled)
    with pytest.raises(ValueError, match=r"pickle\.keras.*accessible `\.keras` zip file"):
        keras.models.load_model(saved / "pickle.keras")
    with pytest.raises(OSError, match="file signature not found"):
        keras.models.load_model(saved / "pickle.h5")
    with pytest.raises(ValueError, match=r"pickle\.weights\.h5.*accepted"):
        m.gan.load_weights(saved / "pickle.weights.h5")
    np.savez(saved / "objects.npz", a=objects)
    for inside in (
        {"model__weights__h5": pickled},
        {"model__weights__h5": None, "model__weights__npz": (saved / "objects.npz").read_bytes()},
    ):
        with pytest.raises((OSError, ValueError)):
            keras.models.load_model(rezipped(saved, **inside))
    config = np.array(json.dumps(keras.saving.serialize_keras_object(m.gan)))
    for content in (
        {"content": pickled},
        {"config": config, "weight": objects},
        {"config": objects},
        {"content": b""},
        {"content": b"PK"},
        {"weight": POINTS},
        {"config": config},
        {"config": config, "weight": POINTS},
        {"config": config, "weight": POINTS, "order": np.array([1])},
        {"config": np.array("[]")},
        {"config": np.array("{")},
    ):
        npz(saved, **content)
        with pytest.raises(ValueError, match=r"(?s)tiny\.npz is no checkpoint .*accepted is what"):
            checkpoints.load("tiny", saved)
    for a, b in zip(before, m.gan.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"tiny": 3}', '{"tiny": {}}', '{"tiny": null}']
)
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    for call in (checkpoints.names, checkpoints.manifest, lambda f: checkpoints.load("tiny", f)):
        with pytest.raises(ValueError, match=r"manifest\.json is truncated or altered"):
            call(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"config__json": None},
        {"config__json": "garbage"},
        {"config__json": "[]"},
        {"config__json": '{"class_name": "MLPGAN"}'},
        {"model__weights__h5": None},
        {"model__weights__h5": b""},
    ],
)
def test_a_keras_file_without_its_parts_is_refused(saved, changed):
    with pytest.raises((ValueError, TypeError, KeyError, OSError)):
        keras.models.load_model(rezipped(saved, **changed))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("latent_dim", -1), ("latent_dim", 4), ("objective", "least_bad"), ("ema_momentum", 2.0)],
)
def test_a_configuration_out_of_range_is_refused_as_an_argument_is(saved, argument, value):
    config = config_of(saved)
    config["config"][argument] = value
    with pytest.raises(ValueError, match=f"{argument}: got|generator: turns"):
        keras.models.load_model(rezipped(saved, config__json=json.dumps(config)))


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_weights_of_another_class_are_refused_and_change_nothing(m, tmp_path):
    models = {name: getattr(m, name) for name in ("gan", "vae", "dae", "diff", "cdiff", "gpt")}
    models["ngram"] = m.counted
    models["gaussian"] = vae.VAE((8, 8, 1), 2, width=2, hidden=4, likelihood="gaussian")
    for name, model in models.items():
        model.save_weights(tmp_path / f"{name}.weights.h5")
    models["longer"] = text.NGram(models["ngram"].tokenizer, models["ngram"].order + 1, 8)
    models["longer"].compile()
    models["longer"].save_weights(tmp_path / "longer.weights.h5")
    for name, model in models.items():
        before = [v.numpy() for v in all_variables(model)]
        counts = repr(getattr(model, "counts", None))
        for other in set(models) - {name}:
            path = tmp_path / f"{other}.weights.h5"
            with pytest.raises(ValueError, match=rf"/{other}\.weights\.h5.*accepted"):
                model.load_weights(path)
        for a, b in zip(before, all_variables(model), strict=True):
            np.testing.assert_array_equal(a, b.numpy())
        assert repr(getattr(model, "counts", None)) == counts
        model.load_weights(tmp_path / f"{name}.weights.h5")


def all_variables(model):
    optimizers = [getattr(model, name, None) for name in ("optimizer", "discriminator_optimizer")]
    return [*model.variables, *(v for x in optimizers if x is not None for v in x.variables)]


def test_damaged_weights_are_refused_and_change_nothing(m, tmp_path):
    path = tmp_path / "gan.weights.h5"
    m.gan.save_weights(path)
    content = path.read_bytes()
    before = [v.numpy() for v in all_variables(m.gan)]
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"gan\.weights\.h5.*accepted"):
            m.gan.load_weights(path)
    for name in ("gan.txt", "gan.pkl"):
        with pytest.raises(ValueError, match=f"{name}.*accepted"):
            m.gan.load_weights(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.weights\.h5"):
        m.gan.load_weights(tmp_path / "none.weights.h5")
    for a, b in zip(before, all_variables(m.gan), strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_flipped_weights_are_refused_or_whole(m, tmp_path):
    """`save_weights` adds a SHA-256 of the content; files from before it was there still load."""
    path, chance, refused = tmp_path / "gan.weights.h5", random.Random(0), 0
    m.gan.save_weights(path)
    whole, wanted = path.read_bytes(), [v.numpy() for v in all_variables(m.gan)]
    numbers = []  # where they stand in the file; much else of HDF5 is not used

    def visit(_, item):
        if isinstance(item, h5py.Dataset) and item.size:
            numbers.append((item.id.get_offset(), item.nbytes))

    with h5py.File(path) as file:
        file.visititems(visit)
    for i in range(60):
        flipped = bytearray(whole)
        start, size = chance.choice(numbers) if i < 30 else (0, len(whole))
        flipped[start + chance.randrange(size)] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        for v in m.gan.trainable_variables:
            v.assign(v + 1)
        try:
            m.gan.load_weights(path)
        except ValueError as error:
            assert isinstance(error, OSError)  # for which Keras' BackupAndRestore waits
            refused += 1
            path.write_bytes(whole)
            m.gan.load_weights(path)
        for a, b in zip(wanted, all_variables(m.gan), strict=True):
            np.testing.assert_array_equal(a, b.numpy())
    assert 30 <= refused < 60
    with h5py.File(path, "r+") as file:
        name = next(iter(file["generator/layers"]))
        file[f"generator/layers/{name}/vars/0"][:] += 1
    with pytest.raises(ValueError, match=r"gan\.weights\.h5.*SHA-256"):
        m.gan.load_weights(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]
    m.gan.load_weights(path)
    path.write_bytes(whole)
    m.gan.load_weights(path)


def test_a_backup_of_an_older_version_without_its_text_is_refused(m, tmp_path):
    m.gan.save_weights(tmp_path / "latest.weights.h5")  # outside of `fit` it knows no epoch
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(ValueError, match=r"^backup_dir: .*training_metadata\.json.*accepted"):
        m.gan.fit(POINTS, callbacks=[backup], verbose=0)


def test_a_backup_without_its_weights_is_refused(m, tmp_path):
    """Keras would skip the epochs that the text says are done, with weights that saw none."""
    (tmp_path / "training_metadata.json").write_text('{"epoch": 2, "batch": 0}')
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(
        ValueError, match=r"^backup_dir: .*latest\.weights\.h5 is missing.*accepted"
    ):
        m.gan.fit(POINTS, epochs=3, callbacks=[backup], verbose=0)


def test_a_lambda_that_no_file_gives_back_is_refused_at_once(m):
    inputs = keras.Input((3,))
    crop = keras.layers.Lambda(lambda x: x[:, :2], (2,), name="crop")
    nested = keras.Model(inputs, keras.Model(inputs, crop(inputs))(inputs))
    with pytest.raises(ValueError, match=r"^generator: its layer 'crop' is a Lambda.*accepted"):
        gan.GAN(nested, m.gan.discriminator, 3)


def test_truncated_and_flipped_files_raise_or_are_whole(saved, m):
    """CRC-32 of the zip, and SHA-256 of the manifest, catch what is altered in what is read."""
    whole = (saved / "gan.keras").read_bytes()
    wanted = [v.numpy() for v in m.gan.variables]
    damaged = saved / "damaged.keras"
    chance, outcomes = random.Random(0), []
    for i in range(60):
        at = chance.randrange(len(whole))
        # The last kilobyte is the directory, where an altered date changes nothing.
        at = at if i < 40 else len(whole) - 1 - at % 1000
        flipped = bytearray(whole)
        flipped[at] ^= 1 << chance.randrange(8)
        damaged.write_bytes(whole[:at] if i % 3 == 0 else bytes(flipped))
        try:
            model = keras.models.load_model(damaged)
        except Exception:  # which one depends on the place: BadZipFile, ValueError, ...
            outcomes.append("raised")
        else:
            outcomes.append("whole")
            assert i % 3, "a truncated file was loaded"
            for a, b in zip(wanted, model.variables, strict=True):
                np.testing.assert_array_equal(a, b.numpy())
    assert outcomes.count("raised") > 40


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.data())
def test_an_altered_checkpoint_is_refused(data):
    folder, content = _checkpoint()
    at = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(0, 255))
    altered = bytearray(content)
    altered[at] ^= flip
    (folder / "tiny.npz").write_bytes(bytes(altered) if flip else content[:at])
    with pytest.raises(ValueError, match=r"tiny\.npz is truncated or altered"):
        checkpoints.load("tiny", folder)


_folder = types.SimpleNamespace(path=None)


@pytest.fixture(autouse=True, scope="module")
def _checkpoint_folder(tmp_path_factory):
    _folder.path = tmp_path_factory.mktemp("checkpoints")


@functools.cache
def _checkpoint():
    checkpoints.save(
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), "tiny", _folder.path
    )
    return _folder.path, (_folder.path / "tiny.npz").read_bytes()


# --- disk full, and interrupted writes: what was there survives ---


@contextlib.contextmanager
def full_disk(size):
    """No file of this process can grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def grid():
    callback = callbacks.SampleGrid(n=1, display=False)
    callback.batches = [np.random.default_rng(i).uniform(-1, 1, (1, 16, 16, 3)) for i in range(3)]
    return callback


NOISE = np.random.default_rng(0).uniform(-1, 1, (64, 64, 3))
WRITERS = {
    "model.keras": lambda model, path: model.save(path),
    "model.weights.h5": lambda model, path: model.save_weights(path),
    "best.keras": lambda model, path: model_checkpoint(model, path, False),
    "best.weights.h5": lambda model, path: model_checkpoint(model, path, True),
    "tiny.npz": lambda model, path: checkpoints.save(model, "tiny", path.parent),
    "picture.png": lambda model, path: images.write(path, NOISE),
    "picture.jpg": lambda model, path: images.write(path, NOISE),
    "training.gif": lambda model, path: grid().gif(path),
}


def model_checkpoint(model, path, weights_only):
    saver = keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)
    saver.set_model(model)
    saver.on_epoch_end(0, {})


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_previous_file(m, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](m.gan, path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert len(before[name]) > 1000
    with full_disk(1000), pytest.raises(OSError):
        WRITERS[name](m.gan, path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    WRITERS[name](m.gan, path)  # and with space again it works


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def half(*args, **kwargs):
    """`write(self, path)`, or `write(path)`, that is interrupted in the middle."""
    with open(next(x for x in args if isinstance(x, str | Path)), "wb") as file:
        file.write(b"half")
    stop()


@pytest.mark.parametrize("name", [*WRITERS, "manifest.json"])
def test_an_interruption_leaves_the_previous_file(m, tmp_path, monkeypatch, name):
    path = tmp_path / name
    write = WRITERS.get(name, lambda model, path: checkpoints.save(model, "tiny", path.parent))
    write(m.gan, path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        if name.endswith((".keras", ".h5")):
            patch.setattr(gan.GAN, "save_own_variables", stop)  # in the middle of the layers
        elif name == "tiny.npz":
            patch.setattr(np, "savez_compressed", half)
        elif name.endswith(".gif"):
            patch.setattr(Image.Image, "save", half)
        else:
            patch.setattr(Path, "write_bytes", half)
        with pytest.raises(KeyboardInterrupt):
            write(m.gan, path)
    assert path.read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("partial")]


def test_replaced_passes_errors_on_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    for error in (OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)), replaced(path) as partial:
            partial.write_text("aft")
            raise error
        assert os.listdir(tmp_path) == ["file"] and path.read_text() == "before"
    with replaced(path) as partial:
        partial.write_text("after")
    assert os.listdir(tmp_path) == ["file"] and path.read_text() == "after"
