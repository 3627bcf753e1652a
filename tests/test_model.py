"""What the base class does for a model that says next to nothing itself."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from smallest import Denoiser, TwoPairs, dense, two_pairs

from aigc_keras.model import Model

POINTS = np.random.default_rng(0).uniform(-1, 1, (22, 2)).astype("float32")
CEREMONY = 10  # lines


def sgd():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def compiled(model, **kwargs):
    model.compile(**{f"{name}_optimizer": sgd() for name in model.networks}, **kwargs)
    return model


def states(model):
    optimizers = [getattr(model, name) for name in model.optimizer_names().values()]
    return [np.array(v) for x in [model, *optimizers] for v in x.variables]


def assert_same(one, other):
    for a, b in zip(states(one), states(other), strict=True):
        np.testing.assert_array_equal(a, b)


# --- the smallest model ---


def test_the_smallest_model_has_ten_lines_of_ceremony():
    lines = inspect.getsource(Denoiser).splitlines()
    step = inspect.getsource(Denoiser.train_step).splitlines()
    written = [line for line in lines if line.strip() and line not in step]
    assert len(written) <= CEREMONY


def test_the_smallest_model_learns_is_saved_and_goes_on(tmp_path):
    keras.utils.set_random_seed(0)
    model = Denoiser(dense(16, 2), seed=1)
    model.compile()
    losses = model.fit(POINTS, epochs=5, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.noise_std, loaded.seed) == (0.5, 1)
    for one in (model, loaded):
        one.fit(POINTS, epochs=1, batch_size=8, shuffle=False, verbose=0)
    assert_same(model, loaded)
    one, other = (x.predict(POINTS, verbose=0) for x in (model, loaded))
    np.testing.assert_array_equal(one, other)


def test_the_smallest_model_refuses_what_all_refuse():
    model = Denoiser(dense(4, 2))
    model.compile()
    with pytest.raises(ValueError, match=r"x: got values from -?[\d.]+ to 5"):
        model.fit(np.full((4, 2), 5.0, "float32"), verbose=0)
    with pytest.raises(ValueError, match="sample_weight: got"):
        model.fit(POINTS, sample_weight=np.ones(22), verbose=0)
    with pytest.raises(ValueError, match="metrics: got"):
        model.compile(metrics=[keras.metrics.Mean()])


def test_the_mean_that_fit_prints_is_that_of_rows():
    """22 rows in batches of 8: the last one, of 6, weighs less."""
    model = Denoiser(dense(4, 2), noise_std=0.0)
    model.compile(keras.optimizers.SGD(0.0))
    loss = model.fit(POINTS, batch_size=8, verbose=0).history["loss"][0]
    np.testing.assert_allclose(loss, np.mean((model(POINTS) - POINTS) ** 2), rtol=1e-6)


# --- the configuration ---


class Configured(Model):
    def __init__(self, width, network=None, weights="all", sides=(2, 3), **kwargs):
        super().__init__(**kwargs)
        self.width = 2 * width  # an attribute of the same name is what counts
        self.network = network or dense(width, 2)
        self.set_up()

    def call(self, inputs, training=False):
        return self.network(inputs)


class Child(Configured):
    def __init__(self, depth, **kwargs):
        super().__init__(**kwargs)


def test_configuration_is_that_of_the_constructor():
    model = Child(3, width=4, weights="some", name="it")
    config = model.get_config()
    assert {k: config[k] for k in ("depth", "width", "weights", "name")} == {
        "depth": 3,  # no attribute: as it was given
        "width": 8,
        "weights": "some",  # Keras' attribute of that name is another thing
        "name": "it",
    }
    again = Child.from_config(config)
    assert (again.width, again._given["weights"]) == (16, "some")
    for a, b in zip(again.network.layers, model.network.layers, strict=True):
        assert a.get_config() == b.get_config()
    assert Child.from_config(config).get_config().keys() == config.keys()


def test_configuration_is_not_taken_apart():
    config = Configured(4).get_config()
    first, second = (Configured.from_config(config) for _ in range(2))
    assert first.get_config()["network"] == second.get_config()["network"]


def test_configuration_has_an_order():
    keys = [k for k in Child(3, width=4, sides=(1, 2)).get_config() if k in ("depth", "width")]
    assert keys == ["depth", "width"]


# --- several networks ---


def test_each_network_moves_by_its_own_optimizer():
    for name in TwoPairs.networks:
        model = compiled(two_pairs(seed=0))
        for other in model.networks:
            optimizer, _ = model.trained_by(other)
            optimizer.learning_rate = 0.1 if other == name else 0.0
        before = {x: getattr(model, x).get_weights() for x in model.networks}
        model.train_on_batch(POINTS)
        for other in model.networks:
            pairs = zip(before[other], getattr(model, other).get_weights(), strict=True)
            assert all(np.array_equal(*pair) for pair in pairs) == (other != name)


def test_one_optimizer_for_several_networks_is_refused():
    model, optimizer = two_pairs(), sgd()
    with pytest.raises(ValueError, match=r"^optimizer: got .* a forth_optimizer and a back_optim"):
        model.compile(sgd())
    with pytest.raises(ValueError, match=r"^critic_here_optimizer: got .* than the back_optimizer"):
        model.compile(back_optimizer=optimizer, critic_here_optimizer=optimizer)


def test_four_networks_are_saved_and_go_on(tmp_path):
    model = compiled(two_pairs(seed=0))
    model.fit(POINTS, epochs=2, batch_size=8, verbose=0)
    model.save(tmp_path / "pairs.keras")
    loaded = keras.models.load_model(tmp_path / "pairs.keras")
    assert_same(model, loaded)
    for one in (model, loaded):
        one.fit(POINTS, epochs=1, batch_size=8, shuffle=False, verbose=0)
    assert_same(model, loaded)


def test_four_networks_resume_from_a_backup(tmp_path):
    def run(epochs, folder):
        keras.utils.set_random_seed(0)
        model = compiled(two_pairs(seed=0))
        backup = keras.callbacks.BackupAndRestore(tmp_path / folder, delete_checkpoint=False)
        arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, "callbacks": [backup]}
        history = model.fit(POINTS, epochs=epochs, **arguments).history
        return model, history["cycle_loss"]

    whole, losses = run(3, "whole")
    _, first = run(1, "parts")
    resumed, rest = run(3, "parts")
    assert_same(whole, resumed)
    assert losses == first + rest


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_four_losses_are_scaled(dtype):
    """mixed_float16: each optimizer scales its own loss, and takes the scale out again."""
    moves = []
    for policy in ("float32", dtype):
        keras.utils.set_random_seed(0)
        model = compiled(two_pairs(policy, seed=0))
        scaled = [
            isinstance(model.trained_by(n)[0], keras.optimizers.LossScaleOptimizer)
            for n in model.networks
        ]
        assert scaled == 4 * [policy == "mixed_float16"]
        before = [np.array(v) for v in model.trainable_variables]
        model.train_on_batch(POINTS)
        after = [np.array(v) for v in model.trainable_variables]
        moves.append(np.concatenate([(b - a).ravel() for a, b in zip(before, after, strict=True)]))
    np.testing.assert_allclose(moves[1], moves[0], atol=0.02 * np.abs(moves[0]).max())


def test_descend_moves_the_averaged_copy_faster_at_first():
    """momentum = min(ema_momentum, step / (step + 10)), after each step."""
    model = two_pairs(seed=0, ema_momentum=0.15)
    model.ema_forth = dense(8, 2)
    model.ema_forth.trainable = False
    model.ema_forth.set_weights(model.forth.get_weights())
    compiled(model)
    mean = model.forth.get_weights()
    for step in (1, 2, 3):
        model.train_on_batch(POINTS)
        momentum = min(0.15, step / (step + 10))
        now = model.forth.get_weights()
        mean = [momentum * m + (1 - momentum) * w for m, w in zip(mean, now, strict=True)]
        for a, b in zip(model.ema_forth.get_weights(), mean, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_loss_of_tokens_counts_them():
    """`rows` may be a number: the gradient is that of the loss itself, whatever it is."""
    model = compiled(two_pairs(seed=0))
    weights = model.forth.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_mean(model.forth(POINTS) ** 2)
    expected = [w - 0.05 * g for w, g in zip(weights, tape.gradient(loss, weights), strict=True)]
    model.descend(tape, loss, tf.constant(7.0), "forth")
    for a, b in zip(weights, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_two_pairs_are_what_they_say():
    assert TwoPairs.networks == tuple(inspect.signature(TwoPairs).parameters)[:4]
