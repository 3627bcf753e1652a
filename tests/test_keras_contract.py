"""What Keras promises of a model, held against every model of the library.

One table, one set of checks: the models are in contract_cases.py.
"""

import contextlib
import csv
import functools
import gc
import inspect
import json
import os
import re
import signal
from pathlib import Path

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from contract_cases import (
    BATCH,
    CASES,
    FEW_LABELS,
    FOLDER,
    KINDS,
    LABELS,
    SMALL,
    TOKENS,
    N,
    assert_same_files,
    batches,
    build,
    caught_warnings,
    check,
    check_kinds,
    epochs,
    evaluate,
    fit,
    fresh,
    functions_eagerly,
    generate,
    set_back,
    trained,
    values_of,
)

from aigc_keras import gan, text
from aigc_keras.text.language_model import TokenModel

# What `functions_eagerly` does not change are the functions of tf.data.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")


@pytest.fixture(autouse=True)
def warnings():
    with caught_warnings() as records:
        yield records


def test_what_is_left_out_is_a_check():
    files = [Path(__file__), Path(__file__).with_name("test_keras_precision.py")]
    names = {name for file in files for name in re.findall(r"def test_(\w+)", file.read_text())}
    for case in CASES.values():
        assert set(case.left_out) <= names and all(case.left_out.values())


# --- fit ---


