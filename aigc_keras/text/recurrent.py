"""Recurrence: all of the past in a state, rewritten at every token."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.attention import dropout_layer
from aigc_keras.guards import check_choice, check_number
from aigc_keras.text.language_model import LanguageModel


def rnn_cell(state, from_input, from_hidden):
    """Elman 1990: all of the past in one vector, rewritten at every token."""
    return (ops.tanh(from_input + from_hidden),)


def gru_cell(state, from_input, from_hidden):
    """Cho et al. 2014, arXiv:1406.1078, eq. 5-8: a gate says how much of the past is kept.

    As in cuDNN, the reset gate acts after the product with the weights.
    """
    (hidden,) = state
    (z, r, new), (hz, hr, hidden_new) = (ops.split(x, 3, -1) for x in (from_input, from_hidden))
    update, reset = ops.sigmoid(z + hz), ops.sigmoid(r + hr)
    return (update * hidden + (1 - update) * ops.tanh(new + reset * hidden_new),)


def lstm_cell(state, from_input, from_hidden):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    The memory is added to, not rewritten, so that gradients survive many tokens.
    """
    _, memory = state
    write, forget, new, read = ops.split(from_input + from_hidden, 4, -1)
    memory = ops.sigmoid(forget) * memory + ops.sigmoid(write) * ops.tanh(new)
    return ops.sigmoid(read) * ops.tanh(memory), memory


CELLS = {"rnn": (rnn_cell, 1, 1), "gru": (gru_cell, 3, 1), "lstm": (lstm_cell, 4, 2)}


def recur(cell, from_input, kernel, state):
    """All states of a recurrence: a tuple of (T, B, units), from inputs (T, B, gates x units).

    The gradient is written out (backpropagation through time): the one of `kernel` is then a single
    product after the loop, where automatic differentiation would add one up at every token.
    """

    @tf.custom_gradient
    def run(from_input, kernel, *state):
        def forward(carry, x):
            from_hidden = ops.matmul(carry[0][0], kernel)
            return cell(carry[0], x, from_hidden), from_hidden

        first = tuple(state), tf.zeros_like(from_input[0])
        states, from_hidden = tf.scan(forward, from_input, first)
        before = tuple(tf.concat([s[None], x[:-1]], 0) for s, x in zip(state, states, strict=True))

        def gradient(*upstream):
            def backward(carry, inputs):
                before, x, h, here = inputs
                with tf.GradientTape() as tape:
                    tape.watch((before, x, h))
                    after = cell(before, x, h)
                arriving = [a + b for a, b in zip(carry[0], here, strict=True)]
                d_before, d_x, d_h = tape.gradient(
                    after, (before, x, h), arriving, unconnected_gradients="zero"
                )
                d_hidden = d_before[0] + ops.matmul(d_h, ops.transpose(kernel))
                return (d_hidden, *d_before[1:]), d_x, d_h

            zeros = tf.nest.map_structure(tf.zeros_like, first)
            inputs = before, from_input, from_hidden, tuple(upstream)
            d_state, d_input, d_hidden = tf.scan(
                backward, inputs, (zeros[0], zeros[1], zeros[1]), reverse=True
            )
            d_kernel = tf.einsum("tbu,tbg->ug", before[0], d_hidden)
            return d_input, d_kernel, *(x[0] for x in d_state)

        return states, gradient

    return run(from_input, kernel, *state)


