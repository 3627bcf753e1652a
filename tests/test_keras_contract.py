"""What Keras promises of a model, held against every model of the library.

One table, one set of checks. A check that a model cannot pass is left out of its row with a reason.
"""

import contextlib
import csv
import dataclasses
import gc
import inspect
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.testing import TestCase as KerasTestCase

from aigc_keras import diffusion, gan, style, text, vae

N, BATCH = 7, 4  # rows of data, of which the last batch has but three
RNG = np.random.default_rng(0)


def pictures(n, *shape):
    return np.tanh(RNG.normal(size=(n, *shape))).astype("float32")


SMALL, DIGITS, PHOTOS = pictures(N, 8, 8, 1), pictures(N, 28, 28, 1), pictures(N, 16, 16, 3)
LABELS = np.array([0, 1, 2, 2, 1, 0, 1], "int32")
TOKENIZER = text.CharTokenizer("abcd")
TOKENS = RNG.integers(0, TOKENIZER.vocab_size, (N, 9)).astype("int32")
TOKENS[1:, -1] = TOKENS[5, 4:] = text.PADDING  # rows that count differently


def adam():
    # With a small epsilon, rounding errors of a gradient near zero would turn whole steps around.
    return keras.optimizers.Adam(0.01, epsilon=0.1)


def two_optimizers():
    other = keras.optimizers.RMSprop(0.01, epsilon=0.1)
    return {"generator_optimizer": adam(), "discriminator_optimizer": other}


