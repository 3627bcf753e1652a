"""The attention block: rotary positions, loops over positions, what is seen and what is not."""

import math

import numpy as np
import pytest
import scipy.special
from letters import scrambled

from aigc_keras import text

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
    rotated = np.asarray(text.rotate(x, positions))
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
        queries = text.rotate(np.repeat(query, 40, axis=2), starts + distance)
        products.append(np.sum(queries * text.rotate(np.repeat(key, 40, axis=2), starts), axis=-1))
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