@keras.saving.register_keras_serializable("aigc_keras")
class Recurrent(layers.Layer):
    """(B, T, width) to the hidden states (B, T, units) of a "rnn", "gru" or "lstm".

    Weights are laid out as those of Keras' SimpleRNN, GRU (one bias) and LSTM.
    """

    def __init__(self, units, cell="lstm", **kwargs):
        super().__init__(**kwargs)
        self.units = check_number("units", units, low=1, integer=True)
        self.cell = check_choice("cell", cell, tuple(CELLS))
        self.function, self.n_gates, self.n_states = CELLS[cell]

    def build(self, shape):
        width = self.n_gates * self.units
        self.kernel = self.add_weight(shape=(shape[-1], width), name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, width), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(width,), initializer=self.first_bias, name="bias")

    def first_bias(self, shape, dtype=None):
        """Zeros, but of an LSTM's forget gate: the memory is kept (Jozefowicz et al. 2015)."""
        gates = [0.0, 1.0, 0.0, 0.0] if self.cell == "lstm" else [0.0] * self.n_gates
        return ops.convert_to_tensor(np.repeat(gates, self.units), dtype)

    def initial_state(self, batch_size):
        return tuple(
            ops.zeros((batch_size, self.units), self.compute_dtype) for _ in range(self.n_states)
        )

    def call(self, x, state=None):
        if state is None:
            state = self.initial_state(ops.shape(x)[0])
        from_input = ops.transpose(ops.matmul(x, self.kernel) + self.bias, (1, 0, 2))
        kernel = tf.convert_to_tensor(self.recurrent_kernel)
        states = recur(self.function, from_input, kernel, state)
        return ops.transpose(states[0], (1, 0, 2))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.units)

    def step(self, x, state):
        """One token, (B, width), and the state after it."""
        kernel, recurrent_kernel, bias = (
            ops.cast(w, self.compute_dtype) for w in (self.kernel, self.recurrent_kernel, self.bias)
        )
        return self.function(state, x @ kernel + bias, state[0] @ recurrent_kernel)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "cell": self.cell}


@keras.saving.register_keras_serializable("aigc_keras")
class RNNLanguageModel(LanguageModel):
    """A recurrent network (循环神经网络) reads the text and carries all it remembers in its state.

    Args:
        tokenizer: as for all language models.
        cell: "rnn", "gru" or "lstm".
        units: width of the state, and of the tokens' embeddings, which also are the output weights
            (Press and Wolf 2017, arXiv:1608.05859).
        num_layers: recurrent layers, one on the other.
        dropout: share of the hidden states' numbers that are dropped in training.
    """

    default_learning_rate = 1e-2

    def __init__(
        self,
        tokenizer,
        cell="lstm",
        units=256,
        num_layers=1,
        dropout=0.0,
        context_length=128,
        **kwargs,
    ):
        super().__init__(tokenizer, context_length, **kwargs)
        self.num_layers = check_number("num_layers", num_layers, low=1, integer=True)
        self.dropout = check_number("dropout", dropout, low=0, below=1)
        self.units = check_number("units", units, low=1, integer=True)
        self.cell = check_choice("cell", cell, tuple(CELLS))
        policy = {"dtype": self.dtype_policy}
        # Hidden states are small: with small embeddings, logits would be near zero for long.
        normal = keras.initializers.RandomNormal(stddev=0.2)
        self.embedding = layers.Embedding(tokenizer.vocab_size, units, normal, **policy)
        self.recurrent = [Recurrent(units, cell, **policy) for _ in range(num_layers)]
        self.drop = dropout_layer(dropout, self.seed, policy)
        self(np.zeros((1, 2), "int32"))

    def call(self, inputs, training=False):
        """Tokens (B, T) to the logits of the next ones (B, T, V), float32."""
        x = self.embedding(inputs)
        for layer in self.recurrent:
            x = self.drop(layer(x), training=training)
        return self.logits(x)

    def begin(self, window):
        return tuple(layer.initial_state(ops.shape(window)[0]) for layer in self.recurrent)

    def step(self, token, position, state):
        x, after = self.embedding(token), []
        for layer, before in zip(self.recurrent, state, strict=True):
            after.append(layer.step(x, before))
            x = after[-1][0]
        return self.logits(x), tuple(after)

    def states(self, text):
        """What the top layer remembers after END and after each token of `text`: (T, units)."""
        x = self.embedding(self.encode_prompt(text)[None])
        for layer in self.recurrent:
            x = layer(x)
        return ops.convert_to_numpy(ops.cast(x[0], "float32"))