def no_xla():
    return {"optimizer": adam(), "jit_compile": False}  # here it costs more than it saves


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and what there is to know about it.

    Args:
        build: makes it, alike every time.
        data: NumPy arrays for `fit`, of N rows.
        generate: (method, arguments, named arguments): what it is there for; repeats exactly.
        inputs: of n rows, the inputs of `call`.
        margin: of a loss in half the bits, relative to the one in float32.
        dtype: whether the constructor takes a precision for all of its networks.
        halves: whether there are networks that can be in half precision.
        left_out: from check to why it is not made.
    """

    build: Callable
    data: tuple
    generate: tuple
    inputs: Callable | None = None
    compile: Callable = lambda: {"optimizer": adam()}
    margin: float = 0.02
    dtype: bool = True
    halves: bool = True
    left_out: dict = dataclasses.field(default_factory=dict)


def wasserstein_gan(**kwargs):
    return gan.GAN(
        gan.mlp_generator((8, 8, 1), 4, (8,)),
        gan.mlp_discriminator((8, 8, 1), (8,), dropout=0.0),
        latent_dim=4,
        objective="wasserstein",
        discriminator_steps=2,
        **kwargs,
    )


def latent_diffusion(**kwargs):
    autoencoder = diffusion.latent_autoencoder((8, 8, 1), channels=3, width=4)
    noisy, times = keras.Input((2, 2, 3)), keras.Input(())
    x = keras.layers.Conv2D(8, 3, padding="same")(noisy)
    time = keras.layers.Dense(8)(diffusion.SinusoidalEmbedding(4)(times))
    x = keras.layers.ReLU()(keras.layers.Add()([x, keras.layers.Reshape((1, 1, 8))(time)]))
    x = keras.layers.Conv2D(3, 3, padding="same", dtype="float32")(x)
    network = keras.Model([noisy, times], x)
    model = diffusion.LatentDiffusion(autoencoder, (2, 2, 3), network=network, **kwargs)
    model.adapt(SMALL)
    return model


def features():
    """Precision of the perceptual network: float32, except where the global policy is tested."""
    return "float32" if keras.config.dtype_policy().name == "float32" else None


SHALLOW = {"content_layers": ("block1_conv2",), "style_layers": ("block1_conv1",)}
NO_DATA = "the picture is the only thing that is trained: fit takes no data"
ONE_EPOCH = "counting again says nothing new: fit refuses more than one epoch"
NO_TENSORS = "counts are NumPy tables, no tensors: there is no graph to compile or to export"
NO_GRADIENT = "it counts: no optimizer, no gradient, no loss in training"

CASES = {
    "GAN": Case(
        build=wasserstein_gan,
        margin=0.05,  # of scores, which may be near zero
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: pictures(n, 4),
        compile=two_optimizers,
        dtype=False,
    ),
    "DCGAN": Case(
        build=lambda **kwargs: gan.DCGAN((28, 28, 1), 4, 8, 8, **kwargs),
        data=(DIGITS,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: pictures(n, 4),
        compile=two_optimizers,
    ),
    "MLPGAN": Case(
        build=lambda **kwargs: gan.MLPGAN((8, 8, 1), 4, (8,), (8,), **kwargs),
        margin=0.2,  # dropout draws other numbers in half precision
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: pictures(n, 4),
        compile=two_optimizers,
    ),
    "ConditionalGAN": Case(
        build=lambda **kwargs: gan.ConditionalGAN((28, 28, 1), 3, 4, 8, 8, **kwargs),
        data=(DIGITS, LABELS),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [pictures(n, 4), LABELS[:n]],
        compile=two_optimizers,
    ),
    "VAE": Case(
        build=lambda **kwargs: vae.VAE(
            (8, 8, 1), 3, warmup_steps=3, likelihood="gaussian", width=4, hidden=8, **kwargs
        ),
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: SMALL[:n],
    ),
    "ConditionalVAE": Case(
        build=lambda **kwargs: vae.ConditionalVAE(
            (8, 8, 1), 3, latent_dim=3, width=4, hidden=8, **kwargs
        ),
        data=(SMALL, LABELS),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [SMALL[:n], LABELS[:n]],
    ),
    "DenoisingAutoencoder": Case(
        build=lambda **kwargs: vae.DenoisingAutoencoder(
            (8, 8, 1), width=4, code_channels=2, **kwargs
        ),
        data=(SMALL,),
        generate=("denoise", (SMALL[:3],), {}),
        inputs=lambda n: SMALL[:n],
    ),
    "DiffusionModel": Case(
        build=lambda **kwargs: diffusion.DiffusionModel(
            (8, 8, 1), 3, variance="learned", widths=(8,), blocks=1, **kwargs
        ),
        data=(SMALL, LABELS),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [SMALL[:n], np.linspace(0, 1, n, dtype="float32"), LABELS[:n]],
    ),
    "LatentDiffusion": Case(
        build=latent_diffusion,
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [pictures(n, 2, 2, 3), np.linspace(0, 1, n, dtype="float32")],
        dtype=False,
    ),
    "StyleTransfer": Case(
        build=lambda **kwargs: style.StyleTransfer(
            PHOTOS[0], PHOTOS[1], **SHALLOW, dtype=features(), **kwargs
        ),
        data=(),
        generate=("generate", (1,), {"seed": 1}),
        dtype=False,
        halves=False,
        left_out={
            "numpy": NO_DATA,
            "forms_of_a_batch": NO_DATA,
            "signature": NO_DATA,
            "one_sample": NO_DATA,
            "export": "what it makes is a picture: there is no function to export",
        },
    ),
    "FastStyleTransfer": Case(
        build=lambda **kwargs: style.FastStyleTransfer(
            PHOTOS[0], 4, 0, **SHALLOW, dtype=features(), **kwargs
        ),
        data=(PHOTOS,),
        generate=("stylize", (PHOTOS[0],), {}),
        inputs=lambda n: PHOTOS[:n],
        dtype=False,
    ),
    "AdaIN": Case(
        build=lambda **kwargs: style.AdaIN(
            ("block1_conv1", "block2_conv1"),
            decoder=style.adain_decoder((64, 128), width=4),
            dtype=features(),
            **kwargs,
        ),
        data=(PHOTOS, PHOTOS[::-1]),
        generate=("stylize", (PHOTOS[0], PHOTOS[1]), {}),
        inputs=lambda n: [PHOTOS[:n], PHOTOS[::-1][:n]],
        dtype=False,
    ),
    "NGram": Case(
        build=lambda **kwargs: text.NGram(TOKENIZER, 3, 8, **kwargs),
        data=(TOKENS,),
        generate=("generate", (["ab", "c"], 8), {"seed": 1}),
        compile=dict,
        dtype=False,
        left_out={
            "callbacks": ONE_EPOCH,
            "killed": ONE_EPOCH,
            "killed_between_two_files": ONE_EPOCH,
            "second_copy_of_a_backup": ONE_EPOCH,
            "half_the_bits": NO_GRADIENT,
            "xla": NO_TENSORS,
            "export": NO_TENSORS,
        },
    ),
    "RNNLanguageModel": Case(
        build=lambda **kwargs: text.RNNLanguageModel(
            TOKENIZER, units=8, dropout=0.2, context_length=8, **kwargs
        ),
        data=(TOKENS,),
        generate=("generate", (["ab", "c"], 8), {"seed": 1}),
        compile=no_xla,
        inputs=lambda n: np.maximum(TOKENS[:n], 0),
    ),
    "GPT": Case(
        build=lambda **kwargs: text.GPT(
            TOKENIZER, 8, width=8, num_layers=1, num_heads=2, dropout=0.2, **kwargs
        ),
        data=(TOKENS,),
        generate=("generate", (["ab", "c"], 8), {"seed": 1}),
        compile=no_xla,
        inputs=lambda n: np.maximum(TOKENS[:n], 0),
    ),
}


def check(function):
    """Make the check of every model that does not leave it out."""
    name = function.__name__.removeprefix("test_")
    return pytest.mark.parametrize("name", [n for n, c in CASES.items() if name not in c.left_out])(
        function
    )


def test_what_is_left_out_is_a_check():
    names = {n.removeprefix("test_") for n in globals() if n.startswith("test_")}
    for case in CASES.values():
        assert set(case.left_out) <= names and all(case.left_out.values())


# --- models, shared by all checks ---


@pytest.fixture(autouse=True)
def warnings():
    """What TensorFlow warns of: nothing but graphs that it finds built too often.

    For these it takes all models of a class for one, so they count where a check has but one.
    """
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)
    assert all("triggered tf.function retracing" in record for record in records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def fresh(folder):
    """A function from name to compiled model: always the same one, set back to its first state.

    Graphs cost seconds, states milliseconds.
    """
    models = {}

    def get(name):
        start = folder / name / "start.weights.h5"
        if name not in models:
            start.parent.mkdir()
            models[name] = build(name)
            models[name].save_weights(start)
            models[name].save(folder / name / "start.keras")
        models[name].load_weights(start)
        return models[name]

    return get


def build(name, dtype=None, **kwargs):
    """A new compiled model of the table; `kwargs` are for `compile`."""
    keras.utils.set_random_seed(0)
    model = CASES[name].build(**({} if dtype is None else {"dtype": dtype}))
    model.compile(**(CASES[name].compile() | kwargs))
    return model


def batches(name, rows=slice(0, N)):
    """The data in order, as a dataset whose batches may have any size: one graph for all."""
    parts = [x[rows] for x in CASES[name].data]
    data = parts[0] if len(parts) == 1 else tuple(parts)
    return tf.data.Dataset.from_tensor_slices(data).batch(BATCH)


def fit(name, model, rows=slice(0, N), **kwargs):
    """What `model.fit` gives as its history; a model without data takes a step for each batch."""
    if CASES[name].data:
        data = {"x": batches(name, rows)}
    else:
        data = {"steps_per_epoch": -(-len(range(N)[rows]) // BATCH)}
    return model.fit(**(data | {"verbose": 0} | kwargs)).history


def evaluate(name, model, rows=slice(0, N)):
    data = {"x": batches(name, rows)} if CASES[name].data else {}
    return model.evaluate(**data, return_dict=True, verbose=0)


def generate(name, model):
    method, arguments, options = CASES[name].generate
    return getattr(model, method)(*arguments, **options)


def arrays(path):
    """All arrays of a weights file by name: optimizers, averages, seeds and counters too."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda key, x: found.update({key: x[()]}) if isinstance(x, h5py.Dataset) else None
        )
    return found


