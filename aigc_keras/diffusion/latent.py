"""Diffusion of the latents of an autoencoder."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from aigc_keras.diffusion.model import DiffusionModel, gaussian_log_density
from aigc_keras.guards import check_shape, check_sizes
from aigc_keras.vae import VAE, code_decoder, code_encoder


def latent_autoencoder(image_shape, channels=4, width=32, beta=0.1):
    """A VAE whose latents are a map (height / 4, width / 4, channels), for `LatentDiffusion`.

    The KL divergence hardly weighs: the latents shall keep what is needed for a sharp image, and
    only be kept from drifting apart (Rombach et al. 2022, section 3.1).
    """
    check_sizes(channels=channels, width=width)
    encoder = code_encoder(image_shape, width, 2 * channels)
    images = keras.Input(image_shape, name="images")
    code = encoder(images)
    mean, log_variance = ops.split(code, 2, axis=-1)
    moments = [layers.Flatten()(mean), layers.Flatten()(log_variance)]
    encoder = keras.Model(images, moments, name="encoder")
    latents = keras.Input((encoder.outputs[0].shape[-1],), name="latents")
    to_images = code_decoder(image_shape, width, channels)
    code = layers.Reshape(to_images.inputs[0].shape[1:])(latents)
    decoder = keras.Model(latents, to_images(code), name="decoder")
    model = VAE(
        image_shape,
        latent_dim=latents.shape[-1],
        beta=beta,
        likelihood="gaussian",
        encoder=encoder,
        decoder=decoder,
    )
    model.log_scale.assign(-1.5)  # near where it ends: Adam moves it by a thousandth a step
    return model


@keras.saving.register_keras_serializable("aigc_keras")
class LatentDiffusion(DiffusionModel):
    """Diffusion of the latents of a frozen autoencoder (Rombach et al. 2022, arXiv:2112.10752).

    Latents of 7 x 7 x 4 numbers instead of 28 x 28 pixels: less to learn, and to compute.

    Args:
        autoencoder: a trained `aigc_keras.vae.VAE`; `fit` leaves it as it is.
        latent_shape: (height, width, channels), as many numbers as the autoencoder's latent_dim.
        **kwargs: as for `DiffusionModel`, which takes the image_shape from the autoencoder.
    """

    def __init__(
        self, autoencoder, latent_shape=(7, 7, 4), widths=(64, 128), patch=1, dtype=None, **kwargs
    ):
        kwargs.pop("image_shape", None)  # part of a saved configuration
        if not isinstance(autoencoder, VAE) or autoencoder.num_classes:
            raise ValueError(
                f"autoencoder: got {autoencoder!r:.80}, accepted is a VAE without classes."
            )
        accepted = (
            f"(height, width, channels) of the autoencoder's {autoencoder.latent_dim} latents"
        )
        self.latent_shape = check_shape("latent_shape", latent_shape, accepted, rank=3)
        if math.prod(latent_shape) != autoencoder.latent_dim:
            raise ValueError(f"latent_shape: got {self.latent_shape}, accepted is {accepted}.")
        super().__init__(autoencoder.image_shape, widths=widths, patch=patch, dtype=dtype, **kwargs)
        self.autoencoder = autoencoder
        autoencoder.trainable = False
        unknown = {"initializer": "zeros", "trainable": False, "dtype": "float32"}
        self.latent_mean = self.add_weight(self.latent_shape[-1:], name="latent_mean", **unknown)
        self.latent_std = self.add_weight(self.latent_shape[-1:], name="latent_std", **unknown)

    @property
    def data_shape(self):
        return self.latent_shape

    def adapt(self, x):
        """Find mean and standard deviation of the channels of the latents.

        `fit` does it by itself the first time.

        Args:
            x: images, or a `tf.data.Dataset` or `keras.utils.PyDataset` of batches, with labels or
                without; the first 5,000 images or so are looked at.

        Raises:
            ValueError: x is something else.
        """
        if isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
            batches, seen = [], 0
            if isinstance(x, keras.utils.PyDataset):
                n = 5000 if x.num_batches is None else x.num_batches
                x = map(x.__getitem__, range(n))
            for batch in x:
                batches.append(np.asarray(self.parts_of(batch)[0]))
                seen += len(batches[-1])
                if seen >= 5000:
                    break
            if not batches:
                raise ValueError("x: got an empty dataset, accepted is at least one batch.")
            x = np.concatenate(batches)
        elif not isinstance(x, np.ndarray | tf.Tensor):
            raise ValueError(
                f"x: got {type(x).__name__}, accepted are images, a tf.data.Dataset or a "
                "keras.utils.PyDataset; otherwise call adapt(images) before fit."
            )
        latents, _ = self.autoencoder.encode(x[:5000])
        latents = latents.reshape(-1, self.latent_shape[-1])
        std = latents.std(axis=0)
        if not std.all():
            raise ValueError(f"autoencoder: its latent channels vary by {std}, accepted is > 0.")
        self.latent_mean.assign(latents.mean(axis=0))
        self.latent_std.assign(std)

    def _check_adapted(self):
        if not np.any(self.latent_std):
            raise ValueError("model: it knows no latents yet; call fit, or adapt(images), first.")

    def _sample(self, *args, **kwargs):
        self._check_adapted()
        return super()._sample(*args, **kwargs)

    def _checked(self, method, args, kwargs):
        given = super()._checked(method, args, kwargs)
        if method is keras.Model.fit and not np.any(self.latent_std):
            self.adapt(given["x"])
        self._check_adapted()
        return given

    def encode(self, images):
        mean, _ = self.autoencoder.encoder(images, training=False)
        latents = ops.reshape(mean, (-1, *self.latent_shape))
        return (latents - self.latent_mean) / self.latent_std

    def encode_mask(self, mask):
        """A latent is known if all pixels of its part of the image are."""
        sides = zip(self.image_shape[:2], self.latent_shape[:2], strict=True)
        return -ops.max_pool(-mask, [side // small for side, small in sides])

    def decode(self, data):
        latents = data * self.latent_std + self.latent_mean
        latents = ops.reshape(latents, (-1, self.autoencoder.latent_dim))
        outputs = self.autoencoder.decoder(latents, training=False)
        return self.autoencoder.to_images(outputs)

    def clip(self, data):
        return data

    def data_log_likelihood(self, data, mean, log_variance):
        return gaussian_log_density(data, mean, log_variance)
