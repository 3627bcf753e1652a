"""`aigc_keras.vq_vae`: the nearest code, gradients past it, running means, codes that died."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras.vq_vae import VQVAE, straight_through

SHAPE = (4, 4, 1)
DIM = 3


def small(num_codes=5, dim=DIM, **kwargs):
    """One matrix to 2 x 2 vectors and one back."""
    pictures, vectors = keras.Input(SHAPE), keras.Input((2, 2, dim))
    encode = keras.layers.Conv2D(dim, 2, strides=2, name="encode")
    decode = keras.layers.Conv2DTranspose(1, 2, strides=2, name="decode")
    networks = {
        "encoder": keras.Model(pictures, encode(pictures)),
        "decoder": keras.Model(vectors, decode(vectors)),
    }
    return VQVAE(SHAPE, num_codes, dim, **networks, **kwargs)


def images(n=6, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *SHAPE)).astype("float32")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# --- the nearest code ---


def test_nearest_is_what_a_search_finds():
    model, vectors = small(7), normal(20, 2, 2, DIM)
    model.codebook.assign(normal(7, DIM, seed=1))
    distances = np.sum((vectors[..., None, :] - model.codebook.numpy()) ** 2, axis=-1)
    np.testing.assert_array_equal(model.nearest(vectors), np.argmin(distances, axis=-1))


def test_encode_decode_reconstruct():
    model, data = small(), images()
    model.codebook.assign(0.3 * normal(5, DIM))
    codes = model.encode(data)
    assert codes.shape == (6, 2, 2) and codes.dtype == "int32" and len(np.unique(codes)) > 2
    expected = model.decoder(model.codebook.numpy()[codes]).numpy()
    np.testing.assert_allclose(model.decode(codes, batch_size=4), expected, atol=1e-6)
    for found in (model.reconstruct(data, batch_size=4), model(data).numpy()):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_its_own_networks_make_a_map_of_a_quarter():
    model = VQVAE((8, 12, 3), num_codes=4, code_dim=2, width=2)
    assert model.code_shape == (2, 3)
    assert model.decode(np.zeros((1, 2, 3), int)).shape == (1, 8, 12, 3)
    model = VQVAE((16, 8, 1), num_codes=4, code_dim=2, width=2, halvings=3)
    assert model.code_shape == (2, 1)
    assert model.decode(np.zeros((1, 2, 1), int)).shape == (1, 16, 8, 1)
    with pytest.raises(ValueError, match=r"image_shape: got .* divisible by 2\*\*halvings, 8"):
        VQVAE((12, 8, 1), halvings=3)


# --- the objective ---


def test_gradients_pass_as_if_nothing_were_between():
    """What the decoder asks of its input goes to the vectors, beside what commitment asks."""
    model, data = small(commitment=0.3), images()
    model.codebook.assign(0.3 * normal(5, DIM))
    vectors = tf.constant(model.encoder(data))
    quantised = tf.constant(model.codebook.numpy()[model.encode(data)])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([vectors, quantised])
        through = straight_through(vectors, quantised)
        ours = tf.reduce_mean((data - model.decoder(through)) ** 2)
        plain = tf.reduce_mean((data - model.decoder(quantised)) ** 2)
    np.testing.assert_allclose(through, quantised, atol=1e-6)
    expected = tape.gradient(plain, quantised).numpy()
    assert tape.gradient(ours, quantised) is None
    np.testing.assert_allclose(tape.gradient(ours, vectors), expected, atol=1e-6)

    # The same in the model's objective: by the encoder's bias, which all vectors share.
    bias = model.encoder.get_layer("encode").bias
    with tf.GradientTape() as tape:
        reconstruction, commitment, *_ = model.terms(data, training=True)
        loss = reconstruction + model.commitment * commitment
    distances = (vectors - quantised).numpy()
    expected = expected + 0.3 * 2 * distances / distances.size
    found = tape.gradient(loss, bias.value)
    np.testing.assert_allclose(found, np.sum(expected, axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(commitment, np.mean(distances**2), rtol=1e-5)
    np.testing.assert_allclose(reconstruction, plain, rtol=1e-5)


def test_code_perplexity_counts_codes_used_alike():
    model = small()
    for codes, expected in (([3] * 8, 1), ([0, 1, 2, 3, 4], 5), ([0, 0, 1, 1], 2)):
        assert float(model.code_perplexity(tf.constant(codes))) == pytest.approx(expected, 1e-5)
    p = np.array([0.75, 0.25])
    found = float(model.code_perplexity(tf.constant([[0, 0], [0, 4]])))
    assert found == pytest.approx(np.exp(-p @ np.log(p)), 1e-5)


# --- the codebook ---


def test_without_momentum_codes_are_the_means_of_k_means():
    model, vectors = small(ema_momentum=0.0, dead_below=0.0), normal(40, DIM)
    for _ in range(30):
        before = model.codebook.numpy()
        codes = model.nearest(vectors).numpy()
        model.update_codebook(vectors, codes)
        for code in range(5):
            of_code = vectors[codes == code]
            expected = of_code.mean(axis=0) if len(of_code) else before[code]
            np.testing.assert_allclose(model.codebook[code], expected, atol=1e-6)
    np.testing.assert_array_equal(codes, model.nearest(vectors))  # it has converged
    np.testing.assert_array_equal(model.counts, np.bincount(codes, minlength=5))


def test_codes_are_quotients_of_running_sums():
    """As the paper has it (eq. 6 to 8): N_i and m_i, each a running mean of its own."""
    model = small(ema_momentum=0.9, dead_below=0.0)
    codebook = model.codebook.numpy()
    n, m = np.zeros(5), np.zeros((5, DIM))
    for i in range(4):
        vectors = normal(30, DIM, seed=i)
        codes = np.random.default_rng(i).integers(0, 4, 30)  # the last code is never used
        chosen = np.eye(5)[codes]
        n = 0.9 * n + 0.1 * chosen.sum(axis=0)
        m = 0.9 * m + 0.1 * chosen.T @ vectors
        model.update_codebook(vectors.reshape(15, 2, DIM), codes.reshape(15, 2))
    np.testing.assert_allclose(model.counts, n, rtol=1e-5)
    np.testing.assert_allclose(model.codebook[:4], m[:4] / n[:4, None], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(model.codebook[4], codebook[4])


def test_dead_codes_are_revived_where_the_codebook_is_worst():
    model = small(ema_momentum=0.9, dead_below=0.2, seed=0)
    model.codebook.assign(np.repeat([[0.0], [9.0], [9.0], [9.0], [9.0]], DIM, axis=1))
    model.counts.assign([14.4, 0.9, 0.8, 2.0, 2.0])
    vectors = np.zeros((20, DIM), "float32")
    vectors[7] = 1.0  # all others are as near as can be
    model.update_codebook(vectors, np.zeros(20, "int32"))
    # Of what is not used 0.9 is left; dead is what has less than 0.2 of a fifth of all.
    counts = np.array([0.9 * 14.4 + 2, 0.9 * 0.9, 0.9 * 0.8, 1.8, 1.8])
    counts[2] = 0.2 * counts.sum() / 5
    np.testing.assert_allclose(model.counts, counts, rtol=1e-6)
    revived = [1 / 20 * 2 / counts[0], 9, 1, 9, 9]
    np.testing.assert_allclose(model.codebook[:, 0], revived, rtol=1e-4)

    model.update_codebook(vectors, np.zeros(20, "int32"))  # nobody took it: it is drawn again
    np.testing.assert_allclose(model.counts[2], counts[2], rtol=0.02)
    assert model.counts[2] > 0.9 * counts[2]
    model.update_codebook(vectors, np.repeat([0, 2], [15, 5]))  # now somebody does
    assert model.counts[2] > counts[2]


def test_a_good_codebook_survives_the_first_step():
    """Running counts begin at zero: what is dead is measured by them, not by the batch."""
    vectors = normal(200, DIM)
    model = small()
    codebook = vectors[:5]
    model.codebook.assign(codebook)
    codes = model.nearest(vectors).numpy()
    assert np.bincount(codes, minlength=5).min() > 0.01 * 200 / 5
    model.update_codebook(vectors, codes)
    means = [vectors[codes == i].mean(axis=0) for i in range(5)]
    np.testing.assert_allclose(model.codebook, means, atol=1e-4)


@pytest.mark.parametrize("dead_below", [0.0, 0.05])
def test_a_codebook_dies_unless_it_is_revived(dead_below):
    """Far from all vectors lies all of it, but for one code."""
    model = small(num_codes=8, dead_below=dead_below, ema_momentum=0.9, seed=0)
    far = np.linspace(20, 30, 8, dtype="float32")[:, None] * np.ones(DIM, "float32")
    model.codebook.assign(far)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    data = images(32)
    found = []
    for _ in range(8):
        found.append(model.test_on_batch(data, return_dict=True)["code_perplexity"])
        model.reset_metrics()
        model.train_on_batch(data)
    if dead_below:
        assert found[0] == pytest.approx(1) and found[-1] > 5
    else:
        assert found == pytest.approx([1] * 8)


def test_it_learns_pictures_by_heart():
    """Sixteen tiles that differ, sixteen codes."""
    tiles = np.sign(normal(16, 2, 2, 1))
    data = tiles[np.random.default_rng(0).integers(0, 16, (64, 2, 2))]
    data = data.transpose(0, 1, 3, 2, 4, 5).reshape(64, *SHAPE).astype("float32")
    model = small(num_codes=24, dim=4, ema_momentum=0.9, seed=0)
    model.compile(keras.optimizers.Adam(0.02))
    losses = model.fit(tf.data.Dataset.from_tensors(data).repeat(300), verbose=0).history
    assert np.isfinite(losses["loss"]).all()
    found = model.evaluate(data, verbose=0, return_dict=True)
    assert found["reconstruction_loss"] < 0.01
    assert found["code_perplexity"] > 8
    assert np.mean((model.reconstruct(data) - data) ** 2) == pytest.approx(
        found["reconstruction_loss"], rel=1e-3, abs=1e-6
    )
