"""Chapter 04: diffusion of latents."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from diffusion_models import (
    LATENT,
    SHAPE,
    compiled,
    fit,
    fixed_variances,
    images,
    latent_model,
    oracle,
)

from aigc_keras import diffusion, vae


@pytest.mark.parametrize(("shape", "channels"), [((28, 28, 1), 4), ((32, 24, 3), 2)])
def test_latent_autoencoder_gives_maps(shape, channels):
    autoencoder = diffusion.latent_autoencoder(shape, channels=channels, width=4)
    assert isinstance(autoencoder, vae.VAE)
    latent_shape = (shape[0] // 4, shape[1] // 4, channels)
    mean, log_variance = autoencoder.encode(images(2, shape))
    assert mean.shape == log_variance.shape == (2, math.prod(latent_shape))
    assert autoencoder.reconstruct(images(2, shape)).shape == (2, *shape)
    model = diffusion.LatentDiffusion(autoencoder, latent_shape, widths=(8,), blocks=1)
    assert model.data_shape == latent_shape and model.image_shape == shape


def test_latents_are_maps_of_their_place():
    """A pixel moves the latents near it, and not the ones at the other end."""
    autoencoder = diffusion.latent_autoencoder((32, 32, 1), channels=2, width=4)
    data = np.repeat(images(1, (32, 32, 1)), 2, axis=0)
    data[1, 0, 0] *= -1
    mean, _ = autoencoder.encode(data)
    moved = np.abs(mean[0] - mean[1]).reshape(8, 8, 2).max(axis=-1)
    assert moved[0, 0] > 1e-6 and moved[4:].max() < 1e-6 and moved[:, 4:].max() < 1e-6


def test_trained_autoencoder_reconstructs():
    """Its latents have the room: after a few steps it is far better than the mean picture."""
    data = np.repeat(np.repeat(images(64, (2, 2, 1)), 4, axis=1), 4, axis=2)
    autoencoder = diffusion.latent_autoencoder(SHAPE, channels=2, width=8)
    autoencoder.compile(keras.optimizers.Adam(0.01))
    fit(autoencoder, tf.data.Dataset.from_tensors(data).repeat(120))
    error = np.mean((autoencoder.reconstruct(data) - data) ** 2)
    assert error < 0.1 * np.mean((data.mean(axis=0) - data) ** 2)


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays, size=10):
        super().__init__()
        self.arrays, self.size = arrays, size

    def __len__(self):
        return -(-len(self.arrays[0]) // self.size)

    def __getitem__(self, i):
        parts = tuple(x[i * self.size : (i + 1) * self.size] for x in self.arrays)
        return parts if len(parts) > 1 else parts[0]


class EndlessBatches(Batches):
    """Without `__len__`, which Keras 3 does not ask for."""

    __len__ = None
    num_batches = None

    def __getitem__(self, i):
        return super().__getitem__(i % 2)


@pytest.mark.parametrize(
    "kind", ["array", "tensor", "dataset", "dataset with labels", "sequence", "endless sequence"]
)
def test_adapt_makes_the_latents_of_one_size(kind):
    data = images(64) * np.linspace(0.2, 1, 8, dtype="float32")[:, None, None]
    x = {
        "array": data,
        "tensor": tf.constant(data),
        "dataset": tf.data.Dataset.from_tensor_slices(data).batch(10),
        "dataset with labels": tf.data.Dataset.from_tensor_slices((data, np.arange(64))).batch(10),
        "sequence": Batches(data, np.arange(64)),
        "endless sequence": EndlessBatches(data, size=32),
    }[kind]
    model = latent_model()
    model.adapt(x)
    latents = np.asarray(model.encode(data), "float64")
    assert latents.shape == (64, *LATENT)
    # Of a sequence without an end the first 5,000 images count, which do not come equally often.
    most = 0.01 if kind == "endless sequence" else 1e-5
    np.testing.assert_allclose(latents.mean(axis=(0, 1, 2)), 0, atol=most)
    np.testing.assert_allclose(latents.std(axis=(0, 1, 2)), 1, rtol=10 * most)


@pytest.mark.parametrize("x", [None, "images", iter([1])], ids=["none", "text", "iterator"])
def test_adapt_refuses_what_it_cannot_look_at(x):
    with pytest.raises(ValueError, match=f"x: got {type(x).__name__}"):
        latent_model().adapt(x)


def test_latents_and_back_are_the_autoencoders_reconstruction():
    model, data = latent_model(), images(6)
    model.adapt(data)
    back = model.decode(model.encode(data))
    np.testing.assert_allclose(back, model.autoencoder.reconstruct(data), atol=1e-5)


@pytest.mark.parametrize("kind", ["array", "dataset", "sequence"])
def test_latent_diffusion_trains_and_leaves_the_autoencoder_alone(kind):
    data, labels = images(21), np.arange(21) % 2
    x = {
        "array": (data, labels),
        "dataset": (tf.data.Dataset.from_tensor_slices((data, labels)).batch(8),),
        "sequence": (Batches(data, labels, size=8),),
    }[kind]
    model = compiled(latent_model(num_classes=2), learning_rate=0.05)
    before = model.autoencoder.get_weights(), model.network.get_weights()
    kwargs = {"batch_size": 8} if kind == "array" else {"shuffle": None}
    history = fit(model, *x, **kwargs)
    assert np.isfinite(history["loss"]).all()
    for a, b in zip(before[0], model.autoencoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(before[1], model.network.get_weights(), strict=True))
    mean = model.latent_mean.numpy()
    latents = model.autoencoder.encode(data)[0].reshape(-1, 3)
    np.testing.assert_allclose(mean, latents.mean(axis=0), atol=1e-6)
    fit(model, 0.1 * data, labels)  # the first time decides
    np.testing.assert_array_equal(model.latent_mean.numpy(), mean)


def test_latent_diffusion_trains_with_its_own_network():
    model = latent_model(widths=(8,), blocks=1)
    assert model.network.name == "unet" and model.network.output_shape == (None, *LATENT)
    compiled(model, run_eagerly=True)
    assert np.isfinite(fit(model, images(4))["loss"]).all()


def test_latent_diffusion_generates_and_inpaints_images():
    model = latent_model(num_classes=2)
    data = images(9)
    model.adapt(data)
    made = model.generate(5, seed=1, guidance_scale=1.5)
    assert made.shape == (5, *SHAPE) and made.dtype == np.float32 and np.abs(made).max() <= 1
    mask = np.ones((9, *SHAPE), bool)
    mask[:, 3:, 2:] = False
    drawn = model.inpaint(data, mask, seed=1)
    np.testing.assert_array_equal(drawn[mask], data[mask])
    assert (drawn[~mask] != data[~mask]).any()
    np.testing.assert_array_equal(model.inpaint(data, np.array(True)), data)
    arguments = {"labels": 1, "seed": 2}
    np.testing.assert_allclose(
        model.inpaint(data, np.zeros((1, 1, 1), bool), **arguments),
        model.generate(9, **arguments),
        atol=1e-5,
    )


def test_a_latent_is_known_if_all_its_pixels_are():
    mask = np.ones((1, 8, 8, 1), "float32")
    mask[0, 1, 6] = 0  # in the square at the top right
    known = np.asarray(latent_model().encode_mask(mask))
    np.testing.assert_array_equal(known[0, :, :, 0], [[1, 0], [1, 1]])


def test_likelihood_of_latents_is_the_density():
    data, mean = 2 * images(5, LATENT), images(5, LATENT, seed=1)
    ours = latent_model().data_log_likelihood(data, mean, -1.4)
    np.testing.assert_allclose(
        ours, scipy.stats.norm.logpdf(data, mean, np.exp(-0.7)), rtol=1e-5, atol=1e-6
    )


def test_bound_of_latents_is_that_of_their_density():
    """Latents that are all the mean, and an oracle that says so: the prior and one density."""
    means = np.zeros((1, *LATENT))
    network = oracle(means, 0.0, timesteps=10).network
    model = latent_model(network=network, timesteps=10)
    model.latent_mean.assign(model.autoencoder.encode(images(1))[0].reshape(-1, 3)[0])
    model.latent_std.assign([1e6] * 3)  # whatever the latents are, they are 0 now
    small, _ = fixed_variances(10)
    alpha_bar = diffusion.cosine(1.0)
    prior = -12 * 0.5 * (alpha_bar + np.log(1 - alpha_bar))
    bound = model.variational_bound(images(4), n_steps=10)
    expected = prior - 12 * scipy.stats.norm.logpdf(0, 0, np.sqrt(small[0]))
    np.testing.assert_allclose(bound, expected, rtol=1e-3)


@pytest.mark.parametrize("latent_shape", [(2, 2, 2), (12, 2), (4, 2, 2)])
def test_latent_diffusion_refuses_shapes_that_do_not_fit(latent_shape):
    autoencoder = diffusion.latent_autoencoder(SHAPE, channels=3, width=4)
    with pytest.raises(ValueError, match="latent_shape: got"):
        diffusion.LatentDiffusion(autoencoder, latent_shape, widths=(8,))