def weigh(name, rows, run):
    """(of how many images or tokens of a batch its losses are means, of how many others are)."""
    if not CASES[name].data:
        return 1, 1
    if name == "SemiSupervisedVAE":
        return len(range(N)[rows]), np.sum(FEW_LABELS[rows] >= 0)
    if CASES[name].data[-1] is TOKENS:
        targets = TOKENS[rows, 1:]
        return np.sum(targets != text.PADDING), np.sum(targets > text.END)
    if name == "GAN" and run is fit:  # it takes two steps, each with half of the batch
        return -(-len(range(N)[rows]) // 2), 0
    return len(range(N)[rows]), len(range(N)[rows])


def mean_of_batches(name, logs, parts, run):
    """What several batches, with these logs, should have as their epoch's."""
    result = {}
    counts, others = zip(*(weigh(name, rows, run) for rows in parts), strict=True)
    of_others = ("bits_per_character", "classification_loss", "accuracy")  # of characters, labels
    for key in logs[0]:
        values = np.array([log[key] for log in logs], "float64")
        if key == "tokens":
            result[key] = values[-1]  # NGram's count so far
        elif key == "perplexity":
            result[key] = np.exp(np.average(np.log(values), weights=counts))
        else:
            weights = others if key in of_others else counts
            result[key] = np.average(values, weights=weights)
    return result


@check_kinds
@pytest.mark.parametrize("run", [fit, evaluate])
def test_epoch_means(name, run):
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


@check_kinds
@pytest.mark.usefixtures("eagerly")
def test_numpy(name, tmp_path):
    """Arrays teach what a dataset of them does; trained by `fit` with validation, and without."""
    case, options = CASES[name], {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model = fresh(name)
    history = fit(name, model)
    model.save_weights(tmp_path / "dataset.weights.h5")
    model = fresh(name)
    found = model.fit(*case.data, **options).history
    model.save_weights(tmp_path / "numpy.weights.h5")
    assert found == history
    assert_same_files(tmp_path / "numpy.weights.h5", tmp_path / "dataset.weights.h5")
    model = fresh(name)
    validation = case.data if len(case.data) > 1 else (*case.data, None)
    found = model.fit(*case.data, **options, validation_data=validation).history
    assert {k: v for k, v in found.items() if not k.startswith("val_")} == history
    assert {k for k in found if k.startswith("val_")} == {f"val_{k}" for k in evaluate(name, model)}


@check
def test_signature(name):
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


@check_kinds
@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # of a generator
def test_forms_of_a_batch(name, tmp_path):
    """All that Keras makes one of: alone, in a tuple or a list, with None for what is not there."""
    model = build(name, run_eagerly=True)
    start = tmp_path / "start.weights.h5"
    model.save_weights(start)
    restore = functools.partial(set_back, model, start, values_of(model))
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

    trained = model.train_on_batch(*parts, return_dict=True)
    restore()
    tested = model.test_on_batch(*parts, return_dict=True)
    restore()
    values = np.atleast_1d(model.test_on_batch(*parts))  # each once, in the order of their names
    np.testing.assert_allclose(values, [tested[key] for key in model.metrics_names], 1e-6)
    assert sorted(model.metrics_names) == sorted(tested)
    for run, data in runs:
        restore()
        if run == model.fit:
            found = {k: values[0] for k, values in run(data, verbose=0).history.items()}
        else:
            found = run(data, return_dict=True)
        expected = trained if run in (model.fit, model.train_on_batch) else tested
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, 1e-6, err_msg=key)


@check
@pytest.mark.usefixtures("eagerly")
def test_one_sample(name):
    """A single image or text is data too."""
    model = fresh(name)
    for history in (fit(name, model, slice(0, 1)), evaluate(name, model, slice(0, 1))):
        assert history and all(np.isfinite(value).all() for value in history.values())


def monitored(name, model):
    """A loss that callbacks can watch."""
    loss = "generator_loss" if isinstance(model, gan.GAN) else "loss"
    return f"val_{loss}" if CASES[name].data else loss


# --- callbacks ---


class SavedEpochs(keras.callbacks.Callback):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        self.model.save_weights(self.folder / f"{epoch}.weights.h5")


# Whatever the model: of several optimizers, with averages, with one optimizer, without data. That
# nothing is missing in a file of any model is in `test_fresh_process` and `test_copies`.
BACKUPS = ("GAN", "DiffusionModel", "GPT")
backups = pytest.mark.parametrize("name", BACKUPS)


@pytest.mark.parametrize("name", [*BACKUPS, "StyleTransfer"])
@pytest.mark.usefixtures("doomed", "reloads", "plain")  # early: they have work for the other core
def test_callbacks(name, tmp_path):
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


def never_interrupted(name, path):
    """A file of the weights after three epochs."""
    model = fresh(name)
    fit(name, model, epochs=3)
    model.save_weights(path)
    return path


@backups
def test_killed_between_two_files(name, tmp_path):
    """A backup is the weights, then a text: without the text, with an older or half a one."""
    ended = never_interrupted(name, tmp_path / "ended.weights.h5")
    metadata = tmp_path / "backup" / "training_metadata.json"
    for content in (None, '{"epo', '{"epoch": 1, "batch": 0}'):
        model = fresh(name)
        change = metadata.unlink if content is None else lambda x=content: metadata.write_text(x)
        run_until(name, model, metadata.parent, 1, [change])
        model = fresh(name)
        run_until(name, model, metadata.parent, None)
        assert model.history.epoch == [2]
        model.save_weights(tmp_path / "resumed.weights.h5")
        assert_same_files(tmp_path / "resumed.weights.h5", ended)
    assert len(fit(name, model)) > 0 and model.history.epoch == [0]  # nothing is left of it


@backups
def test_second_copy_of_a_backup(name, tmp_path):
    """Where the last weights are damaged, Keras takes the ones before."""
    ended = never_interrupted(name, tmp_path / "ended.weights.h5")
    last = tmp_path / "backup" / "latest.weights.h5"
    damage = lambda: last.write_bytes(last.read_bytes()[:-100])  # noqa: E731
    run_until(name, fresh(name), last.parent, 1, [damage], double_checkpoint=True)
    model = fresh(name)
    run_until(name, model, last.parent, None, double_checkpoint=True)
    assert model.history.epoch == [1, 2]
    model.save_weights(tmp_path / "resumed.weights.h5")
    assert_same_files(tmp_path / "resumed.weights.h5", ended)


# --- other processes: the same numbers without anything of this one ---


@contextlib.contextmanager
def process(module, log, **context):
    other = forked.Answers(module, FOLDER / log, **context)
    try:
        yield other
    finally:
        other.end()


@pytest.fixture(scope="module")
def reloads():
    with process("elsewhere", "reloads.txt") as other:
        yield other


@pytest.fixture(scope="module")
def plain():
    with process("plain", "plain.txt", context=forked.SPAWNS) as other:
        yield other


@check
@pytest.mark.usefixtures("eagerly")
def test_fresh_process(name, reloads):
    """A saved model needs nothing but `import aigc_keras`, and goes on as if never interrupted."""
    model, path = trained(name)
    case = CASES[name]
    config, made = reloads("load", path, case.generate, case.data, BATCH, epochs(name))
    assert json.loads(config) == json.loads(json.dumps(model.get_config()))
    np.testing.assert_array_equal(made, generate(name, model))
    if epochs(name) > 1:
        assert_same_files(path / "continued.weights.h5", path / "ended.weights.h5")


@pytest.fixture(scope="module")
def doomed():
    """A process that trains several models, until it is killed in the second epoch of each."""
    for name in BACKUPS:
        fresh(name).save(FOLDER / name / "start.keras")
    with process("elsewhere", "killed.txt") as other:
        other.send("die", [(FOLDER / name, CASES[name].data, BATCH) for name in BACKUPS])
        yield other


@pytest.fixture(scope="module")
def killed(doomed):
    """The end of that process, while none of the runs was at its end."""
    answer = doomed.receive()
    assert answer is None, answer
    doomed.process.join()
    assert doomed.process.exitcode == -signal.SIGKILL, doomed.log.read_text()[-3000:]


@backups
def test_killed(name, killed, reloads):
    """kill -9 in the middle of an epoch costs that epoch: in the end, nothing else is different."""
    path = FOLDER / name
    with functions_eagerly():  # as over there
        ended = never_interrupted(name, path / "never_interrupted.weights.h5")
    assert reloads("resume", path, CASES[name].data, BATCH) == [1, 2]
    assert_same_files(path / "resumed.weights.h5", ended)


@check
@pytest.mark.parametrize("kind", ["tf_saved_model", "onnx"])
@pytest.mark.filterwarnings("ignore:In the future `np:FutureWarning")  # Keras asks for np.object
def test_export(name, kind, plain, tmp_path):
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
@pytest.mark.usefixtures("eagerly")
def test_copies(name, tmp_path):
    """A configuration builds a model again, and a file of weights makes it the same."""
    model, path = trained(name)
    made, config = generate(name, model), json.dumps(model.get_config())
    copy = type(model).from_config(json.loads(config))
    assert json.dumps(copy.get_config()) == config
    copy.compile(**CASES[name].compile())
    copy.load_weights(path / "trained.weights.h5")
    copy.save_weights(tmp_path / "copy.weights.h5")
    assert_same_files(tmp_path / "copy.weights.h5", path / "trained.weights.h5")
    np.testing.assert_array_equal(generate(name, copy), made)


@backups
@pytest.mark.usefixtures("eagerly")
def test_clones(name):
    """Keras' own way to a copy: the same model with weights of its own."""
    model, _ = trained(name)
    copy = keras.models.clone_model(model)
    assert copy.get_config() == model.get_config()
    assert len(copy.get_weights()) == len(model.get_weights()) > 0
    made = generate(name, model)
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(generate(name, copy), made)


@backups
def test_two_models(name, tmp_path):
    """Two in turn do not disturb each other, one of them with `run_eagerly`: they learn alike."""
    _, path = trained(name)
    model, other = fresh(name), build(name, run_eagerly=True)
    for epoch in range(epochs(name)):
        for each in (model, other):
            fit(name, each, initial_epoch=epoch, epochs=epoch + 1)
        generate(name, model)
    for each in (model, other):
        each.save_weights(tmp_path / "weights.h5")
        tolerance = {} if each is other else {"rtol": 1e-3, "atol": 1e-5}
        assert_same_files(tmp_path / "weights.h5", path / "ended.weights.h5", **tolerance)


@pytest.mark.parametrize("name", ["GAN", "VAE", "NGram", "GPT", "Seq2Seq"])  # each `compile`
def test_settings_of_compile(name, tmp_path):
    """What `compile` was told is known to the loaded model, too."""
    for options in ({"run_eagerly": True}, {"steps_per_execution": 3}):
        model = build(name, **options)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        for key in ("run_eagerly", "steps_per_execution", "jit_compile"):
            assert getattr(loaded, key) == options.get(key, getattr(model, key))
        assert loaded.get_compile_config() == model.get_compile_config()


# --- without graphs ---


def results(name, model):
    """What the methods of the model say: numbers, and a text or None."""
    data = CASES[name].data
    if name == "SemiSupervisedVAE":  # to train it takes unknown labels, too
        data = (SMALL, LABELS)
    if name == "TextToImage":  # texts, not their tokens
        data = (SMALL, "ab")
    methods = {
        "reconstruct": (data, {}),
        "classify": (data[:1], {}),
        "log_likelihood": (data, {"n_samples": 2}),
        "variational_bound": (data, {"n_steps": 2}),
        "text_losses": ((["abcd", "a"],), {}),
        "surprisal": (("abcd",), {}),
    }
    if name == "TextImageModel":  # which classes there are, it is told
        methods["classify"] = (data[:1], {"texts": ["ab", "c"]})
    if name == "Classifier":
        methods["classify"] = ((["ab", "c"],), {})
    found = list(evaluate(name, model).values())
    for method, (args, kwargs) in methods.items():
        if hasattr(model, method):
            found.append(getattr(model, method)(*args, **kwargs)[-1])
    if not isinstance(model, TokenModel):
        return [*found, generate(name, model)], None
    written = model.generate(["ab", "c"], 8, temperature=0)  # XLA draws other numbers
    found += [score for _, score in model.beam_search("ab", 2, 3)]
    if isinstance(model, text.LanguageModel):
        assert "".join(model.generate("ab", 4, seed=1, stream=True)).startswith("ab")
    return found, written


@pytest.mark.parametrize(  # each `step`, each condition
    "name", [*KINDS, "RNNLanguageModel", "RNNSeq2Seq", "TextToImage"]
)
def test_functions_run_eagerly(name):
    """For a debugger, TensorFlow can do without graphs: the results are the same."""
    graphs, text_of_graphs = results(name, trained(name)[0])
    with functions_eagerly():
        functions, text_of_functions = results(name, trained(name)[0])
    for first, second in zip(graphs, functions, strict=True):
        np.testing.assert_allclose(first, second, 1e-4, 1e-4)
    assert text_of_graphs == text_of_functions


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
        elif method in ("denoise", "reconstruct"):
            getattr(model, method)(SMALL[:n])
        elif name in ("Classifier", "Encoder"):
            getattr(model, method)(["ab", "c"] * n)
        elif method == "classify":
            model.classify(SMALL[:n], ["ab", "c"] * n)
        elif isinstance(model, TokenModel):
            model.generate(["ab"] * (1 + n % 2), max_new_tokens=n)  # a graph for each of both
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


@check_kinds
def test_memory(name, warnings):
    """50 steps leave behind what 10 do, and 40 calls what 10 do."""
    model = fresh(name)

    def run(steps, calls):
        kwargs = {"steps_per_epoch": steps}
        if CASES[name].data:
            kwargs["x"] = batches(name).repeat()
        fit(name, model, **kwargs)
        requests(name, model, calls)

    run(10, 10)
    warnings.clear()  # of the graphs that are made once
    few, graphs, _ = kept(lambda: run(10, 10))
    many, more_graphs, size = kept(lambda: run(50, 40))
    gc.unfreeze()
    assert more_graphs == graphs
    assert many - few < 30  # one of each step or call would be as many
    assert size < 30e6
    assert not warnings
