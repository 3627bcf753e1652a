"""Chapter 02: images of a VAE, walks between them, classes, and the denoising autoencoder."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from vae_models import (
    N_PIXELS,
    SHAPE,
    compiled,
    conv_vae,
    evaluate,
    fit,
    images,
    linear_networks,
    pixel_denoiser,
    set_layers,
    small_vae,
    train,
)

from aigc_keras import vae

# --- using it ---


def test_generate_repeats_with_a_seed_and_varies_without():
    model = small_vae()
    np.testing.assert_array_equal(model.generate(9, seed=4), model.generate(9, seed=4))
    assert (model.generate(9, seed=4) != model.generate(9, seed=5)).any()
    assert (model.generate(9) != model.generate(9)).any()
    np.testing.assert_array_equal(
        model.generate(9, seed=4), model.decode(model.sample_latents(9, seed=4))
    )


def test_latents_are_standard_normal():
    latents = small_vae(latent_dim=3).sample_latents(3000, seed=0)
    assert latents.shape == (3000, 3)
    assert scipy.stats.kstest(latents.ravel(), "norm").pvalue > 0.01
    np.testing.assert_allclose(np.corrcoef(latents.T), np.eye(3), atol=0.08)


@pytest.mark.parametrize("n", [1, 7, 20])
def test_chunks_are_the_whole(n):
    model = conv_vae(latent_dim=3)
    data = images(n, (8, 8, 1))
    for method, argument, shape in (
        (model.generate, n, (n, 8, 8, 1)),
        (model.reconstruct, data, (n, 8, 8, 1)),
        (model.decode, np.ones((n, 3)), (n, 8, 8, 1)),
        (lambda x, batch_size: model.encode(x, batch_size=batch_size)[1], data, (n, 3)),
    ):
        seed = {"seed": 1} if method == model.generate else {}
        whole, chunks = (method(argument, batch_size=b, **seed) for b in (256, 7))
        assert whole.shape == shape and whole.dtype == np.float32
        np.testing.assert_allclose(whole, chunks, atol=1e-5)


def test_encode_reconstruct_and_call_use_the_mean():
    model = small_vae()
    data = images(5)
    mean, log_variance = model.encode(data)
    for ours, theirs in zip((mean, log_variance), model.encoder(data), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_array_equal(model.reconstruct(data), model.decode(mean))
    np.testing.assert_allclose(model(data), model.reconstruct(data), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_images_of_every_float_type_are_taken(dtype):
    model = compiled(small_vae())
    data = np.sign(images(3))
    fit(model, data.astype(dtype))
    for method in (model.reconstruct, lambda x: model.log_likelihood(x, n_samples=2, seed=0)):
        np.testing.assert_allclose(method(data.astype(dtype)), method(data), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "likelihood"),
    [
        ((4, 4, 1), "bernoulli"),
        ((28, 28, 1), "gaussian"),
        ((32, 32, 3), "bernoulli"),
        ((64, 64, 3), "gaussian"),
        ((28, 32, 1), "bernoulli"),
    ],
)
def test_every_size_trains(shape, likelihood):
    model = compiled(conv_vae(shape=shape, likelihood=likelihood))
    before = model.get_weights()
    assert np.isfinite(fit(model, images(3, shape))["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    for made in (model.generate(3, seed=0), model.reconstruct(images(3, shape))):
        assert made.shape == (3, *shape) and made.dtype == np.float32
        assert np.abs(made).max() <= 1


def test_colours_are_reconstructed():
    """Red, green and blue pictures: a latent that knows no channels could only say grey."""
    colours = np.repeat(2 * np.eye(3) - 1, 16, axis=0)[:, None, None, :]
    data = (0.8 * np.broadcast_to(colours, (48, 4, 4, 3))).astype("float32")
    model = vae.VAE((4, 4, 3), latent_dim=2, beta=0.01, **linear_networks(shape=(4, 4, 3)))
    train(model, data, 60, learning_rate=0.05)
    made = model.reconstruct(data).mean(axis=(1, 2))
    np.testing.assert_array_equal(made.argmax(axis=1), np.repeat(np.arange(3), 16))


def test_labels_that_come_along_are_ignored():
    model = compiled(small_vae())
    data = tf.data.Dataset.from_tensor_slices((images(8), np.arange(8))).batch(4)
    assert len(fit(model, data, shuffle=None)["loss"]) == 1


# --- interpolation ---


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolation_starts_and_ends_at_the_ends(method):
    start, end = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
    path = vae.interpolate_latents(start, end, 7, method)
    assert path.shape == (6, 7, 5)
    np.testing.assert_allclose(path[:, 0], start, atol=1e-5)
    np.testing.assert_allclose(path[:, -1], end, atol=1e-5)


def test_linear_interpolation_has_equal_steps():
    start, end = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
    path = vae.interpolate_latents(start, end, 5, "linear")
    np.testing.assert_allclose(path[:, 2], (start + end) / 2, atol=1e-6)
    steps = np.broadcast_to((end - start)[:, None] / 4, (6, 4, 5))
    np.testing.assert_allclose(np.diff(path, axis=1), steps, atol=1e-6)


def test_spherical_interpolation_turns_evenly():
    start, end = np.random.default_rng(0).normal(size=(2, 6, 5)) * [[[1.0]], [[3.0]]]
    path = vae.interpolate_latents(start, end, 9)
    lengths = [np.linalg.norm(x, axis=-1)[:, None] for x in (start, end)]
    expected = lengths[0] + (lengths[1] - lengths[0]) * np.linspace(0, 1, 9)
    np.testing.assert_allclose(np.linalg.norm(path, axis=-1), expected, rtol=1e-5)
    directions = unit(path)
    angles = np.arccos(np.sum(directions[:, 1:] * directions[:, :-1], axis=-1))
    whole = np.arccos(np.sum(unit(start) * unit(end), axis=-1))
    np.testing.assert_allclose(angles, np.repeat(whole[:, None] / 8, 8, axis=1), rtol=1e-4)
    for points, a, b in zip(path, start, end, strict=True):  # it stays in their plane
        assert np.linalg.matrix_rank(np.vstack([a, b, points]), tol=1e-5) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spherical_interpolation_of_equal_opposite_and_zero_vectors(dtype):
    start = np.random.default_rng(0).normal(size=(200, 5)).astype(dtype)
    np.testing.assert_allclose(
        vae.interpolate_latents(start, start, 4), np.repeat(start[:, None], 4, axis=1), atol=1e-3
    )
    for end in (-start, -2 * start, 0 * start):
        path = vae.interpolate_latents(start, end, 5)
        assert np.isfinite(path).all()
        np.testing.assert_allclose(path[:, 0], start, atol=1e-3)
        np.testing.assert_allclose(path[:, -1], end, atol=1e-3)


def test_opposite_directions_are_joined_by_the_line():
    start = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    spherical, linear = (
        vae.interpolate_latents(start, -2 * start, 9, method) for method in ("spherical", "linear")
    )
    np.testing.assert_allclose(spherical, linear, atol=1e-3)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolated_images_start_and_end_at_the_reconstructions(method):
    model = conv_vae()
    start, end = images(3, (8, 8, 1)), images(3, (8, 8, 1), seed=1)
    path = model.interpolate(start, end, n=5, method=method)
    assert path.shape == (3, 5, 8, 8, 1) and path.dtype == np.float32
    np.testing.assert_allclose(path[:, 0], model.reconstruct(start), atol=1e-5)
    np.testing.assert_allclose(path[:, -1], model.reconstruct(end), atol=1e-5)
    assert model.interpolate(start, end).shape == (3, 8, 8, 8, 1)


# --- ConditionalVAE ---


def test_conditional_vae_learns_what_a_label_means():
    """Dark and bright pictures: after a short training the label decides the brightness."""
    labels = np.arange(64) % 2
    brightness = np.where(labels, 0.6, -0.6)[:, None, None, None]
    data = (brightness + 0.1 * images(64, (8, 8, 1))).astype("float32")
    model = conv_vae(vae.ConditionalVAE, num_classes=2, hidden=16)
    train(model, (data, labels), 100)
    dark, bright = (model.generate(16, labels=k, seed=0).mean() for k in (0, 1))
    assert dark < -0.2 and bright > 0.2
    # The same latents, another label: a dark picture is decoded bright.
    mean, _ = model.encode(data, labels)
    assert model.decode(mean, 1 - labels)[labels == 0].mean() > 0.2
    right, wrong = (model.log_likelihood(data, y, n_samples=4).mean() for y in (labels, 1 - labels))
    assert right > wrong
    assert model.generate(5).shape == (5, 8, 8, 1)
    turns = model.generate(4, seed=1).mean(axis=(1, 2, 3))  # classes 0, 1, 0, 1
    assert (turns[::2] < turns[1::2]).all()


def test_conditional_vae_takes_labels_after_images():
    model = conv_vae(vae.ConditionalVAE, num_classes=3)
    data, labels = images(5, (8, 8, 1)), np.array([0, 1, 2, 0, 1])
    path = model.interpolate(data, data[::-1], labels, n=4)
    assert path.shape == (5, 4, 8, 8, 1)
    np.testing.assert_allclose(path[:, 0], model.reconstruct(data, labels), atol=1e-5)
    np.testing.assert_allclose(
        path[:, -1], model.decode(model.encode(data[::-1], labels)[0], labels), atol=1e-5
    )
    np.testing.assert_allclose(
        model.reconstruct(data, labels, batch_size=2), model.reconstruct(data, labels), atol=1e-5
    )
    np.testing.assert_array_equal(model.encode(data, 2)[0], model.encode(data, [2] * 5)[0])
    assert model.active_units(data, labels).shape == (2,)
    assert model.log_likelihood(data, labels, n_samples=2, batch_size=2).shape == (5,)
    np.testing.assert_allclose(
        model([data, labels]), model.reconstruct(data, labels), atol=1e-5
    )  # Keras calls a model with one argument


# --- DenoisingAutoencoder ---


@pytest.mark.parametrize(("std", "noise_std"), [(0.25, 0.5), (0.25, 0.1)])
def test_denoiser_learns_tweedies_formula(std, noise_std):
    """Of Gaussian pixels, noisy x + noise_std^2 * score(noisy x) shrinks by a known factor."""
    data = np.random.default_rng(0).normal(0, std, (8000, *SHAPE)).clip(-1, 1).astype("float32")
    model = pixel_denoiser(noise_std=noise_std)
    total = std**2 + noise_std**2
    compiled(model, learning_rate=0.25 / total)  # the curvature of the loss is 2 * total
    fit(model, data, batch_size=800, epochs=2)
    noisy = np.linspace(-1.5, 1.5, 5 * N_PIXELS).reshape(5, *SHAPE)
    log_density, step = scipy.stats.norm(0, np.sqrt(total)).logpdf, 1e-4
    score = (log_density(noisy + step) - log_density(noisy - step)) / (2 * step)
    tweedie = noisy + noise_std**2 * score
    np.testing.assert_allclose(tweedie, noisy * std**2 / total, atol=1e-8)
    np.testing.assert_allclose(model.denoise(noisy), tweedie, atol=0.02)
    # What no denoiser can know: the variance of a pixel given the noisy one.
    left = std**2 * noise_std**2 / total
    np.testing.assert_allclose(evaluate(model, data, batch_size=800)["loss"], left, rtol=0.02)


def test_noise_has_the_right_strength_and_is_not_clipped():
    model = pixel_denoiser(noise_std=0.3)
    data = np.ones((2000, *SHAPE), "float32")
    noise = np.asarray(model.corrupt(data, seed=1)) - data
    assert scipy.stats.kstest(noise.ravel(), scipy.stats.norm(0, 0.3).cdf).pvalue > 0.01
    np.testing.assert_array_equal(model.corrupt(data, seed=1), model.corrupt(data, seed=1))
    assert (np.asarray(model.corrupt(data[:5])) != np.asarray(model.corrupt(data[:5]))).all()
    np.testing.assert_array_equal(pixel_denoiser(noise_std=0.0).corrupt(data), data)


def test_denoising_loss_is_a_pixels_mean_squared_error_of_the_clean_image():
    """Also over a short last batch: with weight 0 it is the data's mean square."""
    model = compiled(pixel_denoiser(), learning_rate=0.0)
    set_layers(model.encoder, pixel=[np.zeros((1, 1, 1, 1))])
    data = images(10) * np.linspace(0.1, 1, 10, dtype="float32")[:, None, None, None]
    history = fit(model, data, batch_size=4, validation_data=(data,), validation_batch_size=4)
    assert set(history) == {"loss", "val_loss"}
    np.testing.assert_allclose([*history.values()], np.mean(data**2) * np.ones((2, 1)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4, 1), (28, 28, 1), (32, 32, 3), (28, 32, 1)])
def test_denoiser_takes_every_size(shape):
    model = vae.DenoisingAutoencoder(shape, width=4, code_channels=2)
    compiled(model)
    before = model.get_weights()
    assert np.isfinite(fit(model, images(3, shape))["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    noisy = 3 * images(5, shape)
    clean = model.denoise(noisy)
    assert clean.shape == (5, *shape) and clean.dtype == np.float32
    np.testing.assert_allclose(clean, model.denoise(noisy, batch_size=2), atol=1e-5)
