"""The smallest models that the base class carries: what a new one costs.

`Denoiser` has one network; `TwoPairs` has two generators and two discriminators, as CycleGAN does.
"""

import keras
import tensorflow as tf
from keras import layers, ops

from aigc_keras.model import Model


@keras.saving.register_keras_serializable("smallest")
class Denoiser(Model):
    """Takes the noise of `noise_std` away again."""

    def __init__(self, network, noise_std=0.5, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.network, self.image_shape = network, tuple(network.output_shape[1:])
        self.noise_std = noise_std
        self.set_up(seed)

    def train_step(self, data):
        images, _ = self.unpack(data)
        with tf.GradientTape() as tape:
            noisy = images + self.noise_std * self.noise(ops.shape(images))
            loss = ops.mean(ops.square(self.network(noisy, training=True) - images))
        self.descend(tape, loss, images)
        return self.track(images, loss=loss)

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)


@keras.saving.register_keras_serializable("smallest")
class TwoPairs(Model):
    """Points to mirrored points and back (Zhu et al. 2017, arXiv:1703.10593, in two dimensions)."""

    networks = ("forth", "back", "critic_there", "critic_here")
    tracked = ("cycle_loss", "critic_loss")
    image_shape = (2,)

    def __init__(
        self, forth, back, critic_there, critic_here, ema_momentum=0.9, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.forth, self.back = forth, back
        self.critic_there, self.critic_here = critic_there, critic_here
        self.ema_momentum = ema_momentum
        self.set_up(seed)

    def train_step(self, data):
        here, _ = self.unpack(data)
        there = -here
        with tf.GradientTape(persistent=True) as tape:
            fake_there = self.forth(here, training=True)
            fake_here = self.back(there, training=True)
            cycle_loss = ops.mean(ops.square(self.back(fake_there, training=True) - here))
            cycle_loss += ops.mean(ops.square(self.forth(fake_here, training=True) - there))
            there_loss = ops.mean(self.critic_there(fake_there) - self.critic_there(there))
            here_loss = ops.mean(self.critic_here(fake_here) - self.critic_here(here))
            generator_loss = cycle_loss - there_loss - here_loss
        self.descend(tape, generator_loss, here, "forth")
        self.descend(tape, generator_loss, here, "back")
        self.descend(tape, there_loss, here, "critic_there")
        self.descend(tape, here_loss, here, "critic_here")
        return self.track(here, cycle_loss=cycle_loss, critic_loss=there_loss + here_loss)

    def call(self, inputs, training=False):
        return self.forth(inputs, training=training)


def dense(width, outputs, dtype=None):
    """Points (B, 2) to (B, outputs), float32."""
    x = points = keras.Input((2,))
    x = layers.Dense(width, activation="tanh", dtype=dtype)(x)
    return keras.Model(points, layers.Dense(outputs, dtype="float32")(x))


def two_pairs(dtype=None, **kwargs):
    networks = [dense(8, outputs, dtype) for outputs in (2, 2, 1, 1)]
    return TwoPairs(*networks, dtype=dtype, **kwargs)