def assert_same_files(path, other, **tolerance):
    first, second = arrays(path), arrays(other)
    assert first.keys() == second.keys() and len(first) > 0
    for key, value in first.items():
        if tolerance:
            np.testing.assert_allclose(value, second[key], err_msg=key, **tolerance)
        else:
            np.testing.assert_array_equal(value, second[key], err_msg=key)


def monitored(name, model):
    """A loss that callbacks can watch."""
    loss = "generator_loss" if isinstance(model, gan.GAN) else "loss"
    return f"val_{loss}" if CASES[name].data else loss


# --- fit ---


def weigh(name, rows, run):
    """(how many images or tokens of a batch its losses are means of, how many characters)."""
    if not CASES[name].data:
        return 1, 1
    if CASES[name].data[0] is TOKENS:
        targets = TOKENS[rows, 1:]
        return np.sum(targets != text.PADDING), np.sum(targets > text.END)
    if name == "GAN" and run is fit:  # it takes two steps, each with half of the batch
        return -(-len(range(N)[rows]) // 2), 0
    return len(range(N)[rows]), 0


def mean_of_batches(name, logs, parts, run):
    """What several batches, with these logs, should have as their epoch's."""
    result = {}
    counts, characters = zip(*(weigh(name, rows, run) for rows in parts), strict=True)
    for key in logs[0]:
        values = np.array([log[key] for log in logs], "float64")
        if key == "tokens":
            result[key] = values[-1]  # NGram's count so far
        elif key == "perplexity":
            result[key] = np.exp(np.average(np.log(values), weights=counts))
        else:
            weights = characters if key == "bits_per_character" else counts
            result[key] = np.average(values, weights=weights)
    return result


@check
@pytest.mark.parametrize("run", [fit, evaluate])
def test_epoch_means(name, run, fresh):
    """The epoch prints the mean over its images or tokens: where the last batch is short, too."""
    parts = [slice(0, BATCH), slice(BATCH, N)]
    model = fresh(name)
    logs = [tf.nest.map_structure(float, run(name, model, rows)) for rows in parts]
    logs = [{k: np.mean(v) for k, v in log.items()} for log in logs]
    expected = mean_of_batches(name, logs, parts, run)
    found = run(name, fresh(name))
    assert found.keys() == expected.keys() and len(found) > 0
    for key, value in expected.items():
        np.testing.assert_allclose(np.mean(found[key]), value, 1e-5, 1e-6, err_msg=key)


@check
def test_numpy(name, fresh, folder):
    """Arrays teach what a dataset of them does; trained by `fit` with validation, and without."""
    case, options = CASES[name], {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model = fresh(name)
    history = fit(name, model)
    model.save_weights(folder / "dataset.weights.h5")
    model = fresh(name)
    found = model.fit(*case.data, **options).history
    model.save_weights(folder / "numpy.weights.h5")
    assert found == history
    assert_same_files(folder / "numpy.weights.h5", folder / "dataset.weights.h5")
    model = fresh(name)
    validation = case.data if len(case.data) > 1 else (*case.data, None)
    found = model.fit(*case.data, **options, validation_data=validation).history
    assert {k: v for k, v in found.items() if not k.startswith("val_")} == history
    assert {k for k in found if k.startswith("val_")} == {f"val_{k}" for k in evaluate(name, model)}


@check
def test_signature(name, fresh):
    """What a notebook shows of `fit` and `evaluate` are their arguments."""
    for method in ("fit", "evaluate"):
        names = list(inspect.signature(getattr(fresh(name), method)).parameters)
        expected = list(inspect.signature(getattr(keras.Model, method)).parameters)
        assert names == expected[1:]


class OneBatch(keras.utils.PyDataset):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, i):
        return self.batch


@check
@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # of a generator
def test_forms_of_a_batch(name):
    """All that Keras makes one of: alone, in a tuple or a list, with None for what is not there."""
    model = build(name, run_eagerly=True)
    start = [(v, v.numpy()) for v in model._saved_variables()]
    parts = [x[:BATCH] for x in CASES[name].data]
    nones = (*parts, None, None)[:3]
    forms = [tuple(parts), (tuple(parts),), list(parts), nones]
    forms += [parts[0], (parts[0], None)] if len(parts) == 1 else []
    runs = [(model.train_on_batch, form) for form in forms]
    runs += [(model.test_on_batch, forms[1]), (model.test_on_batch, nones)]
    runs += [(model.fit, (form for form in [list(parts)]))]
    runs += [(model.fit, tf.data.Dataset.from_tensors(forms[1]))]
    runs += [(model.fit, OneBatch(parts[0] if len(parts) == 1 else list(parts)))]
    runs += [(model.evaluate, (form for form in [nones]))]
    runs += [(model.evaluate, tf.data.Dataset.from_tensors(nones))]

    def restore(start):
        for variable, value in start:
            variable.assign(value)

    trained = model.train_on_batch(*parts, return_dict=True)
    restore(start)
    tested = model.test_on_batch(*parts, return_dict=True)
    restore(start)
    values = np.atleast_1d(model.test_on_batch(*parts))  # each once, in the order of their names
    np.testing.assert_allclose(values, [tested[key] for key in model.metrics_names], 1e-6)
    assert sorted(model.metrics_names) == sorted(tested)
    for run, data in runs:
        restore(start)
        if run == model.fit:
            found = {k: values[0] for k, values in run(data, verbose=0).history.items()}
        else:
            found = run(data, return_dict=True)
        expected = trained if run in (model.fit, model.train_on_batch) else tested
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, 1e-6, err_msg=key)


