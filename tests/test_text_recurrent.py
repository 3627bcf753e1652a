"""Chapter 05: recurrence, in double precision, and its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from letters import scrambled

from aigc_keras import text
from aigc_keras.text.recurrent import recur

CELLS = ["rnn", "gru", "lstm"]
UNITS = 5
KERAS_LAYERS = {
    "rnn": keras.layers.SimpleRNN,
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
}


def recurrent(cell):
    """A layer with random weights, and its inputs (B, T, width)."""
    layer = text.Recurrent(UNITS, cell, dtype="float64")
    layer.build((None, None, 3))
    scrambled(layer, std=0.7)
    return layer, np.random.default_rng(1).normal(size=(2, 6, 3))


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layers_equal_those_of_keras(cell):
    layer, x = recurrent(cell)
    other = KERAS_LAYERS[cell](UNITS, return_sequences=True, dtype="float64")
    other.build(x.shape)
    kernel, recurrent_kernel, bias = layer.get_weights()
    if cell == "gru":  # which has a second one, for the product with the state
        bias = np.stack([bias, np.zeros_like(bias)])
    other.set_weights([kernel, recurrent_kernel, bias])
    np.testing.assert_allclose(layer(x), other(x), rtol=1e-12, atol=1e-12)


def test_recurrent_layers_start_as_keras_does():
    """The forget gate's bias is one, all others zero, and the recurrent kernel orthogonal."""
    for cell, other in KERAS_LAYERS.items():
        layer, other = text.Recurrent(UNITS, cell), other(UNITS)
        layer.build((None, None, 3))
        other.build((None, None, 3))
        np.testing.assert_array_equal(
            layer.bias, other.get_weights()[2].reshape(-1, layer.bias.shape[0])[0]
        )
        kernel = layer.recurrent_kernel.numpy()
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(UNITS), atol=1e-5)


def test_the_forget_gate_of_a_model_begins_open():
    """Also where Keras builds the layers of a model without computing anything."""
    model = text.RNNLanguageModel(text.CharTokenizer("ab"), "lstm", UNITS, num_layers=2)
    for layer in model.recurrent:
        np.testing.assert_array_equal(layer.bias, np.repeat([0, 1, 0, 0], UNITS))


@pytest.mark.parametrize("cell", CELLS)
def test_written_out_gradients_are_those_of_a_plain_loop(cell):
    """Of every input, also the first state, with a loss on every output, also an LSTM's memory."""
    function, n_gates, n_states = text.CELLS[cell]
    rng = np.random.default_rng(0)
    shapes = [(6, 2, n_gates * UNITS), (UNITS, n_gates * UNITS), *[(2, UNITS)] * n_states]
    inputs = [tf.constant(rng.normal(0, 0.7, shape)) for shape in shapes]
    weights = [rng.normal(size=(6, 2, UNITS)) for _ in range(n_states)]

    def loop(function, from_input, kernel, state):
        states = []
        for x in tf.unstack(from_input):
            state = function(state, x, state[0] @ kernel)
            states.append(state)
        return tuple(tf.stack(x) for x in zip(*states, strict=True))

    results = []
    for run in (loop, recur):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            states = run(function, inputs[0], inputs[1], tuple(inputs[2:]))
            loss = sum(tf.reduce_sum(w * s**2) for w, s in zip(weights, states, strict=True))
        results.append([*states, *tape.gradient(loss, inputs)])
    assert len(results[0]) == 2 + 2 * n_states
    for expected, found in zip(*results, strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_the_layer_are_finite_differences(cell):
    layer, x = recurrent(cell)
    weights = np.random.default_rng(2).normal(size=(2, 6, UNITS))
    x = tf.Variable(x)
    variables = [x, *(w.value for w in layer.trainable_variables)]

    def loss():
        return tf.reduce_sum(weights * layer(x) ** 2)

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, variables)
    assert len(variables) == 4
    for variable, gradient in zip(variables, gradients, strict=True):
        start = variable.numpy()
        for index in (0, start.size // 2, start.size - 1):
            sides = []
            for sign in (1, -1):
                moved = start.copy()
                moved.flat[index] += sign * 1e-5
                variable.assign(moved)
                sides.append(float(loss()))
            variable.assign(start)
            slope = (sides[0] - sides[1]) / 2e-5
            assert gradient.numpy().flat[index] == pytest.approx(slope, rel=1e-6, abs=1e-8)
    assert float(loss()) == float(value)
