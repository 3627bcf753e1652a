"""What Keras promises of every model: precision, compilers, memory."""

import gc
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract_cases import (
    BATCH,
    CASES,
    SMALL,
    assert_same_files,
    batches,
    build,
    caught_warnings,
    check,
    evaluate,
    fit,
    fresh,
    generate,
    trained,
)

from aigc_keras import style, text
from aigc_keras.text.language_model import TokenModel


@pytest.fixture(autouse=True)
def warnings():
    with caught_warnings() as records:
        yield records


# --- precision and compilers ---


@pytest.fixture
def eager_functions():
    yield tf.config.run_functions_eagerly
    tf.config.run_functions_eagerly(False)


@check
@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")  # not tf.data's
def test_functions_run_eagerly(name, eager_functions):
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
        if isinstance(model, TokenModel):  # XLA draws other numbers
            written = model.generate(["ab", "c"], 8, temperature=0)
            found += [score for _, score in model.beam_search("ab", 2, 3)]
            if isinstance(model, text.LanguageModel):
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
    model = build(name, auto_scale_loss=auto_scale_loss, run_eagerly=True)
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
def test_half_the_bits(name, policy, precision):
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
        elif isinstance(model, TokenModel):
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
def test_memory(name, warnings):
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