@check
def test_one_sample(name, fresh):
    """A single image or text is data too."""
    model = fresh(name)
    for history in (fit(name, model, slice(0, 1)), evaluate(name, model, slice(0, 1))):
        assert history and all(np.isfinite(value).all() for value in history.values())


# --- callbacks ---


class SavedEpochs(keras.callbacks.Callback):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        self.model.save_weights(self.folder / f"{epoch}.weights.h5")


@check
@pytest.mark.usefixtures("doomed", "reloads", "plain")  # early: they have work for the other core
def test_callbacks(name, fresh, tmp_path):
    """Those of Keras, all at once: each does what it promises."""
    model, case = fresh(name), CASES[name]
    monitor = monitored(name, model)
    best = tmp_path / "best.weights.h5"
    rates = [0.01, 0.3, 0.02, 0.01]
    history = fit(
        name,
        model,
        epochs=4,
        validation_data=batches(name) if case.data else None,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch]),
            SavedEpochs(tmp_path),
            keras.callbacks.ModelCheckpoint(
                best, monitor, save_best_only=True, save_weights_only=True, mode="min"
            ),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.TensorBoard(tmp_path / "board"),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            # Nothing improves by so much: it stops after two more epochs, and goes back.
            keras.callbacks.EarlyStopping(
                monitor, 1e9, patience=2, mode="min", restore_best_weights=True
            ),
        ],
    )
    assert len(history[monitor]) == 3
    np.testing.assert_allclose(history["learning_rate"], rates[:3], rtol=1e-6)
    assert_same_files(best, tmp_path / f"{np.argmin(history[monitor])}.weights.h5")
    with open(tmp_path / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row[monitor]) for row in rows] == history[monitor]
    tags = {
        value.tag
        for path in (tmp_path / "board").rglob("events*")
        for record in tf.data.TFRecordDataset(str(path))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }
    assert f"epoch_{monitor.removeprefix('val_')}" in tags
    assert not (tmp_path / "backup").exists()  # the run came to its end
    after = model.get_weights()
    model.load_weights(tmp_path / "0.weights.h5")
    for weight, first in zip(after, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, first)


def run_until(name, model, folder, epoch, after=(), **kwargs):
    """Train with a backup, until an accident at the end of an epoch, which calls `after` first."""

    class Accident(keras.callbacks.Callback):
        def on_epoch_end(self, number, logs=None):
            if number == epoch:
                for call in after:
                    call()
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore(folder, **kwargs)
    with contextlib.suppress(KeyboardInterrupt):
        return fit(name, model, epochs=3, callbacks=[backup, Accident()])


