"""What the tests of chapter 02 share: models small enough to be computed by hand."""

import math

import keras
import numpy as np
import tensorflow as tf

from aigc_keras import vae

SHAPE = (4, 4, 1)
N_PIXELS = 16


def images(n, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype("float32")


def linear_networks(latent_dim=2, shape=SHAPE):
    """An encoder and a decoder without hidden layers: what they do can be computed by hand."""
    pictures = keras.Input(shape)
    flat = keras.layers.Flatten()(pictures)
    outputs = [keras.layers.Dense(latent_dim, name=name)(flat) for name in ("mean", "log_variance")]
    latents = keras.Input((latent_dim,))
    pixels = keras.layers.Dense(math.prod(shape), name="pixels")(latents)
    return {
        "encoder": keras.Model(pictures, outputs),
        "decoder": keras.Model(latents, keras.layers.Reshape(shape)(pixels)),
    }


def small_vae(cls=vae.VAE, latent_dim=2, **kwargs):
    """A VAE that trains in milliseconds."""
    return cls(SHAPE, latent_dim=latent_dim, **{**linear_networks(latent_dim), **kwargs})


def conv_vae(cls=vae.VAE, shape=(8, 8, 1), **kwargs):
    """A small VAE with the library's own networks."""
    return cls(shape, **{"latent_dim": 2, "width": 4, "hidden": 8, **kwargs})


def compiled(model, learning_rate=0.01, run_eagerly=True, **kwargs):
    """Ready for a few steps of gradient descent: building a graph would take longer."""
    model.compile(keras.optimizers.SGD(learning_rate), run_eagerly=run_eagerly, **kwargs)
    return model


def set_layers(network, **weights):
    for name, values in weights.items():
        network.get_layer(name).set_weights([np.asarray(x, "float32") for x in values])


def set_posterior(model, mean, log_variance):
    """Let q(z|x) be the same for every image."""
    kernel = np.zeros((N_PIXELS, len(mean)))
    set_layers(model.encoder, mean=[kernel, mean], log_variance=[kernel, log_variance])


class FixedNoise(vae.VAE):
    """Takes `noise` for the reparameterisation; with 0, every latent is the posterior's mean."""

    noise = 0.0

    def reparameterise(self, mean, log_variance, noise=None):
        return super().reparameterise(mean, log_variance, self.noise)


def fit(model, *data, **kwargs):
    return model.fit(*data, **{"verbose": 0, "shuffle": False, **kwargs}).history


def train(model, data, n_steps, learning_rate=0.03):
    """Many steps with Adam on all of `data` at once, in one epoch: Keras' epochs are slow."""
    model.compile(keras.optimizers.Adam(learning_rate))
    many = tf.data.Dataset.from_tensors(data).repeat(n_steps)
    return fit(model, many)


def evaluate(model, *data, **kwargs):
    return model.evaluate(*data, verbose=0, return_dict=True, **kwargs)


def assert_same_weights(ours, others, **tolerance):
    for a, b in zip(ours.get_weights(), others.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0, **tolerance})


def pixel_denoiser(**kwargs):
    """Every pixel times one weight: the best denoiser of Gaussian pixels is one of these."""
    pictures, code = keras.Input(SHAPE), keras.Input(SHAPE)
    pixel = keras.layers.Conv2D(1, 1, use_bias=False, name="pixel")
    encoder = keras.Model(pictures, pixel(pictures))
    decoder = keras.Model(code, keras.layers.Identity()(code))
    return vae.DenoisingAutoencoder(SHAPE, encoder=encoder, decoder=decoder, **kwargs)
