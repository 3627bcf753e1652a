"""The attention block: rotary positions, loops over positions, what is seen and what is not."""

import math

import keras
import numpy as np
import pytest
import scipy.special
from letters import scrambled

from aigc_keras import attention, text

GPTS = ["rotary", "learned"]


def turned(x, position):
    """Su et al. 2021: pairs as complex numbers, turned by position x 10000^(-2 i / width)."""
    half = x.shape[-1] // 2
    speeds = 10_000.0 ** (-2 * np.arange(half) / x.shape[-1])
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * position * speeds)
    return np.concatenate([z.real, z.imag], axis=-1)


def test_rotation_is_a_product_of_complex_numbers():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype("float32")
    positions = np.array([0, 1, 7, 500])
    rotated = np.asarray(attention.rotate(x, positions))
    expected = np.stack([turned(x[:, :, i], p) for i, p in enumerate(positions)], axis=2)
    np.testing.assert_allclose(rotated, expected, atol=1e-4)
    np.testing.assert_array_equal(rotated[:, :, 0], x[:, :, 0])
    np.testing.assert_allclose(
        np.linalg.norm(rotated, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5
    )


def test_rotated_products_depend_on_the_distance_alone():
    query, key = np.random.default_rng(0).normal(size=(2, 1, 1, 1, 8))
    starts, products = np.arange(40), []
    for distance in range(4):
        queries = attention.rotate(np.repeat(query, 40, axis=2), starts + distance)
        products.append(
            np.sum(queries * attention.rotate(np.repeat(key, 40, axis=2), starts), axis=-1)
        )
    products = np.array(products)[:, 0, 0]
    np.testing.assert_allclose(products, np.tile(products[:, :1], 40), atol=1e-4)
    assert np.abs(np.diff(products[:, 0])).min() > 0.01
    assert products[0, 0] == pytest.approx(np.sum(query * key))


def attention_layer(width, num_heads, positions):
    layer = text.CausalSelfAttention(num_heads, positions)
    layer.build((None, None, width))
    return scrambled(layer)


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("positions", GPTS)
def test_attention_equals_loops_over_positions(num_heads, positions):
    layer = attention_layer(8, num_heads, positions)
    x = np.random.default_rng(1).normal(size=(2, 5, 8)).astype("float32")
    size = 8 // num_heads
    kernel, bias = (w.astype("float64") for w in layer.qkv.get_weights())
    turn = turned if positions == "rotary" else lambda x, position: x
    expected, looks = np.zeros((2, 5, 8)), np.zeros((2, num_heads, 5, 5))
    for b, h, t in np.ndindex(2, num_heads, 5):
        parts = [slice(i * 8 + h * size, i * 8 + (h + 1) * size) for i in range(3)]
        q, k, v = (x[b] @ kernel[:, part] + bias[part] for part in parts)
        scores = [turn(q[t], t) @ turn(k[s], s) / math.sqrt(size) for s in range(t + 1)]
        looks[b, h, t, : t + 1] = scipy.special.softmax(scores)
        expected[b, t, h * size : (h + 1) * size] = looks[b, h, t] @ v
    weights = np.asarray(layer.weights_and_values(x)[0])
    np.testing.assert_allclose(weights, looks, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    assert (weights[..., *np.triu_indices(5, 1)] == 0).all()
    kernel, bias = layer.out.get_weights()
    np.testing.assert_allclose(layer(x)[0], expected @ kernel + bias, rtol=1e-4, atol=1e-4)


def test_who_asks_nothing_sees_the_mean_of_what_was():
    layer = attention_layer(4, 1, "rotary")
    zero, one = np.zeros((4, 4)), np.eye(4)
    layer.qkv.set_weights([np.hstack([zero, 5 * one, one]), np.zeros(12)])
    layer.out.set_weights([one, np.zeros(4)])
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    expected = np.cumsum(x, axis=1) / np.arange(1, 7)[:, None]
    np.testing.assert_allclose(layer(x)[0], expected, atol=1e-6)


# --- all positions, and those of another text ---


def keras_attention(layer, parts, width):
    """Keras' layer with the weights of ours: `parts` are kernels and biases of Q, K and V."""
    other = keras.layers.MultiHeadAttention(layer.num_heads, width // layer.num_heads)
    other.build((None, None, width), (None, None, width))
    shape = (layer.num_heads, width // layer.num_heads)
    weights = []
    for kernel, bias in parts:
        weights += [kernel.reshape(width, *shape), bias.reshape(shape)]
    kernel, bias = layer.out.get_weights()
    other.set_weights([*weights, kernel.reshape(*shape, width), bias])
    return other


def cut(dense, n):
    return zip(*(np.split(x, n, axis=-1) for x in dense.get_weights()), strict=True)


HIDDEN = np.array([[0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool)  # padding, in the middle too


@pytest.mark.parametrize("hidden", [None, HIDDEN])
@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["self", "causal", "cross"])
def test_attention_equals_that_of_keras(kind, num_heads, hidden):
    x, memory = np.random.default_rng(1).normal(size=(2, 2, 5, 8)).astype("float32")
    if kind == "cross":
        x, layer = x[:, :3], attention.CrossAttention(num_heads)
        layer.build(x.shape)
        scrambled(layer)
        parts, given = [*cut(layer.query, 1), *cut(layer.key_value, 2)], memory
        ours = layer(x, memory, hidden=hidden)
    else:
        kinds = {"self": attention.SelfAttention, "causal": attention.CausalSelfAttention}
        layer = kinds[kind](num_heads, "learned")
        layer.build(x.shape)
        scrambled(layer)
        parts, given = cut(layer.qkv, 3), x
        ours = layer(x, hidden=hidden)[0]
    mask = None if hidden is None else ~hidden[:, None]
    expected = keras_attention(layer, parts, 8)(
        x, given, attention_mask=mask, use_causal_mask=kind == "causal"
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_keys_and_values_of_another_text_are_made_once():
    x, memory = np.random.default_rng(1).normal(size=(2, 2, 5, 8)).astype("float32")
    layer = attention.CrossAttention(2)
    layer.build(x.shape)
    expected = scrambled(layer)(x, memory, hidden=HIDDEN)
    ready = layer.keys_and_values(memory)
    assert [part.shape for part in ready] == [(2, 2, 5, 4)] * 2
    np.testing.assert_array_equal(layer(x, ready, hidden=HIDDEN), expected)
    weights, values = layer.weights_and_values(x, ready, HIDDEN)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=1e-6)
    assert (np.asarray(weights)[0, :, :, [2, 4]] == 0).all()
    assert values is ready[1]


PARTS = HIDDEN[..., None], (np.arange(5) == 3)[:, None]  # padding; the position before the last


@pytest.mark.parametrize("positions", GPTS)
def test_an_encoder_and_a_decoder_need_no_gpt(positions):
    """The decoder writes token by token from its cache what it computes in one pass."""
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(2, 2, 5, 8)).astype("float32")
    encoder = attention.TransformerBlock(2, positions=positions, causal=False)
    decoder = attention.TransformerBlock(2, positions=positions, cross=True)
    encoder.build(source.shape)
    decoder.build(target.shape)
    scrambled(encoder, 0), scrambled(decoder, 1)
    memory, _ = encoder(source, hidden=HIDDEN)
    moved = [np.asarray(encoder(np.where(at, -source, source), hidden=HIDDEN)[0]) for at in PARTS]
    np.testing.assert_array_equal(moved[0][~HIDDEN], np.asarray(memory)[~HIDDEN])
    assert np.abs(moved[1] - memory)[:, :2].max() > 0.01  # an encoder looks ahead
    full, cache = decoder(target, memory=memory, memory_hidden=HIDDEN)
    cache = [np.full_like(part, 7.0) for part in cache]  # what is not written yet is not seen
    ready = decoder.cross.keys_and_values(memory)
    for position in range(5):
        one = target[:, position : position + 1]
        step, cache = decoder(one, cache=cache, start=position, memory=ready, memory_hidden=HIDDEN)
        np.testing.assert_allclose(step[:, 0], full[:, position], rtol=1e-4, atol=1e-5)


def test_blocks_are_made_again_from_their_configuration():
    for arguments in ({}, {"causal": False, "positions": "learned"}, {"cross": True, "seed": 3}):
        block = attention.TransformerBlock(2, 0.1, output_std=0.01, **arguments)
        config = block.get_config()
        assert config["output_std"] == 0.01 and arguments.items() <= config.items()
        again = attention.TransformerBlock.from_config(config)
        assert again.get_config() == config
        assert type(again.attention) is type(block.attention)


def test_a_frozen_block_is_frozen_when_it_is_built():
    """As where Keras loads one: its parts come later than what is said of the whole."""
    block = attention.TransformerBlock(2, cross=True, trainable=False)
    block.build((1, 2, 8))
    assert len(block.variables) > 10 and not any(v.trainable for v in block.variables)