@check
def test_killed_between_two_files(name, trained, fresh, tmp_path):
    """A backup is the weights, then a text: without the text, with an older or half a one."""
    _, path = trained(name)
    metadata = tmp_path / "backup" / "training_metadata.json"
    for content in (None, '{"epo', '{"epoch": 1, "batch": 0}'):
        model = fresh(name)
        change = metadata.unlink if content is None else lambda x=content: metadata.write_text(x)
        run_until(name, model, metadata.parent, 1, [change])
        model = fresh(name)
        run_until(name, model, metadata.parent, None)
        assert model.history.epoch == [2]
        model.save_weights(tmp_path / "resumed.weights.h5")
        assert_same_files(tmp_path / "resumed.weights.h5", path / "ended.weights.h5")
    assert len(fit(name, model)) > 0 and model.history.epoch == [0]  # nothing is left of it


@check
def test_second_copy_of_a_backup(name, trained, fresh, tmp_path):
    """Where the last weights are damaged, Keras takes the ones before."""
    _, path = trained(name)
    last = tmp_path / "backup" / "latest.weights.h5"
    damage = lambda: last.write_bytes(last.read_bytes()[:-100])  # noqa: E731
    run_until(name, fresh(name), last.parent, 1, [damage], double_checkpoint=True)
    model = fresh(name)
    run_until(name, model, last.parent, None, double_checkpoint=True)
    assert model.history.epoch == [1, 2]
    model.save_weights(tmp_path / "resumed.weights.h5")
    assert_same_files(tmp_path / "resumed.weights.h5", path / "ended.weights.h5")


# --- other processes: the same numbers without anything of this one ---

# A process that answers pickled requests; what the libraries print goes elsewhere.
LOOP = """
import os, pickle, sys, traceback

answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)

def serve(answer):
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        try:
            result = answer(*request)
        except Exception:
            result = traceback.format_exc()
        pickle.dump(result, answers)
        answers.flush()
"""

LIBRARY = """
import aigc_keras
import json, signal
import keras, numpy as np, tensorflow as tf

def fit(model, data, size, **kwargs):
    if data:
        data = data if len(data) > 1 else data[0]
        data = {"x": tf.data.Dataset.from_tensor_slices(data).batch(size)}
    else:
        data = {"steps_per_epoch": 2}
    return model.fit(**data, verbose=0, **kwargs)
"""

RELOADS = """
models = {}

def load(folder, generate, data, size, epochs):
    model = models[folder] = keras.models.load_model(folder / "trained.keras")
    method, arguments, options = generate
    made = getattr(model, method)(*arguments, **options)
    fit(model, data, size, epochs=epochs, initial_epoch=epochs and 1)
    model.save_weights(folder / "continued.weights.h5")
    return json.dumps(model.get_config()), made

def resume(folder, data, size):
    model = models.pop(folder, None) or keras.models.load_model(folder / "start.keras")
    model.load_weights(folder / "start.weights.h5")
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    history = fit(model, data, size, epochs=3, callbacks=[backup])
    model.save_weights(folder / "resumed.weights.h5")
    return history.epoch

serve(lambda name, *request: {"load": load, "resume": resume}[name](*request))
"""

# All models are in the middle of their second epoch when the process is killed: each starts the
# next one there, and the last one pulls the trigger.
KILLED = """
class Next(keras.callbacks.Callback):
    def __init__(self, others):
        super().__init__()
        self.others = others

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and batch == 0:
            train(self.others)

def train(runs):
    if not runs:
        os.kill(os.getpid(), signal.SIGKILL)
    (folder, data, size), *others = runs
    model = keras.models.load_model(folder / "start.keras")
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    fit(model, data, size, epochs=3, callbacks=[backup, Next(others)])

serve(lambda runs: train(runs))
"""

PLAIN = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import onnxruntime, tensorflow as tf

def answer(kind, path, inputs):
    assert "aigc_keras" not in sys.modules
    inputs = inputs if isinstance(inputs, list) else [inputs]
    if kind == "tf_saved_model":
        given = inputs if len(inputs) > 1 else inputs[0]
        model = tf.saved_model.load(path)
        return model.serve(given).numpy()
    session = onnxruntime.InferenceSession(path)
    names = [x.name for x in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]

