"""The benchmark counts operations as one does by hand."""

import importlib
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import aigc_keras as ak

B = 4


@pytest.fixture(scope="module")
def flops():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent / "benchmarks")
        yield importlib.import_module("flops")


class Step:
    """A training step whose gradients are its results."""

    def __init__(self, network):
        self.network = network

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self.network(batch) ** 2)
        return tape.gradient(loss, self.network.trainable_variables)


def test_dense_layers_take_three_products_and_the_first_two(flops):
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7), keras.layers.Dense(3)])
    counted = flops.training_flops(Step(network), np.zeros((B, 5), "float32"))
    assert counted == {"float32": 2 * (2 * B * 5 * 7) + 3 * (2 * B * 7 * 3)}


def test_a_strided_and_a_transposed_convolution(flops):
    """Each number of the smaller map meets the kernel once, whichever way the map goes."""
    network = keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same"),
            keras.layers.Conv2DTranspose(6, 4, strides=2, padding="same"),
        ]
    )
    counted = flops.training_flops(Step(network), np.zeros((B, 9, 9, 2), "float32"))
    first, second = 2 * B * 5 * 5 * 3 * 3 * 2 * 8, 2 * B * 5 * 5 * 4 * 4 * 8 * 6
    assert counted == {"float32": 2 * first + 3 * second}


def test_precisions_are_counted_apart(flops):
    network = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7, dtype="mixed_bfloat16"),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    counted = flops.training_flops(Step(network), np.zeros((B, 5), "float32"))
    assert counted == {"bfloat16": 2 * (2 * B * 5 * 7), "float32": 3 * (2 * B * 7 * 3)}


def test_an_lstm_counts_as_often_as_it_runs(flops):
    """T steps, U units: the input's product, the state's, and two more of each to go back."""
    length, width, units = 6, 5, 3
    inputs = keras.Input((length, width))
    network = keras.Model(inputs, ak.text.Recurrent(units, "lstm")(inputs))
    counted = flops.training_flops(Step(network), np.zeros((B, length, width), "float32"))
    one = 2 * B * length * 4 * units
    assert counted == {"float32": 2 * one * width + 3 * one * units}


def test_so_does_a_loop_and_the_one_that_differentiates_it(flops):
    length, units = 6, 3
    kernel = tf.Variable(tf.eye(units))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            states = tf.scan(lambda h, x: h @ kernel + x, x, tf.zeros((B, units)))
            loss = tf.reduce_sum(states)
        return tape.gradient(loss, kernel)

    graph = step.get_concrete_function(tf.TensorSpec((length, B, units))).graph
    assert flops.graph_flops(graph) == {"float32": 3 * length * 2 * B * units * units}


def test_a_loop_without_a_known_end_is_refused(flops):
    @tf.function
    def step(x):
        return tf.while_loop(lambda x: tf.reduce_sum(x) < 9.0, lambda x: (x @ x,), (x,))

    graph = step.get_concrete_function(tf.TensorSpec((3, 3))).graph
    with pytest.raises(ValueError, match="how often it runs is not known"):
        flops.graph_flops(graph)


def test_attention_by_the_closed_form(flops):
    """Per layer: 12 width^2 a token for the weights, and 2 * T * width for the attention."""
    length, width, layers = 8, 16, 2
    tokenizer = ak.text.CharTokenizer("abcdef")
    model = ak.text.GPT(tokenizer, length, width=width, num_layers=layers, num_heads=2)
    model.compile()
    counted = flops.training_flops(model, np.ones((B, length + 1), "int32"))
    products = layers * (12 * width**2 + 2 * length * width) + width * tokenizer.vocab_size
    assert counted == {"float32": 3 * 2 * B * length * products}


def test_a_map_that_looks_at_a_text_that_a_frozen_layer_reads(flops):
    """Forward alone, with weights that learn once more, and after these once more for the input."""
    positions, length, reads, width, channels = 6 * 5, 7, 3, 10, 8
    words, image = keras.Input((length, reads)), keras.Input((6, 5, channels))
    memory = keras.layers.Dense(width, trainable=False)(words)
    looked = ak.text_to_image.MapAttention(2)(image, memory)
    network = keras.Model([image, words], looked)
    arrays = [np.zeros((B, *x.shape[1:]), "float32") for x in (image, words)]
    counted = flops.training_flops(Step(network), arrays)
    reading = length * reads * width
    query, key_value = positions * channels**2, length * width * 2 * channels
    looking, out = 2 * positions * length * channels, positions * channels**2
    products = reading + 2 * (query + key_value) + 3 * (looking + out)
    assert counted == {"float32": 2 * B * products}


def test_a_shape_that_is_not_known_is_refused(flops):
    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def product(x):
        return x @ tf.transpose(x)

    with pytest.raises(ValueError, match="is not known from the graph"):
        flops.graph_flops(product.get_concrete_function().graph)
