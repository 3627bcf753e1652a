"""The optimizer in one operation is Keras' own, to rounding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import optimizers, vae

RNG = np.random.default_rng(0)


def descended(cls, gradients, **kwargs):
    """Where two variables are after the steps along `gradients`, and all that is remembered."""
    start = np.linspace(-1, 1, 6, dtype="float32")
    variables = [keras.Variable(start.reshape(2, 3)), keras.Variable(start)]
    optimizer = cls(**kwargs)
    optimizer.build(variables)
    step = tf.function(lambda *gradients: optimizer.apply(gradients, variables))
    for pair in gradients:
        step(*pair)
    return [np.array(v) for v in [*variables, *optimizer.variables]]


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"beta_1": 0.5, "epsilon": 0.1, "clipnorm": 0.5},
        {"weight_decay": 0.1, "use_ema": True},
        {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 20)},
        {"amsgrad": True},
        {"gradient_accumulation_steps": 2},
    ],
)
def test_one_operation_does_what_a_dozen_do(kwargs):
    kwargs = {"learning_rate": 0.01, **kwargs}
    gradients = [
        (RNG.normal(size=(2, 3)).astype("float32"), RNG.normal(size=6).astype("float32"))
        for _ in range(10)
    ]
    pairs = zip(
        descended(optimizers.Adam, gradients, **kwargs),
        descended(keras.optimizers.Adam, gradients, **kwargs),
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-7)


def test_gradients_of_a_few_rows():
    rows = tf.IndexedSlices(tf.ones((1, 3)), tf.constant([1]), tf.constant([2, 3]))
    for cls in (optimizers.Adam, keras.optimizers.Adam):
        table = keras.Variable(np.zeros((2, 3), "float32"))
        cls(0.1).apply([rows], [table])
        np.testing.assert_allclose(table, [[0, 0, 0], [-0.1, -0.1, -0.1]], atol=1e-6)


def test_default_optimizer_is_saved_and_goes_on(tmp_path):
    images = RNG.uniform(-1, 1, (8, 8, 8, 1)).astype("float32")
    model = vae.VAE((8, 8, 1), 2, width=2, hidden=4, seed=1)
    model.compile()
    assert type(model.optimizer) is optimizers.Adam
    model.fit(images, verbose=0)
    model.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert type(loaded.optimizer) is optimizers.Adam
    for one in (model, loaded):
        one.fit(images, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