serve(answer)
"""


class Process:
    """Another Python; called with a request it gives the answer, or fails with its traceback."""

    def __init__(self, script, log):
        self.log = log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LOOP + script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
            )

    def send(self, *request):
        pickle.dump(request, self.process.stdin)
        self.process.stdin.flush()

    def receive(self):
        """The answer, or None if the process ended without one."""
        try:
            return pickle.load(self.process.stdout)
        except EOFError:
            return None

    def __call__(self, *request):
        self.send(*request)
        answer = self.receive()
        if answer is None or isinstance(answer, str):
            pytest.fail(answer or f"the process ended:\n{self.log.read_text()[-3000:]}")
        return answer


@contextlib.contextmanager
def process(script, log):
    other = Process(script, log)
    try:
        yield other
    finally:
        other.process.kill()
        other.process.communicate()


@pytest.fixture(scope="module")
def reloads(folder):
    with process(LIBRARY + RELOADS, folder / "reloads.txt") as other:
        yield other


@pytest.fixture(scope="module")
def plain(folder):
    with process(PLAIN, folder / "plain.txt") as other:
        yield other


@pytest.fixture(scope="module")
def trained(fresh, folder):
    """A function from name to (model, folder): trained for an epoch, with files of its states.

    "trained.keras" after one epoch, "ended.weights.h5" after as many as it has, without a pause.
    """
    done = set()

    def get(name):
        path, model = folder / name, fresh(name)
        if name not in done:
            fit(name, model, epochs=epochs(name))
            model.save_weights(path / "ended.weights.h5")
            model = fresh(name)
            fit(name, model)
            model.save(path / "trained.keras")
            model.save_weights(path / "trained.weights.h5")
            done.add(name)
        model.load_weights(path / "trained.weights.h5")
        return model, path

    return get


def epochs(name):
    return 1 if "callbacks" in CASES[name].left_out else 3


@check
def test_fresh_process(name, trained, reloads):
    """A saved model needs nothing but `import aigc_keras`, and goes on as if never interrupted."""
    model, path = trained(name)
    case = CASES[name]
    config, made = reloads("load", path, case.generate, case.data, BATCH, epochs(name))
    assert json.loads(config) == json.loads(json.dumps(model.get_config()))
    np.testing.assert_array_equal(made, generate(name, model))
    if epochs(name) > 1:
        assert_same_files(path / "continued.weights.h5", path / "ended.weights.h5")


@pytest.fixture(scope="module")
def doomed(fresh, folder):
    """A process that trains all models, until it is killed in the second epoch of each."""
    names = [name for name, case in CASES.items() if "killed" not in case.left_out]
    for name in names:
        fresh(name)
    with process(LIBRARY + KILLED, folder / "killed.txt") as other:
        other.send([(folder / name, CASES[name].data, BATCH) for name in names])
        yield other


@pytest.fixture(scope="module")
def killed(doomed):
    """The end of that process, while none of the runs was at its end."""
    answer = doomed.receive()
    assert answer is None, answer
    assert doomed.process.wait() == -signal.SIGKILL, doomed.log.read_text()[-3000:]


@check
def test_killed(name, trained, killed, reloads):
    """kill -9 in the middle of an epoch costs that epoch: in the end, nothing else is different."""
    _, path = trained(name)
    assert reloads("resume", path, CASES[name].data, BATCH) == [1, 2]
    assert_same_files(path / "resumed.weights.h5", path / "ended.weights.h5")


@check
@pytest.mark.parametrize("kind", ["tf_saved_model", "onnx"])
@pytest.mark.filterwarnings("ignore:In the future `np:FutureWarning")  # Keras asks for np.object
def test_export(name, kind, trained, plain, tmp_path):
    """What is exported computes the same without this library, for batches of any size."""
    model, _ = trained(name)
    generate(name, model)  # what was compiled for it is not exported
    path = str(tmp_path / "model.onnx") if kind == "onnx" else str(tmp_path / "model")
    model.export(path, format=kind, verbose=False)
    for n in (3, 1):
        inputs = CASES[name].inputs(n)
        expected = keras.ops.convert_to_numpy(model(inputs))
        assert len(expected) == n and expected.std() > 0
        np.testing.assert_allclose(plain(kind, path, inputs), expected, atol=2e-5)


# --- copies ---


@check
def test_copies(name, trained, tmp_path):
    """A configuration builds a model again, and a file of weights makes it the same."""
    model, path = trained(name)
    made, config = generate(name, model), json.dumps(model.get_config())
    copies = type(model).from_config(json.loads(config)), keras.models.clone_model(model)
    for copy in copies:
        assert json.dumps(copy.get_config()) == config
        copy.compile(**CASES[name].compile())
        copy.load_weights(path / "trained.weights.h5")
        copy.save_weights(tmp_path / "copy.weights.h5")
        assert_same_files(tmp_path / "copy.weights.h5", path / "trained.weights.h5")
    np.testing.assert_array_equal(generate(name, copies[1]), made)


@check
def test_two_models(name, trained, fresh, tmp_path):
    """Two in turn do not disturb each other, one of them with `run_eagerly`: they learn alike."""
    _, path = trained(name)
    model, other = fresh(name), build(name, run_eagerly=True)
    for epoch in range(epochs(name)):
        for each in (model, other):
            fit(name, each, initial_epoch=epoch, epochs=epoch + 1)
        generate(name, model)
    for each in (model, other):
        each.save_weights(tmp_path / "weights.h5")
        tolerance = {} if each is model else {"rtol": 1e-3, "atol": 1e-5}
        assert_same_files(tmp_path / "weights.h5", path / "ended.weights.h5", **tolerance)


@check
def test_settings_of_compile(name, tmp_path):
    """What `compile` was told is known to the loaded model, too."""
    for options in ({"run_eagerly": True}, {"steps_per_execution": 3}):
        model = build(name, **options)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        for key in ("run_eagerly", "steps_per_execution", "jit_compile"):
            assert getattr(loaded, key) == options.get(key, getattr(model, key))
        assert loaded.get_compile_config() == model.get_compile_config()


# --- precision and compilers ---


@pytest.fixture
def eager_functions():
    yield tf.config.run_functions_eagerly
    tf.config.run_functions_eagerly(False)


@check
@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")  # not tf.data's
def test_functions_run_eagerly(name, trained, eager_functions):
    """For a debugger, TensorFlow can do without graphs: the results are the same."""
    data, results = CASES[name].data, []
    methods = {
        "reconstruct": (data, {}),
        "log_likelihood": (data, {"n_samples": 2}),
        "variational_bound": (data, {"n_steps": 2}),
        "text_losses": ((["abcd", "a"],), {}),
        "surprisal": (("abcd",), {}),
    }
    for eager in (False, True):
        model, _ = trained(name)
        eager_functions(eager)
        found = list(evaluate(name, model).values())
        for method, (args, kwargs) in methods.items():
            if hasattr(model, method):
                found.append(getattr(model, method)(*args, **kwargs)[-1])
        if isinstance(model, text.LanguageModel):  # XLA draws other numbers
            written = model.generate(["ab", "c"], 8, temperature=0)
            found += [score for _, score in model.beam_search("ab", 2, 3)]
            assert "".join(model.generate("ab", 4, seed=1, stream=True)).startswith("ab")
        else:
            written = None
            found.append(generate(name, model))
        results.append((found, written))
    (graphs, text_of_graphs), (functions, text_of_functions) = results
    for first, second in zip(graphs, functions, strict=True):
        np.testing.assert_allclose(first, second, 1e-4, 1e-4)
    assert text_of_graphs == text_of_functions


@pytest.fixture
def precision():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def precision_of_layers(model):
    return [
        layer.dtype_policy.name for layer in model._flatten_layers() if layer._trainable_variables
    ]


def losses(history):
    return {k: v for k, v in history.items() if k == "loss" or k.endswith("or_loss")}


@pytest.mark.parametrize("auto_scale_loss", [True, False])
@pytest.mark.parametrize("name", ["GAN", "GPT"])
def test_scaling_of_losses_is_saved(name, auto_scale_loss, precision, tmp_path):
    """Before the first step, too, all of each optimizer is in the file, or none of the scaling."""
    precision("mixed_float16")
    model = build(name, auto_scale_loss=auto_scale_loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    scaled = isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == auto_scale_loss
    for each, path in ((model, "model.weights.h5"), (loaded, "loaded.weights.h5")):
        fit(name, each)
        each.save_weights(tmp_path / path)
    assert_same_files(tmp_path / "model.weights.h5", tmp_path / "loaded.weights.h5")


@check
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_the_bits(name, policy, fresh, precision):
    """Training in half precision stays finite and loses about as much as in float32."""
    expected = losses(fit(name, fresh(name), epochs=5))
    precision(policy)
    model = build(name)
    history = fit(name, model, epochs=5)
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    precisions = precision_of_layers(model)
    assert (policy in precisions) == CASES[name].halves
    if CASES[name].dtype:
        precision("float32")
        assert precision_of_layers(build(name, policy)) == precisions
    for key, values in losses(history).items():
        np.testing.assert_allclose(values[-1], expected[key][-1], CASES[name].margin, err_msg=key)


@check
def test_xla(name, fixed_noise, tmp_path):
    """XLA takes the steps that Python takes, given the same random numbers: its own are others."""
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        model = build(name, **options)
        assert (model.run_eagerly, model.jit_compile) == (
            "run_eagerly" in options,
            "jit_compile" in options,
        )
        model.save_weights(tmp_path / "before.weights.h5")
        fit(name, model, slice(0, BATCH), epochs=2)
        model.save_weights(tmp_path / f"{next(iter(options))}.weights.h5")
    python, xla, before = (
        tmp_path / f"{x}.weights.h5" for x in ("run_eagerly", "jit_compile", "before")
    )
    assert_same_files(python, xla, rtol=1e-3, atol=1e-5)
    with pytest.raises(AssertionError):
        assert_same_files(before, xla, rtol=1e-3, atol=1e-5)


@pytest.fixture
def fixed_noise(monkeypatch):
    """Random numbers by a formula of whole numbers, in place of TensorFlow's."""

    def uniform(shape, seed, minval=0.0, maxval=1.0, dtype="float32", **_):
        shape, seed = tf.cast(shape, "int32"), tf.cast(seed, "int32") % 1009
        index = tf.range(tf.reduce_prod(shape)) % 100_000
        digits = (index * 7919 + seed[0] * 31 + seed[1] * 17) % 1009
        unit = tf.reshape(tf.cast(digits, "float32") / 1009, shape)
        low, high = tf.cast(minval, "float32"), tf.cast(maxval, "float32")
        return tf.cast(low + unit * (high - low), dtype)

    def normal(shape, seed, dtype="float32", **_):
        return uniform(shape, seed, -1.7, 1.7, dtype)

    def dropout(x, rate, seed, noise_shape=None, **_):
        shape = tf.shape(x)
        if isinstance(noise_shape, tf.Tensor):
            shape = noise_shape
        elif noise_shape is not None:
            sides = zip(tf.unstack(shape), noise_shape, strict=True)
            shape = tf.stack([all_ if side is None else side for all_, side in sides])
        return tf.where(uniform(shape, seed) < rate, 0.0, x / (1 - rate))

    monkeypatch.setattr(tf.random, "stateless_uniform", uniform)
    monkeypatch.setattr(tf.random, "stateless_normal", normal)
    monkeypatch.setattr(tf.nn.experimental, "stateless_dropout", dropout)


