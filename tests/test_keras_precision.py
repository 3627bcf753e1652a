"""What Keras promises of every model: precision and compilers."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract_cases import (
    BATCH,
    CASES,
    assert_same_files,
    build,
    caught_warnings,
    check,
    check_kinds,
    fit,
)

from aigc_keras import style


@pytest.fixture(autouse=True)
def no_warnings():
    with caught_warnings():
        yield


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


@functools.cache
def losses_in_float32(name):
    """After two epochs without graphs: to build one takes longer than the steps take."""
    return losses(fit(name, build(name, run_eagerly=True), epochs=2))


def check_half_the_bits(name, model, policy, expected):
    """Training in half precision stays finite and loses about as much as in float32."""
    history = fit(name, model, epochs=2)
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    assert (policy in precision_of_layers(model)) == CASES[name].halves
    for key, values in losses(history).items():
        np.testing.assert_allclose(values, expected[key], CASES[name].margin, err_msg=key)


@check
def test_float16(name, precision):
    expected = losses_in_float32(name)
    precision("mixed_float16")
    optimizers = {  # whose loss is not too large in the first steps, which are else left out
        key: keras.optimizers.LossScaleOptimizer(value, initial_scale=64.0)
        for key, value in CASES[name].compile().items()
        if key.endswith("optimizer")
    }
    model = build(name, run_eagerly=True, **optimizers)
    check_half_the_bits(name, model, "mixed_float16", expected)
    if CASES[name].dtype:
        precision("float32")
        given = build(name, "mixed_float16")
        assert precision_of_layers(given) == precision_of_layers(model)


GRAPHS = ("GAN", "DiffusionModel", "GPT")  # several optimizers, averages, one optimizer


@check_kinds
def test_bfloat16(name, precision):
    """Some in graphs, where every cast must be found before the first step."""
    expected = losses_in_float32(name)
    precision("mixed_bfloat16")
    model = build(name, run_eagerly=name not in GRAPHS)
    check_half_the_bits(name, model, "mixed_bfloat16", expected)


@check_kinds  # augmentation, the U-Net and recurrent cells: in the tests of their own modules
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
