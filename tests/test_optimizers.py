"""The optimizer in one operation is Keras' own, to rounding; what a learning rate can be."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import Models

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


class Assign(keras.callbacks.Callback):
    """A callback of one's own that sets the learning rate before each epoch."""

    def __init__(self, rates):
        super().__init__()
        self.rates, self.weights = rates, []

    def on_epoch_begin(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())
        self.model.optimizer.learning_rate = self.rates[epoch]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gpt", lambda m: np.zeros((2, 5), int)),
        ("s2s", lambda m: m.s2s.batches(["ab"], ["a"])),
        ("scheduled", lambda m: 1),  # a step: the data are its own
    ],
)
def test_a_number_in_place_of_a_schedule_is_refused_by_name(tmp_path, name, data, scaled):
    m = Models(tmp_path)
    model = getattr(m, name)
    inner = model.default_optimizer()
    model.compile(keras.optimizers.LossScaleOptimizer(inner) if scaled else inner)
    schedule = type(inner._learning_rate).__name__
    message = rf"^learning_rate: got 0\.001, .* {schedule}, .*; accepted is compile with an opt"
    with pytest.raises(ValueError, match=message):
        model.fit(data(m), callbacks=[Assign([1e-3])], verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_a_number_in_place_of_a_number_moves_the_next_steps():
    model, data = vae.VAE((8, 8, 1), 2, width=2, hidden=4, seed=1), RNG.uniform(-1, 1, (4, 8, 8, 1))
    model.compile(optimizers.Adam(1e-3))
    assign = Assign([1e-2, 0.0, 1e-2, 0.0])
    model.fit(data, epochs=4, callbacks=[assign], verbose=0)
    points = [*assign.weights, model.get_weights()]
    # In the first step Adam moves every weight by the rate, or where the gradient is 0 not at all.
    first = np.max(
        [np.abs(a - b).max() for a, b in zip(*points[:2], strict=True) if a.dtype == "f"]
    )
    assert first == pytest.approx(1e-2, rel=1e-2)
    moved = [
        any((a != b).any() for a, b in zip(*pair, strict=True) if a.dtype == "f")
        for pair in itertools.pairwise(points)
    ]
    assert moved == [True, False, True, False]


def test_adamw_is_saved_with_its_schedule(tmp_path):
    model = Models(tmp_path).gpt
    for variable in model.optimizer.variables:
        variable.assign(RNG.integers(9, size=variable.shape))
    model.save(tmp_path / "gpt.keras")
    loaded = keras.models.load_model(tmp_path / "gpt.keras").optimizer
    assert type(loaded) is type(model.optimizer) is optimizers.AdamW
    assert loaded.get_config() == model.optimizer.get_config()
    for a, b in zip(model.optimizer.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(a, b)