@pytest.mark.parametrize(
    ("policy", "expected"), [("mixed_float16", "float32"), ("mixed_bfloat16", "bfloat16")]
)
def test_perceptual_network_in_half_precision(policy, expected, precision):
    """What it sees is too large for float16: there it stays in float32."""
    precision(policy)
    assert style.PerceptualFeatures(["block1_conv1"]).compute_dtype == expected


# --- memory ---


def requests(name, model, calls):
    """Ask for what the model is there for, each time for another number of it."""
    method, arguments, _ = CASES[name].generate
    for i in range(calls):
        n = 1 + i % 7
        if name == "StyleTransfer":
            model.generate(n)
        elif method == "stylize":
            model.stylize(*(np.tile(x, (2, 2, 1))[: 16 + n, : 16 + n] for x in arguments))
        elif method == "denoise":
            model.denoise(SMALL[:n])
        elif isinstance(model, text.LanguageModel):
            model.generate(["ab"] * n, max_new_tokens=n)
        else:
            model.generate(n)


def kept(run):
    """(objects, graphs, bytes of the process) that are there after `run()`, and were not before."""
    gc.freeze()  # what is there counts no more
    before = resident()
    run()
    gc.collect()
    objects = gc.get_objects()
    graphs = sum(isinstance(x, tf.Graph) for x in objects)
    return len(objects), graphs, resident() - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@check
def test_memory(name, fresh, warnings):
    """200 steps leave behind what 20 do, and 50 calls what 10 do."""
    model = fresh(name)

    def run(steps, calls):
        kwargs = {"steps_per_epoch": steps}
        if CASES[name].data:
            kwargs["x"] = batches(name).repeat()
        fit(name, model, **kwargs)
        requests(name, model, calls)

    run(20, 10)
    few, graphs, _ = kept(lambda: run(20, 10))
    many, more_graphs, size = kept(lambda: run(200, 50))
    gc.unfreeze()
    assert more_graphs == graphs
    assert many - few < 100  # one of each step or call would be more
    assert size < 30e6
    assert not warnings


# --- layers ---


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")  # by Keras itself
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning")
class TestLayers(KerasTestCase):
    """Keras' own test of layers: built, saved, symbolic and eager, trained, in half precision."""

    def test_sinusoidal_embedding(self):
        self.run_layer_test(
            diffusion.SinusoidalEmbedding,
            {"dim": 6},
            input_shape=(4,),
            expected_output_shape=(4, 6),
            expected_num_trainable_weights=0,
        )

    def test_recurrent(self):
        for cell in text.CELLS:
            self.run_layer_test(
                text.Recurrent,
                {"units": 3, "cell": cell},
                input_shape=(2, 5, 4),
                expected_output_shape=(2, 5, 3),
                expected_num_trainable_weights=3,
                expected_num_non_trainable_weights=0,
            )

    def test_causal_self_attention(self):
        cache = (2, 2, 5, 2)
        self.run_layer_test(
            text.CausalSelfAttention,
            {"num_heads": 2},
            input_shape=(2, 5, 4),
            expected_output_shape=((2, 5, 4), (cache, cache)),
            expected_num_trainable_weights=4,
        )

    def test_transformer_block(self):
        cache = (2, 2, 5, 2)
        self.run_layer_test(
            text.TransformerBlock,
            {"num_heads": 2, "dropout": 0.1},
            input_shape=(2, 5, 4),
            expected_output_shape=((2, 5, 4), (cache, cache)),
            expected_num_trainable_weights=12,
            expected_num_seed_generators=1,
        )

    def test_instance_normalization(self):
        self.run_layer_test(
            style.InstanceNormalization,
            {},
            input_shape=(2, 4, 4, 3),
            expected_output_shape=((2, 4, 4, 3), (2, 2, 3)),
            expected_num_trainable_weights=2,
        )

    def test_perceptual_features(self):
        self.run_layer_test(
            style.PerceptualFeatures,
            {"layers": ["block1_conv1", "block2_conv1"], "dtype": "float32"},
            input_shape=(2, 8, 8, 3),
            expected_output_shape={
                "block1_conv1": (2, 8, 8, 64),
                "block2_conv1": (2, 4, 4, 128),
            },
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            run_mixed_precision_check=False,
        )

    def test_perceptual_loss(self):
        """Not by Keras' test: it is made of images, which no configuration holds, and is called
        with two arguments. Left is that it has nothing to train, and is alike in a graph."""
        layer = style.PerceptualLoss(
            [PHOTOS[0]], [1.0], *SHALLOW.values(), 1.0, 1.0, 1.0, 1.0, "hed", "float32"
        )
        content = layer.content_of(PHOTOS[1:3])
        losses = layer(PHOTOS[3:5], content)
        assert list(losses) == list(style.PARTS) and not layer.trainable_weights
        for key, value in tf.function(layer)(PHOTOS[3:5], content).items():
            np.testing.assert_allclose(value, losses[key], rtol=1e-4)
