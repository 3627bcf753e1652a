"""What a student may pass wrongly, over the whole public surface: refused by name, nothing done.

Bad arguments and data raise a ValueError before the first step; bad files load nothing and execute
nothing; a write that fails leaves what was there.
"""

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import pickle
import random
import re
import resource
import sys
import types
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aigc_keras import (
    callbacks,
    checkpoints,
    datasets,
    diffusion,
    gan,
    guards,
    images,
    metrics,
    patterns,
    plots,
    poetry,
    style,
    text,
    vae,
)
from aigc_keras.files import replaced

nan, inf = math.nan, math.inf
POINTS, LABELS = np.zeros((4, 2), "float32"), np.array([0, 1, 2, 0])
IDS = np.zeros((2, 5), int)
IMAGES, SHAPE = np.zeros((4, 8, 8, 1), "float32"), (28, 28, 1)
PICTURE, PICTURES = np.zeros((16, 16, 3), "float32"), np.zeros((2, 16, 16, 3), "float32")
REAL = np.random.default_rng(0).normal(size=(8, 2))
FAKE = REAL + 1
LAYERS = ("block1_conv1",)


def dataset(*arrays, n=2):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(n)


def headless():
    return keras.Sequential([keras.layers.Dense(2)])


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, i):
        return POINTS


class PointsAndNone(Endless):
    num_batches = 2

    def __getitem__(self, i):
        return POINTS, None


class Halved(keras.callbacks.LearningRateScheduler):
    """A callback of one's own is a callback of its kind."""


class Models:
    """Small compiled models, each built when it is first asked for."""

    def __init__(self, folder):
        self.folder, self.built = folder, []
        self.adam = keras.optimizers.Adam()

    def compiled(self, model, **kwargs):
        model.compile(**kwargs)
        self.built.append(model)
        return model

    @functools.cached_property
    def gan(self):
        return self.compiled(gan.MLPGAN((2,), 3, (4,), (4,)))

    @functools.cached_property
    def cgan(self):
        return self.compiled(gan.ConditionalGAN(SHAPE, 3, 4, 8, 4))

    @functools.cached_property
    def vae(self):
        return self.compiled(vae.VAE((8, 8, 1), 2, width=2, hidden=4))

    @functools.cached_property
    def cvae(self):
        return self.compiled(vae.ConditionalVAE((8, 8, 1), 3, latent_dim=2, width=2, hidden=4))

    @functools.cached_property
    def dae(self):
        return self.compiled(vae.DenoisingAutoencoder((8, 8, 1), width=2, code_channels=2))

    @functools.cached_property
    def diff(self):
        return self.compiled(diffusion.DiffusionModel((2,)))

    @functools.cached_property
    def cdiff(self):
        return self.compiled(diffusion.DiffusionModel((2,), num_classes=3))

    @functools.cached_property
    def autoencoder(self):
        return diffusion.latent_autoencoder((8, 8, 1), channels=1, width=2)

    def latent(self):
        small = {"latent_shape": (2, 2, 1), "widths": (8,), "blocks": 1}
        return self.compiled(diffusion.LatentDiffusion(self.autoencoder, **small))

    @functools.cached_property
    def tok(self):
        return text.CharTokenizer("abc")

    @functools.cached_property
    def bpe(self):
        return text.BPETokenizer.train(["abc abc"], 257)

    @functools.cached_property
    def ngram(self):
        model = text.NGram(self.tok, 2, 8)
        model.compile()
        return model

    @functools.cached_property
    def gpt(self):
        return self.compiled(text.GPT(self.tok, 8, 4, 1, 1), jit_compile=False)

    @functools.cached_property
    def features(self):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Flatten()(inputs)
        p = keras.layers.Dense(2, activation="softmax")(x)
        return metrics.Features(keras.Model(inputs, [x, p]), "flat")

    @functools.cached_property
    def fast(self):
        layers = {"content_layers": LAYERS, "style_layers": LAYERS}
        return self.compiled(style.FastStyleTransfer(PICTURE, 2, 0, **layers))

    @functools.cached_property
    def adain(self):
        return self.compiled(style.AdaIN(LAYERS))

    def scheduled(self):
        return self.compiled(self.transfer())

    def called(self):
        model = vae.DenoisingAutoencoder((8, 8, 1), width=2, code_channels=2)
        return self.compiled(model, optimizer=keras.optimizers.Adam(lambda: 0.1))

    def one_of_two(self):
        rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
        both = {"discriminator_optimizer": keras.optimizers.SGD(rate)}
        return self.compiled(gan.MLPGAN((2,), 3, (4,), (4,)), **both)

    def transfer(self, **arguments):
        defaults = {"content": PICTURE, "styles": PICTURE}
        layers = {"content_layers": LAYERS, "style_layers": LAYERS}
        return style.StyleTransfer(**{**defaults, **layers, **arguments})


@pytest.fixture(scope="module")
def m(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("refusals"))


# --- bad arguments and bad data: (call, name that the message begins with) ---

FIT = [
    (lambda m: m.gan.fit(), "x"),
    (lambda m: m.gan.fit("data"), "x"),
    (lambda m: m.gan.fit({"x": POINTS}), "x"),
    (lambda m: m.gan.fit([POINTS[0], POINTS[1]]), "x"),
    (lambda m: m.gan.fit((POINTS, LABELS)), "x"),
    (lambda m: m.gan.fit([POINTS]), "x"),
    (lambda m: m.gan.fit(POINTS.tolist()), "x"),
    (lambda m: m.gan.fit(5), "x"),
    (lambda m: m.gan.fit(POINTS.astype("U3")), "x"),
    (lambda m: m.gan.fit(POINTS.astype(object)), "x"),
    (lambda m: m.gan.fit(POINTS.astype(complex)), "x"),
    (lambda m: m.gan.fit(POINTS.astype(bool)), "x"),
    (lambda m: m.gan.fit(np.full((4, 2), inf, "float32")), "x"),
    (lambda m: m.gan.fit(dataset(POINTS), LABELS), "y"),
    (lambda m: m.gan.fit(POINTS[0]), "x"),
    (lambda m: m.gan.fit(POINTS[:, :0]), "x"),
    (lambda m: m.gan.fit(tf.data.Dataset.from_tensor_slices(POINTS)), "x"),
    (lambda m: m.gan.fit(dataset(POINTS, LABELS, LABELS.astype("float32"))), "sample_weight"),
    (lambda m: m.cgan.fit((np.zeros((2, *SHAPE), "float32"),) for _ in "ab"), "x"),
    (lambda m: m.gan.fit((POINTS + 9, LABELS) for _ in "ab"), "x"),
    (lambda m: m.gan.fit((POINTS, LABELS, LABELS) for _ in "ab"), "sample_weight"),
    (lambda m: m.gan.fit(POINTS, validation_data=(POINTS, None, LABELS)), "sample_weight"),
    (lambda m: m.gan.fit(PointsAndNone()), "x"),
    (lambda m: m.gan.train_on_batch(POINTS, sample_weight=LABELS), "sample_weight"),
    (lambda m: m.gan.train_on_batch(POINTS, class_weight={0: 1}), "class_weight"),
    (lambda m: m.gan.train_on_batch((POINTS, LABELS, LABELS)), "sample_weight"),
    (lambda m: m.gan.train_on_batch((POINTS, POINTS, POINTS, POINTS)), "x"),
    (lambda m: m.gan.test_on_batch(POINTS, sample_weight=LABELS), "sample_weight"),
    (lambda m: m.gan.test_on_batch(POINTS + 9), "x"),
    (lambda m: m.cgan.train_on_batch(np.zeros((2, *SHAPE), "float32")), "x"),
    (lambda m: m.gpt.train_on_batch(np.zeros((2, 5), int), np.zeros(2)), "x"),
    (lambda m: m.adain.train_on_batch(PICTURES), "x"),
    (lambda m: m.transfer().train_on_batch(PICTURES), "x"),
    (lambda m: m.gan.fit(tf.data.Dataset.from_tensor_slices({"x": POINTS}).batch(2)), "x"),
    (lambda m: m.gan.fit(dataset(POINTS.astype("U3"))), "x"),
    (lambda m: m.gan.fit(tf.data.Dataset.range(3)), "x"),
    (lambda m: m.gan.fit(np.array(0.5)), "x"),
    (lambda m: m.cgan.fit(np.zeros((4, 28, 28, 1), "float32"), [0, 1, 2]), "y"),
    (lambda m: m.cgan.fit(np.zeros((4, 28, 28, 1), "float32"), "abcd"), "y"),
    (lambda m: m.cvae.fit(dataset(IMAGES, np.array([0, 1, 2, 3]), n=4)), "labels"),
    (lambda m: m.cvae.fit(IMAGES, np.eye(4)), "labels"),
    (lambda m: m.gan.fit(POINTS, batch_size=0), "batch_size"),
    (lambda m: m.gan.fit(POINTS, batch_size=-1), "batch_size"),
    (lambda m: m.gan.fit(POINTS, batch_size=2.5), "batch_size"),
    (lambda m: m.gan.fit(POINTS, None, True), "batch_size"),
    (lambda m: m.gan.fit(POINTS, epochs="3"), "epochs"),
    (lambda m: m.gan.fit(POINTS, epochs=2.5), "epochs"),
    (lambda m: m.gan.fit(POINTS, epochs=-1), "epochs"),
    (lambda m: m.gan.fit(POINTS, epochs=nan), "epochs"),
    (lambda m: m.gan.fit(POINTS, steps_per_epoch=0), "steps_per_epoch"),
    (lambda m: m.gan.fit(dataset(POINTS), steps_per_epoch=-1), "steps_per_epoch"),
    (lambda m: m.gan.fit(POINTS, validation_split=1.5), "validation_split"),
    (lambda m: m.gan.fit(POINTS, validation_split=-1), "validation_split"),
    (lambda m: m.gan.fit(POINTS, sample_weight=np.ones(4)), "sample_weight"),
    (lambda m: m.gan.fit(keras.Variable(POINTS + 9)), "x"),  # arrays to Keras, as of pandas
    (lambda m: m.gan.fit(tf.ragged.constant([[0.1], [0.2, 0.3]])), "x"),
    (lambda m: m.gan.fit(POINTS, validation_data=keras.Variable(POINTS + 9)), "validation_data"),
    (lambda m: m.cvae.fit(IMAGES, LABELS, class_weight={0: 1}), "class_weight"),
    (
        lambda m: m.gan.fit(POINTS, validation_data=np.full((4, 2), nan, "float32")),
        "validation_data",
    ),
    (lambda m: m.gan.fit(POINTS, validation_data=POINTS[:, :1]), "validation_data"),
    (lambda m: m.gan.fit(POINTS, validation_data=dataset(POINTS * 255 + 255)), "validation_data"),
    (lambda m: m.cvae.fit(IMAGES, LABELS, validation_data=IMAGES), "validation_data"),
    (
        lambda m: m.cvae.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS + 5)),
        "validation_data|labels",
    ),
    (lambda m: m.gan.fit(POINTS, callbacks="x"), "callbacks"),
    (lambda m: m.gan.evaluate(POINTS * 255 + 255), "x"),
    (lambda m: m.gan.evaluate(POINTS.astype("uint8")), "x"),
    (lambda m: m.vae.evaluate(IMAGES.astype("uint8"), verbose=0), "x"),
    (lambda m: m.vae.evaluate(None), "x"),
    (lambda m: m.vae.evaluate(IMAGES[:0], verbose=0), "x"),
    (lambda m: m.gan.compile(metrics="mse"), "metrics"),
    (lambda m: m.gan.compile(metrics=["mse"]), "metrics"),
    (lambda m: m.gan.compile(loss="mse"), "loss"),
    (lambda m: m.gan.compile(m.adam, m.adam), "discriminator_optimizer"),
    (lambda m: m.gan.compile(optimizer="adam"), "optimizer"),
    (lambda m: m.gan.compile("adam", "mse"), "discriminator_optimizer"),
    (lambda m: m.gan.compile(5), "generator_optimizer"),
    (lambda m: m.gan.compile(discriminator_optimizer=""), "discriminator_optimizer"),
    (lambda m: m.gan.compile(jit_compile="yes"), "jit_compile"),
    (lambda m: m.gan.compile(run_eagerly="yes"), "run_eagerly"),
    (lambda m: m.gan.compile(steps_per_execution=0), "steps_per_execution"),
    (lambda m: m.vae.compile("adm"), "optimizer"),
    (lambda m: m.vae.compile("adam", "mse"), "metrics"),
    (lambda m: m.dae.compile("adam", "mse"), "jit_compile"),
    (lambda m: m.diff.compile(keras.optimizers.Adam), "optimizer"),
    (lambda m: m.gpt.compile("adam", "mse"), "jit_compile"),
    (lambda m: m.gpt.compile(0), "optimizer"),
    (lambda m: m.ngram.compile("adam"), "optimizer"),
    (lambda m: m.ngram.compile(jit_compile=True), "jit_compile"),
    (lambda m: m.adain.compile("adam", "mse"), "jit_compile"),
    (lambda m: style.coarse_to_fine(PICTURE, PICTURE, 2, 1, "adm"), "optimizer"),
    (lambda m: m.gpt.fit(IDS, callbacks=keras.callbacks.ReduceLROnPlateau()), "callbacks"),
    (lambda m: m.gpt.fit(IDS, callbacks=[keras.callbacks.LearningRateScheduler(abs)]), "callbacks"),
    (lambda m: m.gpt.fit(IDS, callbacks=[Halved(abs)]), "callbacks"),
    (lambda m: m.scheduled().fit(1, callbacks=[keras.callbacks.ReduceLROnPlateau()]), "callbacks"),
    (lambda m: m.called().fit(IMAGES, callbacks=[Halved(abs)]), "callbacks"),
    (lambda m: m.one_of_two().fit(POINTS, callbacks=[Halved(abs)]), "callbacks"),
    (lambda m: m.ngram.fit(IDS, callbacks=[keras.callbacks.ReduceLROnPlateau()]), "callbacks"),
    (lambda m: m.gan.fit(POINTS, callbacks=[keras.callbacks.SwapEMAWeights()]), "callbacks"),
    (lambda m: m.ngram.evaluate(IDS, callbacks=[keras.callbacks.SwapEMAWeights()]), "callbacks"),
    (lambda m: m.gan.fit(POINTS, callbacks=[keras.callbacks.ModelCheckpoint("m.h5")]), "callbacks"),
    (lambda m: m.gan.evaluate(POINTS, callbacks="x"), "callbacks"),
    (lambda m: m.gan.save("m.h5"), "filepath"),
    (lambda m: m.gan.save(Path("m.hdf5")), "filepath"),
    (lambda m: m.gpt.save("m"), "filepath"),
    (lambda m: m.vae.compile(metrics=["accuracy"]), "metrics"),
    (lambda m: m.vae.compile(loss="mse"), "loss"),
    (lambda m: m.dae.compile(metrics=["accuracy"]), "metrics"),
    (lambda m: m.gpt.fit(np.zeros((2, 5), int), np.zeros(2)), "x|y"),
    (
        lambda m: m.gpt.fit(np.zeros((2, 5), int), validation_data=np.zeros((2, 50), int)),
        "validation_data",
    ),
    (
        lambda m: m.gpt.fit(
            np.zeros((2, 5), int), validation_data=(np.zeros((2, 5), int), np.zeros(2))
        ),
        "validation_data",
    ),
    (lambda m: m.gpt.fit(m.gpt.windows(["abc"]).repeat()), "x"),
    (lambda m: m.gpt.fit(np.zeros((2, 5), int), sample_weight=np.ones(2)), "sample_weight"),
    (lambda m: m.gpt.fit(tf.ragged.constant([[1], [1, 2]])), "x"),
    (lambda m: m.gpt.fit(np.zeros((2, 5), int), epochs="3"), "epochs"),
    (lambda m: m.gpt.evaluate(np.zeros((2, 5))), "x"),
    (lambda m: m.gpt.evaluate(["abc"]), "x"),
    (lambda m: m.gpt.compile(loss="mse"), "loss"),
    (lambda m: m.gpt.compile(metrics=["accuracy"]), "metrics"),
    (lambda m: m.ngram.fit(np.zeros((2, 5), int), sample_weight=np.ones(2)), "sample_weight"),
    (lambda m: m.ngram.compile(loss="mse"), "loss"),
    (lambda m: m.ngram.fit(np.ones((2, 5), int), None, 32, 3), "epochs"),
    (lambda m: m.gan.fit(POINTS, initial_epoch="1"), "initial_epoch"),
    (lambda m: m.gan.fit(POINTS, None, 4, 1, 0, ["x"]), "callbacks"),
    (lambda m: m.gan.evaluate(POINTS, None, 4, 0, np.ones(4)), "sample_weight"),
    (lambda m: m.gan.fit(Endless()), "x"),
    (lambda m: m.latent().evaluate(IMAGES, verbose=0), "model"),
    (lambda m: m.transfer().fit(0), "steps_per_epoch"),
    (lambda m: m.transfer().fit(True), "steps_per_epoch"),
    (lambda m: m.transfer().fit(1, epochs="2"), "epochs"),
    (lambda m: m.transfer().fit(1, epochs=-2), "epochs"),
    (lambda m: m.transfer().fit(1, x=PICTURES), "x"),
    (lambda m: m.transfer().fit(1, validation_data=PICTURES), "validation_data"),
    (lambda m: m.transfer().evaluate(x=PICTURES), "x"),
    (lambda m: m.transfer().export("picture"), "model"),
    (lambda m: m.transfer().compile(loss="mse"), "loss"),
    (lambda m: m.transfer().fit(1, callbacks="x"), "callbacks"),
    (lambda m: m.fast.fit(None), "x"),
    (lambda m: m.fast.fit("x"), "x"),
    (lambda m: m.fast.fit(PICTURES * nan), "x"),
    (lambda m: m.fast.fit(PICTURES[:0]), "x"),
    (lambda m: m.fast.fit(dataset(PICTURES * nan)), "x"),
    (lambda m: m.fast.fit(PICTURES[..., :1]), "x"),
    (lambda m: m.fast.fit(PICTURE), "x"),
    (lambda m: m.fast.fit(PICTURES, validation_data=PICTURES * 9 + 9), "validation_data"),
    (lambda m: m.fast.fit(PICTURES, epochs=1.5), "epochs"),
    (lambda m: m.fast.evaluate(PICTURES.astype("uint8")), "x"),
    (lambda m: m.adain.fit(PICTURES, PICTURES * nan), "x"),
    (lambda m: m.adain.fit(dataset(PICTURES)), "x"),
    (lambda m: m.adain.fit(dataset(PICTURES, PICTURES), PICTURES), "y"),
    (lambda m: m.adain.fit(PICTURES, "x"), "y"),
    (lambda m: m.adain.fit(PICTURES, PICTURES, validation_data=PICTURES), "validation_data"),
    (lambda m: m.adain.evaluate(PICTURES), "x"),
    (lambda m: m.adain.fit(dataset(PICTURES, PICTURES, PICTURES)), "sample_weight"),
]

GAN = [
    (lambda m: gan.GAN(None, None, 3), "generator"),
    (lambda m: gan.GAN("dcgan", m.gan.discriminator, 3), "generator"),
    (lambda m: gan.GAN(headless(), m.gan.discriminator, 3), "generator"),
    (lambda m: gan.GAN(m.gan.generator, None, 3), "discriminator"),
    (lambda m: gan.GAN(m.gan.generator, headless(), 3), "discriminator"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, objective=["hinge"]), "objective"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, objective=None), "objective"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, objective=gan.hinge), "objective"),
    (
        lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, label_smoothing="a bit"),
        "label_smoothing",
    ),
    (
        lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, label_smoothing=True),
        "label_smoothing",
    ),
    (
        lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, gradient_penalty=inf),
        "gradient_penalty",
    ),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, seed="a"), "seed"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, seed=-1), "seed"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, seed=1.5), "seed"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, seed=True), "seed"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, seed=nan), "seed"),
    (lambda m: gan.GAN(m.gan.generator, m.gan.discriminator, 3, seed=2**40), "seed"),
    (lambda m: gan.DCGAN(None), "image_shape"),
    (lambda m: gan.DCGAN(28), "image_shape"),
    (lambda m: gan.DCGAN("28"), "image_shape"),
    (lambda m: gan.DCGAN((28.0, 28.0, 1)), "image_shape"),
    (lambda m: gan.DCGAN((28, 28, True)), "image_shape"),
    (lambda m: gan.DCGAN((None, None, 1)), "image_shape"),
    (lambda m: gan.DCGAN(SHAPE, latent_dim=0), "latent_dim"),
    (lambda m: gan.DCGAN(SHAPE, latent_dim=2.5), "latent_dim"),
    (lambda m: gan.DCGAN(SHAPE, latent_dim="64"), "latent_dim"),
    (lambda m: gan.DCGAN(SHAPE, latent_dim=None), "latent_dim"),
    (lambda m: gan.DCGAN(SHAPE, generator_width=0), "generator_width"),
    (lambda m: gan.DCGAN(SHAPE, generator_width=1), "generator_width"),
    (lambda m: gan.DCGAN(SHAPE, generator_width=2.5), "generator_width"),
    (lambda m: gan.DCGAN(SHAPE, discriminator_width=-1), "discriminator_width"),
    (lambda m: gan.DCGAN(SHAPE, discriminator_width="64"), "discriminator_width"),
    (lambda m: gan.MLPGAN(None), "image_shape"),
    (lambda m: gan.MLPGAN(2), "image_shape"),
    (lambda m: gan.MLPGAN((0,)), "image_shape"),
    (lambda m: gan.MLPGAN((-2,)), "image_shape"),
    (lambda m: gan.MLPGAN((2.5,)), "image_shape"),
    (lambda m: gan.MLPGAN(()), "image_shape"),
    (lambda m: gan.MLPGAN("ring"), "image_shape"),
    (lambda m: gan.MLPGAN((2,), generator_widths=5), "generator_widths"),
    (lambda m: gan.MLPGAN((2,), generator_widths=(0,)), "generator_widths.*"),
    (lambda m: gan.MLPGAN((2,), discriminator_widths=(2.5,)), "discriminator_widths.*"),
    (lambda m: gan.MLPGAN((2,), generator_widths="64"), "generator_widths"),
    (lambda m: gan.MLPGAN((2,), dropout=1.5), "dropout"),
    (lambda m: gan.MLPGAN((2,), dropout=-1), "dropout"),
    (lambda m: gan.MLPGAN((2,), dropout="x"), "dropout"),
    (lambda m: gan.MLPGAN((2,), latent_dim=0), "latent_dim"),
    (lambda m: gan.ConditionalGAN(SHAPE, 0), "num_classes"),
    (lambda m: gan.ConditionalGAN(SHAPE, True), "num_classes"),
    (lambda m: gan.ConditionalGAN(SHAPE, "10"), "num_classes"),
    (lambda m: gan.ConditionalGAN(SHAPE, 3, latent_dim=-1), "latent_dim"),
    (
        lambda m: gan.ConditionalGAN(
            SHAPE, 3, generator=m.gan.generator, discriminator=m.gan.discriminator, latent_dim=3
        ),
        "generator|discriminator",
    ),
    (lambda m: m.gan.generate("3"), "n"),
    (lambda m: m.gan.generate(True), "n"),
    (lambda m: m.gan.generate(nan), "n"),
    (lambda m: m.gan.generate(None), "n"),
    (lambda m: m.gan.generate(2, seed="a"), "seed"),
    (lambda m: m.gan.generate(2, seed=1.5), "seed"),
    (lambda m: m.gan.generate(2, seed=-1), "seed"),
    (lambda m: m.gan.generate(2, seed=True), "seed"),
    (lambda m: m.gan.generate(2, seed=[1]), "seed"),
    (lambda m: m.gan.generate(2, seed=2**40), "seed"),
    (lambda m: m.gan.generate(2, batch_size=0), "batch_size"),
    (lambda m: m.gan.generate(2, batch_size=1.5), "batch_size"),
    (lambda m: m.gan.generate(2, batch_size=None), "batch_size"),
    (lambda m: m.gan.decode(None), "latents"),
    (lambda m: m.gan.decode("a"), "latents"),
    (lambda m: m.gan.decode(np.zeros((0, 3))), "latents"),
    (lambda m: m.gan.decode(np.full((2, 3), nan)), "latents"),
    (lambda m: m.gan.decode(np.full((2, 3), inf)), "latents"),
    (lambda m: m.gan.decode([[1, 2, 3], [1, 2]]), "latents"),
    (lambda m: m.gan.decode(np.zeros((2, 3), complex)), "latents"),
    (lambda m: m.gan.decode(np.zeros((2, 3)), [0, 1]), "labels"),
    (lambda m: m.cgan.decode(np.zeros((2, 4))), "labels"),
    (lambda m: m.cgan.decode(np.zeros((2, 4)), [0]), "labels"),
    (lambda m: m.cgan.decode(np.zeros((2, 4)), [0, 3]), "labels"),
    (lambda m: m.cgan.decode(np.zeros((2, 4)), [0, 1], [2, 3]), "labels"),
    (lambda m: m.cgan.generate(2, labels="ab"), "labels"),
    (lambda m: m.cgan.generate(2, labels=[[0], [1, 2]]), "labels"),
    (lambda m: m.cgan.generate(2, labels=True), "labels"),
    (lambda m: m.cgan.generate(2, labels=[]), "labels"),
    (lambda m: m.cgan.generate(2, labels=nan), "labels"),
    (lambda m: m.cgan.generate(2, labels=2**70), "labels"),
]

VAE = [
    (lambda m: vae.VAE(None), "image_shape"),
    (lambda m: vae.VAE(8), "image_shape"),
    (lambda m: vae.VAE("8"), "image_shape"),
    (lambda m: vae.VAE((8.0, 8, 1)), "image_shape"),
    (lambda m: vae.VAE((0, 8, 1)), "image_shape"),
    (lambda m: vae.VAE((-8, 8, 1)), "image_shape"),
    (lambda m: vae.VAE((8, 8, True)), "image_shape"),
    (lambda m: vae.VAE((8, 8, 1), latent_dim="2"), "latent_dim"),
    (lambda m: vae.VAE((8, 8, 1), latent_dim=True), "latent_dim"),
    (lambda m: vae.VAE((8, 8, 1), width=0), "width"),
    (lambda m: vae.VAE((8, 8, 1), width=1.5), "width"),
    (lambda m: vae.VAE((8, 8, 1), width="8"), "width"),
    (lambda m: vae.VAE((8, 8, 1), hidden=0), "hidden"),
    (lambda m: vae.VAE((8, 8, 1), hidden=-2), "hidden"),
    (lambda m: vae.VAE((8, 8, 1), beta=inf), "beta"),
    (lambda m: vae.VAE((8, 8, 1), beta=None), "beta"),
    (lambda m: vae.VAE((8, 8, 1), free_bits=nan), "free_bits"),
    (lambda m: vae.VAE((8, 8, 1), likelihood=["gaussian"]), "likelihood"),
    (lambda m: vae.VAE((8, 8, 1), likelihood=None), "likelihood"),
    (lambda m: vae.VAE((8, 8, 1), encoder="conv"), "encoder"),
    (lambda m: vae.VAE((8, 8, 1), decoder=headless()), "decoder"),
    (lambda m: vae.VAE((8, 8, 1), seed="x"), "seed"),
    (lambda m: vae.VAE((8, 8, 1), seed=-3), "seed"),
    (lambda m: vae.ConditionalVAE((8, 8, 1), True), "num_classes"),
    (lambda m: vae.ConditionalVAE((8, 8, 1), None), "num_classes"),
    (lambda m: vae.DenoisingAutoencoder(None), "image_shape"),
    (lambda m: vae.DenoisingAutoencoder((8, 8, 1), width=0), "width"),
    (lambda m: vae.DenoisingAutoencoder((8, 8, 1), code_channels=0), "code_channels"),
    (lambda m: vae.DenoisingAutoencoder((8, 8, 1), noise_std=nan), "noise_std"),
    (lambda m: vae.DenoisingAutoencoder((8, 8, 1), noise_std=inf), "noise_std"),
    (lambda m: m.vae.encode(None), "images"),
    (lambda m: m.vae.encode("a"), "images"),
    (lambda m: m.vae.encode(np.full((2, 8, 8, 1), inf)), "images"),
    (lambda m: m.vae.encode([[1, 2], [3]]), "images"),
    (lambda m: m.vae.encode(IMAGES, batch_size=0), "batch_size"),
    (lambda m: m.vae.encode(IMAGES.astype(bool)), "images"),
    (lambda m: m.vae.decode(np.full((2, 2), nan)), "latents"),
    (lambda m: m.vae.decode(None), "latents"),
    (lambda m: m.vae.generate(2, seed="a"), "seed"),
    (lambda m: m.vae.generate(2, seed=1.5), "seed"),
    (lambda m: m.vae.generate(2, 1), "labels"),
    (lambda m: m.vae.generate(True), "n"),
    (lambda m: m.vae.log_likelihood(IMAGES, seed="a"), "seed"),
    (lambda m: m.vae.log_likelihood(IMAGES, batch_size=-1), "batch_size"),
    (lambda m: m.vae.log_likelihood(IMAGES, n_samples=True), "n_samples"),
    (lambda m: m.vae.active_units(IMAGES, threshold=nan), "threshold"),
    (lambda m: m.vae.active_units(IMAGES, threshold="x"), "threshold"),
    (lambda m: m.vae.active_units(IMAGES, threshold=-1), "threshold"),
    (lambda m: m.vae.interpolate(IMAGES, IMAGES[:2]), "end"),
    (lambda m: m.vae.interpolate(IMAGES, IMAGES, method=["linear"]), "method"),
    (lambda m: vae.interpolate_latents(POINTS, np.full((4, 2), nan), 3), "end"),
    (lambda m: vae.interpolate_latents("a", "b", 3), "start"),
    (lambda m: vae.interpolate_latents(None, None, 3), "start"),
    (lambda m: vae.interpolate_latents(POINTS[0], POINTS[0], 3), "start"),
    (lambda m: vae.interpolate_latents(POINTS, POINTS, True), "n"),
    (lambda m: vae.interpolate_latents(POINTS[:0], POINTS[:0], 3), "start"),
    (lambda m: m.dae.denoise(None), "images"),
    (lambda m: m.dae.denoise("x"), "images"),
    (lambda m: m.dae.denoise(IMAGES[:0]), "images"),
    (lambda m: m.dae.denoise(IMAGES * nan), "images"),
    (lambda m: m.dae.corrupt(IMAGES, seed="x"), "seed"),
    (lambda m: m.cvae.encode(IMAGES, [0, 1, 2]), "labels"),
    (lambda m: m.cvae.encode(IMAGES, LABELS, LABELS), "labels"),
]

DIFFUSION = [
    (lambda m: diffusion.DiffusionModel(None), "image_shape"),
    (lambda m: diffusion.DiffusionModel(8), "image_shape"),
    (lambda m: diffusion.DiffusionModel("8"), "image_shape"),
    (lambda m: diffusion.DiffusionModel((0,)), "image_shape"),
    (lambda m: diffusion.DiffusionModel((2.5,)), "image_shape"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1.0)), "image_shape"),
    (lambda m: diffusion.DiffusionModel((True,)), "image_shape"),
    (lambda m: diffusion.DiffusionModel(()), "image_shape"),
    (lambda m: diffusion.DiffusionModel((8, 8, 0)), "image_shape"),
    (lambda m: diffusion.DiffusionModel((2,), noise_schedule=None), "noise_schedule"),
    (lambda m: diffusion.DiffusionModel((2,), noise_schedule=["linear"]), "noise_schedule"),
    (lambda m: diffusion.DiffusionModel((2,), noise_schedule=diffusion.linear), "noise_schedule"),
    (lambda m: diffusion.DiffusionModel((2,), timesteps=True), "timesteps"),
    (lambda m: diffusion.DiffusionModel((2,), seed="x"), "seed"),
    (lambda m: diffusion.DiffusionModel((2,), network="unet"), "network"),
    (lambda m: diffusion.DiffusionModel((2,), num_classes=True), "num_classes"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths=8), "widths"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths=()), "widths"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths=(8.0,)), "widths"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths="88"), "widths"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths=(8,), patch=0), "patch"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths=(8,), patch=2.0), "patch"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths=(8,), blocks=0), "blocks"),
    (lambda m: diffusion.DiffusionModel((8, 8, 1), widths=(8,), blocks=True), "blocks"),
    (lambda m: diffusion.unet(None), "image_shape"),
    (lambda m: diffusion.unet((8, 8, 1), (8,), outputs=0), "outputs"),
    (lambda m: diffusion.unet((8, 8, 1), (8,), num_classes=-1), "num_classes"),
    (lambda m: diffusion.mlp(0), "dim"),
    (lambda m: diffusion.mlp(2.5), "dim"),
    (lambda m: diffusion.mlp(2, ()), "widths"),
    (lambda m: diffusion.mlp(2, (0,)), "widths.*"),
    (lambda m: diffusion.mlp(2, 5), "widths"),
    (lambda m: diffusion.mlp(2, outputs=0), "outputs"),
    (lambda m: diffusion.mlp(2, num_classes=-1), "num_classes"),
    (lambda m: diffusion.prediction_target("noize", 1, 2, 3, 4), "prediction"),
    (lambda m: diffusion.components("noize", 1, 2, 3, 4), "prediction"),
    (lambda m: diffusion.loss_weights("min-snr", "noise", np.array(0.5)), "loss_weighting"),
    (lambda m: diffusion.loss_weights("min_snr", "score", np.array(0.5)), "prediction"),
    (lambda m: diffusion.betas(diffusion.cosine, 0), "timesteps"),
    (lambda m: diffusion.betas(diffusion.cosine, 2.5), "timesteps"),
    (lambda m: diffusion.betas("cosine", 5), "noise_schedule"),
    (lambda m: diffusion.DDIM("20"), "steps"),
    (lambda m: diffusion.DDIM(True), "steps"),
    (lambda m: diffusion.DDIM(5, eta=True), "eta"),
    (lambda m: diffusion.DDIM(5, eta="x"), "eta"),
    (lambda m: diffusion.DDIM(5, spacing=["uniform"]), "spacing"),
    (lambda m: diffusion.DDPM(-1), "steps"),
    (lambda m: diffusion.Heun(0), "steps"),
    (lambda m: diffusion.DPMSolver(2.5), "steps"),
    (lambda m: m.diff.generate(2, seed="a"), "seed"),
    (lambda m: m.diff.generate(2, seed=1.5), "seed"),
    (lambda m: m.diff.generate(True), "n"),
    (lambda m: m.diff.generate(2, batch_size=None), "batch_size"),
    (lambda m: m.diff.generate(2, guidance_scale=None), "guidance_scale"),
    (lambda m: m.diff.generate(2, guidance_scale=True), "guidance_scale"),
    (lambda m: m.cdiff.generate(2, guidance_scale=inf), "guidance_scale"),
    (lambda m: m.cdiff.generate(2, labels="ab"), "labels"),
    (lambda m: m.cdiff.generate(2, labels=[[0], [1, 2]]), "labels"),
    (lambda m: m.cdiff.generate(2, labels=[]), "labels"),
    (lambda m: m.diff.inpaint(None, None), "images"),
    (lambda m: m.diff.inpaint([[1, 2], [3]], True), "images"),
    (lambda m: m.diff.variational_bound([[1, 2], [3]]), "images"),
    (lambda m: m.diff.variational_bound(POINTS, seed="x"), "seed"),
    (lambda m: m.diff.variational_bound(POINTS, batch_size=0), "batch_size"),
    (lambda m: m.diff.variational_bound(POINTS, n_steps=True), "n_steps"),
    (lambda m: m.cdiff.variational_bound(POINTS, [0, 1]), "labels"),
    (lambda m: diffusion.bits_per_dimension(1.0, ()), "image_shape"),
    (lambda m: diffusion.latent_autoencoder(None), "image_shape"),
    (lambda m: diffusion.latent_autoencoder((8, 8, 1), channels=0), "channels"),
    (lambda m: diffusion.latent_autoencoder((8, 8, 1), width=0), "width"),
    (lambda m: diffusion.latent_autoencoder((8, 8, 1), width=2, beta=-1), "beta"),
    (lambda m: diffusion.LatentDiffusion(None), "autoencoder"),
    (lambda m: diffusion.LatentDiffusion("vae"), "autoencoder"),
    (lambda m: diffusion.LatentDiffusion(m.gan), "autoencoder"),
    (lambda m: diffusion.LatentDiffusion(m.autoencoder, latent_shape=4), "latent_shape"),
    (lambda m: diffusion.LatentDiffusion(m.autoencoder, latent_shape=(-2, -2, 1)), "latent_shape"),
    (
        lambda m: diffusion.LatentDiffusion(m.autoencoder, latent_shape=(2.0, 2.0, 1)),
        "latent_shape",
    ),
    (lambda m: diffusion.LatentDiffusion(m.autoencoder, latent_shape=None), "latent_shape"),
    (lambda m: diffusion.LatentDiffusion(m.autoencoder, latent_shape=(4,)), "latent_shape"),
    (
        lambda m: diffusion.LatentDiffusion(
            m.autoencoder, latent_shape=(2, 2, 1), widths=(8,)
        ).generate(1),
        "model",
    ),
    (
        lambda m: diffusion.LatentDiffusion(
            m.autoencoder, latent_shape=(2, 2, 1), widths=(8,)
        ).adapt(np.full((4, 8, 8, 1), nan)),
        "x|images",
    ),
    (
        lambda m: diffusion.LatentDiffusion(
            m.autoencoder, latent_shape=(2, 2, 1), widths=(8,)
        ).adapt(dataset(IMAGES).take(0)),
        "x",
    ),
    (lambda m: diffusion.SinusoidalEmbedding("x"), "dim"),
]

TEXT = [
    (lambda m: text.CharTokenizer(None), "characters"),
    (lambda m: text.CharTokenizer(5), "characters"),
    (lambda m: text.CharTokenizer(b"ab"), "characters"),
    (lambda m: text.CharTokenizer(["a", 5]), "characters"),
    (lambda m: text.CharTokenizer("\ud800"), "characters"),
    (lambda m: text.CharTokenizer.train(None), "texts"),
    (lambda m: text.CharTokenizer.train("abc"), "texts"),
    (lambda m: text.CharTokenizer.train([]), "texts"),
    (lambda m: text.CharTokenizer.train([1]), "texts\\[0\\]"),
    (lambda m: text.CharTokenizer.train([b"a"]), "texts\\[0\\]"),
    (lambda m: m.tok.encode(None), "text"),
    (lambda m: m.tok.encode(5), "text"),
    (lambda m: m.tok.encode(b"ab"), "text"),
    (lambda m: m.tok.encode("a\ud800"), "text"),
    (lambda m: m.tok.encode(["a"]), "text"),
    (lambda m: m.tok.decode([99]), "tokens"),
    (lambda m: m.tok.decode([-5]), "tokens"),
    (lambda m: m.tok.decode(None), "tokens"),
    (lambda m: m.tok.decode("ab"), "tokens"),
    (lambda m: m.tok.decode([1.5]), "tokens"),
    (lambda m: m.tok.decode(3), "tokens"),
    (lambda m: m.tok.decode([[1, 2]]), "tokens"),
    (lambda m: m.bpe.decode([9999]), "tokens"),
    (lambda m: m.bpe.decode([-5]), "tokens"),
    (lambda m: m.bpe.decode(None), "tokens"),
    (lambda m: m.bpe.decode("ab"), "tokens"),
    (lambda m: m.bpe.decode([1.5]), "tokens"),
    (lambda m: m.bpe.decode([[1, 2]]), "tokens"),
    (lambda m: m.bpe.encode(None), "text"),
    (lambda m: m.bpe.encode(5), "text"),
    (lambda m: m.bpe.encode("a\ud800"), "text"),
    (lambda m: text.BPETokenizer(None), "model"),
    (lambda m: text.BPETokenizer("garbage"), "model"),
    (lambda m: text.BPETokenizer("{}"), "model"),
    (lambda m: text.BPETokenizer.train([]), "texts"),
    (lambda m: text.BPETokenizer.train("abc"), "texts"),
    (lambda m: text.BPETokenizer.train(None), "texts"),
    (lambda m: text.BPETokenizer.train(["a", 5]), "texts\\[1\\]"),
    (lambda m: text.BPETokenizer.train(["a"], True), "vocab_size"),
    (lambda m: text.keep_top(POINTS, top_k=0), "top_k"),
    (lambda m: text.keep_top(POINTS, top_k=-1), "top_k"),
    (lambda m: text.keep_top(POINTS, top_k=1.5), "top_k"),
    (lambda m: text.keep_top(POINTS, top_p=0), "top_p"),
    (lambda m: text.keep_top(POINTS, top_p=1.5), "top_p"),
    (lambda m: text.keep_top(POINTS, top_p=nan), "top_p"),
    (lambda m: text.keep_top(POINTS, top_p="x"), "top_p"),
    (lambda m: text.penalize_repetition(POINTS, POINTS > 0, 0.5), "repetition_penalty"),
    (lambda m: text.penalize_repetition(POINTS, POINTS > 0, nan), "repetition_penalty"),
    (lambda m: text.adamw(learning_rate=-1), "learning_rate"),
    (lambda m: text.adamw(learning_rate=nan), "learning_rate"),
    (lambda m: text.adamw(learning_rate="x"), "learning_rate"),
    (lambda m: text.adamw(warmup_steps=-1), "warmup_steps"),
    (lambda m: text.adamw(warmup_steps=1.5), "warmup_steps"),
    (lambda m: text.adamw(300, warmup_steps="x"), "warmup_steps"),
    (lambda m: text.adamw(weight_decay=-1), "weight_decay"),
    (lambda m: text.adamw(clipnorm=0), "clipnorm"),
    (lambda m: text.adamw(clipnorm=-1), "clipnorm"),
    (lambda m: text.adamw(clipnorm=nan), "clipnorm"),
    (lambda m: text.GPT("abc"), "tokenizer"),
    (lambda m: text.GPT(None), "tokenizer"),
    (lambda m: text.GPT(text.CharTokenizer), "tokenizer"),
    (lambda m: text.NGram("abc"), "tokenizer"),
    (lambda m: text.RNNLanguageModel(None), "tokenizer"),
    (lambda m: text.GPT(m.tok, 8.0), "context_length"),
    (lambda m: text.GPT(m.tok, 8, 4, 1, 1, seed="x"), "seed"),
    (lambda m: text.GPT(m.tok, 8, 4, 1, 1, seed=-1), "seed"),
    (lambda m: text.GPT(m.tok, positions=["rotary"]), "positions"),
    (lambda m: text.GPT(m.tok, width=True), "width"),
    (lambda m: text.GPT(m.tok, dropout=nan), "dropout"),
    (lambda m: text.NGram(m.tok, True), "order"),
    (lambda m: text.NGram(m.tok, 2, "8"), "context_length"),
    (lambda m: text.RNNLanguageModel(m.tok, ["gru"]), "cell"),
    (lambda m: text.RNNLanguageModel(m.tok, units=True), "units"),
    (lambda m: text.Recurrent(0), "units"),
    (lambda m: text.CausalSelfAttention(0), "num_heads"),
    (lambda m: text.CausalSelfAttention("x"), "num_heads"),
    (lambda m: text.CausalSelfAttention(2, positions="sine"), "positions"),
    (lambda m: text.TransformerBlock(0), "num_heads"),
    (lambda m: text.TransformerBlock(1, dropout=2), "dropout"),
    (lambda m: text.CausalSelfAttention(3).build((1, 2, 4)), "num_heads"),
    (lambda m: text.CausalSelfAttention(2)(np.zeros((1, 2, 2), "float32")), "num_heads"),
    (lambda m: m.ngram.windows("abc"), "texts"),
    (lambda m: m.ngram.windows([]), "texts"),
    (lambda m: m.ngram.windows(["a", None]), "texts\\[1\\]"),
    (lambda m: m.ngram.windows(["a"], seed="x"), "seed"),
    (lambda m: m.ngram.windows(["a"], seed=1.5), "seed"),
    (lambda m: m.ngram.windows(["a"], batch_size=True), "batch_size"),
    (lambda m: m.ngram.windows(["a\ud800"]), "texts.*|text"),
    (lambda m: m.ngram.generate("a", max_new_tokens=True), "max_new_tokens"),
    (lambda m: m.ngram.generate("a", temperature=None), "temperature"),
    (lambda m: m.ngram.generate("a", top_k="5"), "top_k"),
    (lambda m: m.ngram.generate("a", top_p=nan), "top_p"),
    (lambda m: m.ngram.generate("a", top_p=True), "top_p"),
    (lambda m: m.ngram.generate("a", repetition_penalty=inf), "repetition_penalty"),
    (lambda m: m.ngram.generate("a", seed=True), "seed"),
    (lambda m: m.ngram.generate({"a"}), "prompt"),
    (lambda m: m.ngram.generate("a\ud800"), "prompt"),
    (lambda m: m.ngram.generate(np.array(["a", "b"])), "prompt"),
    (lambda m: m.ngram.token_probabilities(None), "prompt"),
    (lambda m: m.ngram.surprisal(""), "text"),
    (lambda m: m.ngram.surprisal(None), "text|prompt"),
    (lambda m: m.ngram.surprisal("a" * 9), "text"),
    (lambda m: m.ngram.beam_search(None), "prompt"),
    (lambda m: m.ngram.beam_search("a", True), "n_beams"),
    (lambda m: m.ngram.beam_search("a", max_new_tokens=nan), "max_new_tokens"),
    (lambda m: m.gpt.attention(None), "text|prompt"),
    (lambda m: m.gpt.attention("x"), "text|prompt"),
    (lambda m: m.ngram.text_losses("abc"), "texts"),
    (lambda m: m.ngram.text_losses(["a"], batch_size=0), "batch_size"),
    (lambda m: poetry.quatrain(None), "model"),
    (lambda m: poetry.quatrain(m.gan), "model"),
    (lambda m: poetry.quatrain(m.ngram, first_line=5), "first_line"),
    (lambda m: poetry.quatrain(m.ngram, first_line=""), "first_line"),
    (lambda m: poetry.quatrain(m.ngram, acrostic=5), "acrostic"),
    (lambda m: poetry.quatrain(m.ngram, acrostic=["a"] * 4), "acrostic"),
    (lambda m: poetry.quatrain(m.ngram, line_length="5"), "line_length"),
    (lambda m: poetry.quatrain(m.ngram, line_length=5.0), "line_length"),
    (lambda m: poetry.quatrain(m.ngram, temperature="hot"), "temperature"),
    (lambda m: poetry.quatrain(m.ngram, temperature=nan), "temperature"),
    (lambda m: poetry.quatrain(m.ngram, top_p="x"), "top_p"),
    (lambda m: poetry.quatrain(m.ngram, n_candidates=True), "n_candidates"),
    (lambda m: poetry.rhyme(None), "character"),
    (lambda m: poetry.rhyme(""), "character"),
    (lambda m: poetry.rhyme("光明"), "character"),
    (lambda m: poetry.rhyme(5), "character"),
    (lambda m: poetry.rhymes("光", None), "character"),
    (lambda m: poetry.verses(None), "poem"),
    (lambda m: poetry.verses(5), "poem"),
    (lambda m: poetry.layout(0), "line_length"),
    (lambda m: poetry.layout("5"), "line_length"),
]

STYLE = [
    (lambda m: m.transfer(content=None), "content"),
    (lambda m: m.transfer(content="a.jpg"), "content"),
    (lambda m: m.transfer(content=[[1, 2], [3]]), "content"),
    (lambda m: m.transfer(content=PICTURE * nan), "content"),
    (lambda m: m.transfer(content=PICTURE.astype(bool)), "content"),
    (lambda m: m.transfer(styles="a.jpg"), "styles\\[0\\]"),
    (lambda m: m.transfer(styles=[PICTURE, None]), "styles\\[1\\]"),
    (lambda m: m.transfer(style_mix="ab"), "style_mix"),
    (lambda m: m.transfer(style_mix=(nan,)), "style_mix"),
    (lambda m: m.transfer(style_mix=(inf,)), "style_mix"),
    (lambda m: m.transfer(style_mix=5), "style_mix"),
    (lambda m: m.transfer(style_mix=(-1,)), "style_mix"),
    (lambda m: m.transfer(style_layers=5), "style_layers"),
    (lambda m: m.transfer(style_layers="block1_conv1"), "style_layers|layers"),
    (lambda m: m.transfer(style_layers={"block1_conv1": nan}), "style_layers.*"),
    (lambda m: m.transfer(style_layers={"block1_conv1": inf}), "style_layers.*"),
    (lambda m: m.transfer(content_layers=None), "content_layers"),
    (lambda m: m.transfer(style_layers=[["block1_conv1"]]), "style_layers|layers"),
    (lambda m: m.transfer(content_weight="1"), "content_weight"),
    (lambda m: m.transfer(content_weight=None), "content_weight"),
    (lambda m: m.transfer(variation_weight=nan), "variation_weight"),
    (lambda m: m.transfer(preserve_color="no"), "preserve_color"),
    (lambda m: m.transfer(preserve_color=None), "preserve_color"),
    (lambda m: m.transfer(initial=None), "initial"),
    (lambda m: m.transfer(initial=PICTURE * nan), "initial"),
    (lambda m: m.transfer(weights=None), "weights"),
    (lambda m: m.transfer(weights=["hed"]), "weights"),
    (lambda m: m.transfer(seed="x"), "seed"),
    (lambda m: m.transfer(seed=1.5), "seed"),
    (lambda m: m.transfer(dtype=5), "dtype"),
    (lambda m: m.transfer().generate(True), "n"),
    (lambda m: style.coarse_to_fine(None, PICTURE), "content"),
    (lambda m: style.coarse_to_fine(PICTURE, PICTURE, levels=0), "levels"),
    (lambda m: style.coarse_to_fine(PICTURE, PICTURE, levels=1.5), "levels"),
    (lambda m: style.coarse_to_fine(PICTURE, PICTURE, steps="5"), "steps"),
    (lambda m: style.feature_layers(None), "weights"),
    (lambda m: style.feature_layers(["hed"]), "weights"),
    (lambda m: style.PerceptualFeatures(None), "layers"),
    (lambda m: style.PerceptualFeatures("block1_conv1"), "layers"),
    (lambda m: style.PerceptualFeatures(5), "layers"),
    (lambda m: style.FastStyleTransfer(None), "style"),
    (lambda m: style.FastStyleTransfer(PICTURE, width=2.5), "width"),
    (lambda m: style.FastStyleTransfer(PICTURE, width="2"), "width"),
    (lambda m: style.FastStyleTransfer(PICTURE, n_blocks=True), "n_blocks"),
    (lambda m: style.transformer(0), "width"),
    (lambda m: style.transformer(2, -1), "n_blocks"),
    (lambda m: m.fast.stylize(None), "image"),
    (lambda m: m.fast.stylize("x"), "image"),
    (lambda m: m.fast.stylize(PICTURE * nan), "image"),
    (lambda m: m.fast.stylize(PICTURE, tile="x"), "tile"),
    (lambda m: m.fast.stylize(PICTURE, tile=64.5), "tile"),
    (lambda m: m.adain.stylize(None, PICTURE), "image"),
    (lambda m: m.adain.stylize(PICTURE, None), "alpha|styles"),
    (lambda m: m.adain.stylize(PICTURE, PICTURE, alpha="x"), "alpha"),
    (lambda m: m.adain.stylize(PICTURE, PICTURE, alpha=nan), "alpha"),
    (lambda m: m.adain.stylize(PICTURE, PICTURE, tile=0), "tile"),
    (lambda m: m.adain.stylize(PICTURE, [PICTURE, PICTURE], style_mix=(0, 0)), "style_mix"),
    (lambda m: style.AdaIN(5), "style_layers"),
    (lambda m: style.AdaIN(()), "style_layers|layers"),
    (lambda m: style.AdaIN("block1_conv1"), "style_layers|layers"),
    (lambda m: style.AdaIN(("block1_conv1",), decoder="x"), "decoder"),
    (lambda m: style.AdaIN(("block1_conv1",), decoder=m.gan.generator), "decoder"),
    (lambda m: style.adain_decoder(()), "channels"),
    (lambda m: style.adain_decoder(5), "channels"),
    (lambda m: style.adain_decoder((4,), 0), "width"),
    (lambda m: style.adain_decoder((0,)), "channels"),
    (lambda m: style.stylize("a", "b", size=True), "size"),
    (lambda m: style.stylize("a", "b", size="48"), "size"),
    (lambda m: style.stylize("a", "b", method=None), "method"),
    (lambda m: style.stylize("a", "b", method=["adain"]), "method"),
    (lambda m: style.stylize(None, "b"), "path|content_path"),
    (lambda m: style.in_tiles(lambda x: x, PICTURE, tile=True), "tile"),
]

METRICS = [
    (lambda m: metrics.frechet_distance(None, REAL), "real_features"),
    (lambda m: metrics.frechet_distance("x", REAL), "real_features"),
    (lambda m: metrics.frechet_distance(REAL, [[1, 2], [3]]), "fake_features"),
    (lambda m: metrics.frechet_distance(REAL.astype(complex), REAL), "real_features"),
    (lambda m: metrics.frechet_distance(REAL > 0, REAL), "real_features"),
    (
        lambda m: metrics.frechet_distance_from_moments("a", np.eye(2), np.zeros(2), np.eye(2)),
        "mean1",
    ),
    (
        lambda m: metrics.frechet_distance_from_moments(np.zeros(2), None, np.zeros(2), np.eye(2)),
        "cov1",
    ),
    (
        lambda m: metrics.frechet_distance_from_moments(
            np.zeros(2), -np.eye(2), np.zeros(2), np.eye(2)
        ),
        "cov1",
    ),
    (lambda m: metrics.kernel_distance(REAL, FAKE, n_subsets=True), "n_subsets"),
    (lambda m: metrics.kernel_distance(REAL, FAKE, n_subsets=2, seed="x"), "seed"),
    (lambda m: metrics.kernel_distance(REAL, FAKE, n_subsets=2, seed=-1), "seed"),
    (lambda m: metrics.kernel_distance(REAL, FAKE, n_subsets=2, seed=1.5), "seed"),
    (lambda m: metrics.kernel_distance(REAL, FAKE, subset_size=2.5), "subset_size"),
    (lambda m: metrics.inception_score(None), "probabilities"),
    (lambda m: metrics.inception_score([[0.5, 0.5]], n_splits=0), "n_splits"),
    (lambda m: metrics.precision_recall(REAL, FAKE, k="3"), "k"),
    (lambda m: metrics.precision_recall(REAL, FAKE, k=True), "k"),
    (lambda m: metrics.nearest_neighbours(REAL, FAKE, k=0), "k"),
    (lambda m: metrics.nearest_neighbours(REAL, FAKE, k=1.0), "k"),
    (lambda m: metrics.count_modes(REAL, FAKE, std=inf), "std"),
    (lambda m: metrics.count_modes(REAL, FAKE, std="x"), "std"),
    (lambda m: metrics.count_modes(REAL, FAKE, 1, n_std=0), "n_std"),
    (lambda m: metrics.count_modes(REAL, FAKE, 1, min_fraction=nan), "min_fraction"),
    (lambda m: metrics.bootstrap("frechet", REAL, FAKE), "metric"),
    (lambda m: metrics.bootstrap(None, REAL, FAKE), "metric"),
    (
        lambda m: metrics.bootstrap(metrics.frechet_distance, REAL, FAKE, n_resamples=1),
        "n_resamples",
    ),
    (lambda m: metrics.bootstrap(metrics.frechet_distance, REAL, FAKE, seed="x"), "seed"),
    (lambda m: metrics.Features(None, "x"), "model"),
    (lambda m: metrics.Features("x", "x"), "model"),
    (lambda m: metrics.Features(m.gan, "x"), "model"),
    (lambda m: metrics.Features(m.features.model, None), "name"),
    (lambda m: metrics.Features(m.features.model, "x", nan), "input_scale"),
    (lambda m: metrics.Features(m.features.model, "x", "1"), "input_scale"),
    (lambda m: metrics.Features(m.features.model, "x", 0), "input_scale"),
    (lambda m: m.features.extract(None), "images"),
    (lambda m: m.features.extract("x"), "images"),
    (lambda m: m.features.extract(5), "images"),
    (lambda m: m.features.extract([[1, 2], [3]]), "images"),
    (lambda m: m.features.extract(IMAGES, batch_size=True), "batch_size"),
    (lambda m: m.features.extract(IMAGES * nan), "images"),
    (lambda m: m.features.extract(IMAGES[:0]), "images"),
    (lambda m: m.features.extract(dataset(IMAGES * nan)), "images"),
    (lambda m: m.features.extract(dataset(IMAGES).repeat()), "images"),
    (lambda m: metrics.FrechetDistance(None), "features"),
    (lambda m: metrics.KernelDistance("x"), "features"),
    (lambda m: metrics.PrecisionRecall(m.features, k=0), "k"),
    (lambda m: metrics.PrecisionRecall(m.features, k=3, max_samples=3), "max_samples"),
    (lambda m: metrics.PrecisionRecall(m.features, k="3"), "k"),
    (lambda m: metrics.evaluate_samples(IMAGES, IMAGES, None), "features"),
    (lambda m: metrics.evaluate_samples(None, IMAGES, m.features), "images|fake_images"),
    (lambda m: metrics.evaluate_samples(IMAGES, (1, 2), m.features), "real_features|real_images"),
    (lambda m: metrics.evaluate_samples(IMAGES, IMAGES, m.features, seed="x"), "seed"),
    (lambda m: metrics.frechet_distance_from_moments([[1, 2], [3]], [[1]], [1], [[1]]), "mean1"),
    (lambda m: metrics.bits_per_character("a", "b"), "nats.*"),
    (lambda m: metrics.bits_per_character([1, nan], [1, 2]), "nats.*"),
    (lambda m: metrics.bits_per_character([1, 2], [0, 0]), "nats.*|characters"),
    (lambda m: metrics.bits_per_character([1, 2], [-1, 2]), "nats.*|characters"),
    (lambda m: metrics.bits_per_character(None, None), "nats.*"),
    (lambda m: metrics.ngram_overlap("abc", ["abc"], 1), "texts"),
    (lambda m: metrics.ngram_overlap(["abc"], "abc", 1), "reference"),
    (lambda m: metrics.ngram_overlap(None, ["abc"], 1), "texts"),
    (lambda m: metrics.ngram_overlap([5], ["abc"], 1), "texts"),
    (lambda m: metrics.ngram_overlap(["abc"], ["abc"], True), "n"),
    (lambda m: metrics.ngram_overlap([], ["abc"], 1), "texts"),
]

REST = [
    (lambda m: callbacks.SampleGrid(seed="x"), "seed"),
    (lambda m: callbacks.SampleGrid(seed=-1), "seed"),
    (lambda m: callbacks.SampleGrid(seed=1.5), "seed"),
    (lambda m: callbacks.SampleGrid(folder=5), "folder"),
    (lambda m: callbacks.SampleGrid(log_dir=5), "log_dir"),
    (lambda m: callbacks.SampleGrid(n="4"), "n"),
    (lambda m: callbacks.SampleGrid(every=0.5), "every"),
    (lambda m: callbacks.SampleGrid(unit=None), "unit"),
    (lambda m: callbacks.SampleGrid(unit=["epoch"]), "unit"),
    (lambda m: callbacks.SampleGrid().strip(), "n|batches|strip"),
    (lambda m: callbacks.SampleGrid().gif(m.folder / "a.gif"), "path|batches|gif"),
    (lambda m: callbacks.TimeLimit("5"), "limit"),
    (lambda m: callbacks.TimeLimit(nan), "limit"),
    (lambda m: callbacks.TimeLimit(True), "limit"),
    (lambda m: callbacks.TimeLimit(1, skip=1.5), "skip"),
    (lambda m: plots.tile(None, 2), "images"),
    (lambda m: plots.tile("x", 2), "images"),
    (lambda m: plots.tile(IMAGES, 0), "columns"),
    (lambda m: plots.tile(IMAGES, -1), "columns"),
    (lambda m: plots.tile(IMAGES, 1.5), "columns"),
    (lambda m: plots.tile(IMAGES * nan, 2), "images"),
    (lambda m: plots.tile(IMAGES[:0], 2), "images"),
    (lambda m: plots.tile(IMAGES.astype("uint8"), 2), "images"),
    (lambda m: plots.tile([[1, 2], [3]], 2), "images"),
    (lambda m: plots.grid(None), "images"),
    (lambda m: plots.grid(IMAGES[:0]), "images"),
    (lambda m: plots.grid(IMAGES, columns=0), "columns"),
    (lambda m: plots.grid([]), "images"),
    (lambda m: plots.strip([], []), "batches"),
    (lambda m: plots.strip([IMAGES], ["a", "b"]), "labels"),
    (lambda m: plots.strip(None, None), "batches"),
    (lambda m: plots.curves([]), "histories"),
    (lambda m: plots.curves({}), "keys"),
    (lambda m: plots.curves({"loss": [1]}, keys=["val"]), "keys"),
    (lambda m: plots.curves(None), "keys"),
    (lambda m: plots.curves("x"), "keys"),
    (lambda m: plots.curves([{"loss": [1]}], labels=[]), "labels"),
    (lambda m: plots.points(POINTS, [], []), "fakes"),
    (lambda m: plots.points(POINTS, [POINTS], ["a", "b"]), "labels"),
    (lambda m: plots.points(IMAGES, [POINTS], ["a"]), "real"),
    (lambda m: plots.latent_map(POINTS, LABELS, []), "names"),
    (lambda m: plots.latent_map(IMAGES, LABELS, ["a"]), "latents"),
    (lambda m: plots.latent_map(POINTS, LABELS[:2], ["a"]), "labels"),
    (lambda m: plots.bars([], [], [], "y"), "values"),
    (lambda m: plots.bars([1], [1, 2], ["a"], "y"), "errors"),
    (lambda m: plots.tokens([], []), "pieces"),
    (lambda m: plots.tokens(["a"], [1, 2]), "values"),
    (lambda m: plots.tokens(["a"], [nan]), "values"),
    (lambda m: plots.tokens(["a"], [1], columns=0), "columns"),
    (lambda m: plots.tokens([5], [1]), "pieces"),
    (lambda m: plots.attention([], [], []), "weights"),
    (lambda m: plots.attention(np.zeros((1, 2, 2)), ["a"], ["t"]), "pieces|weights"),
    (lambda m: plots.attention(np.zeros((1, 2, 2)), ["a", "b"], []), "titles"),
    (lambda m: plots.show(5), "thing"),
    (lambda m: plots.show("GAN"), "thing"),
    (lambda m: plots.show(None), "thing"),
    (lambda m: plots.show(m.gan), "thing"),
    (lambda m: plots.show(m.gan.generator), "thing"),
    (lambda m: plots.show(len), "thing"),
    (lambda m: plots.show(int), "thing"),
    (lambda m: plots.show(functools.partial(max)), "thing"),
    (lambda m: plots.figure("2"), "columns"),
    (lambda m: plots.figure(size=3), "size"),
    (lambda m: plots.grid([[1, 2], [3]]), "images"),
    (lambda m: plots.grid([None]), "images"),
    (lambda m: plots.grid(np.float32(1)), "images"),
    (lambda m: plots.grid({"a": IMAGES}), "images"),
    (lambda m: plots.grid(IMAGES, columns=2, row_labels=5), "row_labels"),
    (lambda m: plots.grid(IMAGES, columns=2, row_labels=["a"]), "row_labels"),
    (lambda m: plots.grid(IMAGES, columns=2, column_labels=["a"]), "column_labels"),
    (lambda m: plots.grid(IMAGES, inches="x"), "inches"),
    (lambda m: plots.strip([None], ["a"]), "images"),
    (lambda m: plots.strip([IMAGES], {"a"}), "labels"),
    (lambda m: plots.strip([IMAGES], ["a"], inches=0), "inches"),
    (lambda m: plots.curves({"loss": np.float32(1)}), "histories"),
    (lambda m: plots.curves({"loss": None}), "histories"),
    (lambda m: plots.curves({"loss": ["a"]}), "histories"),
    (lambda m: plots.curves({5: [1.0]}), "keys"),
    (lambda m: plots.curves({"loss": [1.0]}, keys=5), "keys"),
    (lambda m: plots.curves({"loss": [1.0]}, keys=[["loss"]]), "keys"),
    (lambda m: plots.points(POINTS, [None], ["a"]), "fakes\\[0\\]"),
    (lambda m: plots.points(POINTS, np.float32(1), ["a"]), "fakes"),
    (lambda m: plots.points(POINTS, [POINTS], ["a"], limit="x"), "limit"),
    (lambda m: plots.latent_map(POINTS, LABELS, None), "names"),
    (lambda m: plots.latent_map(POINTS, LABELS, ["a", "b"]), "labels"),
    (lambda m: plots.latent_map(POINTS, -LABELS, ["a", "b", "c"]), "labels"),
    (lambda m: plots.latent_map(POINTS, LABELS / 2, ["a", "b", "c"]), "labels"),
    (lambda m: plots.latent_map(POINTS, [*"abca"], ["a", "b", "c"]), "labels"),
    (lambda m: plots.latent_map(POINTS, LABELS[:, None], ["a", "b", "c"]), "labels"),
    (lambda m: plots.bars(np.array(1.0), [1], ["a"], "y"), "values"),
    (lambda m: plots.bars([None], [1], ["a"], "y"), "values"),
    (lambda m: plots.bars([[1, 2]], [1], ["a"], "y"), "values"),
    (lambda m: plots.bars([1], [-1], ["a"], "y"), "errors"),
    (lambda m: plots.bars([1], ["x"], ["a"], "y"), "errors"),
    (lambda m: plots.bars([1], [1], {"a"}, "y"), "labels"),
    (lambda m: plots.tokens(["a"], np.float32(1)), "values"),
    (lambda m: plots.tokens(["a"], [[1, 2]]), "values"),
    (lambda m: plots.attention(np.zeros((1, 2, 2)), None, ["t"]), "pieces"),
    (lambda m: plots.attention(np.zeros((1, 2, 2)), [1, 2], ["t"]), "pieces"),
    (lambda m: plots.attention([[["a"]]], ["a"], ["t"]), "weights"),
    (lambda m: m.ngram.predict(np.zeros((1, 4), int)), "model"),
    (lambda m: m.ngram.predict_on_batch(np.zeros((1, 4), int)), "model"),
    (lambda m: m.ngram.export(m.folder / "ngram"), "model"),
    (lambda m: m.ngram.quantize("int8"), "model"),
    (lambda m: images.read(None), "path"),
    (lambda m: images.read(b"x"), "path"),
    (lambda m: images.write(5, PICTURE), "path"),
    (lambda m: images.write(None, PICTURE), "path"),
    (lambda m: images.write(m.folder / "a.png", None), "image"),
    (lambda m: images.write(m.folder / "a.png", "x"), "image"),
    (lambda m: images.write(m.folder / "a.png", [[1, 2], [3]]), "image"),
    (lambda m: images.write(m.folder / "a.png", PICTURE[..., 0]), "image"),
    (lambda m: images.write(m.folder / "a.png", PICTURE + inf), "image"),
    (lambda m: images.write("", PICTURE), "path"),
    (lambda m: checkpoints.load(None), "name"),
    (lambda m: checkpoints.load([]), "name"),
    (lambda m: checkpoints.load(5), "name"),
    (lambda m: checkpoints.load("../tiny"), "name"),
    (lambda m: checkpoints.save(m.gan, "../evil", m.folder / "c"), "name"),
    (lambda m: checkpoints.save(m.gan, "a/b", m.folder / "c"), "name"),
    (lambda m: checkpoints.save(m.gan, "", m.folder / "c"), "name"),
    (lambda m: checkpoints.save(m.gan, 5, m.folder / "c"), "name"),
    (lambda m: checkpoints.save("model", "x", m.folder / "c"), "model"),
    (lambda m: checkpoints.save(None, "x", m.folder / "c"), "model"),
    (lambda m: checkpoints.save(m.gan, "x", m.folder / "c", fact={1, 2}), "fact.*"),
    (lambda m: checkpoints.save(m.gan, "x", m.folder / "c", fact=nan), "fact.*"),
    (lambda m: datasets.load(None), "name"),
    (lambda m: datasets.load([]), "name"),
    (lambda m: datasets.load("digits", split=None), "split"),
    (lambda m: datasets.load("digits", split="val"), "split"),
    (lambda m: datasets.load("digits", split=["train"]), "split"),
    (lambda m: datasets.load("digits", split="train[:0]"), "split"),
    (lambda m: datasets.load("digits", batch_size=None), "batch_size"),
    (lambda m: datasets.load("digits", batch_size="8"), "batch_size"),
    (lambda m: datasets.load("digits", image_size=nan), "image_size"),
    (lambda m: datasets.load("digits", image_size="8"), "image_size"),
    (lambda m: datasets.load("digits", image_size=True), "image_size"),
    (lambda m: datasets.load("digits", shuffle="no"), "shuffle"),
    (lambda m: datasets.load("digits", labels="yes"), "labels"),
    (lambda m: datasets.load("digits", labels=None), "labels"),
    (lambda m: datasets.load("digits", seed=None), "seed"),
    (lambda m: datasets.load("digits", seed=1.5), "seed"),
    (lambda m: datasets.load("digits", seed=2**70), "seed"),
    (lambda m: datasets.arrays(5), "name"),
    (lambda m: datasets.arrays("digits", "train", 0), "image_size"),
    (lambda m: datasets.arrays("digits", "train[5:5]"), "split"),
    (lambda m: datasets.arrays("digits", "train[:99999]"), "split"),
    (lambda m: datasets.arrays("digits", "train[-1%:]x"), "split"),
    (lambda m: datasets.text(None), "name"),
    (lambda m: datasets.text([]), "name"),
    (lambda m: datasets.text("kjv", 5), "split"),
    (lambda m: datasets.text("kjv", "train[0:0]"), "split"),
    (lambda m: datasets.describe(None), "name"),
    (lambda m: datasets.describe([]), "name"),
    (lambda m: datasets.describe(5), "name"),
    (lambda m: datasets.class_names(None), "name"),
    (lambda m: datasets.class_names([]), "name"),
    (lambda m: datasets.captions("train", None), "language"),
    (lambda m: datasets.captions("train", ["en"]), "language"),
    (lambda m: datasets.captions(5), "split"),
    (lambda m: datasets.photograph(None), "name"),
    (lambda m: datasets.photograph([]), "name"),
    (lambda m: datasets.photograph("chelsea", size="x"), "size"),
    (lambda m: datasets.photograph("chelsea", size=True), "size"),
    (lambda m: datasets.load("/nonexistent/folder"), "name"),
    (lambda m: datasets.load(""), "name"),
    (lambda m: patterns.draw(None), "name"),
    (lambda m: patterns.draw([]), "name"),
    (lambda m: patterns.draw("waves", True), "size"),
    (lambda m: patterns.draw("waves", "64"), "size"),
    (lambda m: patterns.draw("waves", 64, 2**33), "seed"),
    (lambda m: patterns.draw("waves", nan), "size"),
]


# What is accepted, or what is wrong where that says it.
SAYS = "(accepted|need|no folder|are not among|is empty or outside|call fit, or adapt)"


@pytest.mark.parametrize(
    ("call", "name"), FIT + GAN + VAE + DIFFUSION + TEXT + STYLE + METRICS + REST
)
def test_refused_by_name_before_any_step(m, call, name):
    with pytest.raises(ValueError, match=rf"(?s)^({name}): .*{SAYS}"):
        call(m)
    assert all(int(model.optimizer.iterations) == 0 for model in m.built)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_data_format", "channels_first"),
        ("floatx", "float64"),
        ("floatx", "float16"),
        ("floatx", "bfloat16"),
        ("dtype_policy", "float64"),
        ("dtype_policy", "bfloat16"),
    ],
)
def test_settings_of_keras_are_refused_by_name(m, name, value):
    """As of ~/.keras/keras.json, KERAS_FLOATX or a call: by a new model, and by a ready one."""
    before, build = getattr(keras.config, name)(), (gan.DCGAN, vae.VAE, diffusion.DiffusionModel)
    calls = [functools.partial(kind, SHAPE) for kind in build]
    calls += [lambda: text.GPT(m.tok), lambda: style.AdaIN(LAYERS), m.transfer]
    calls += [lambda: diffusion.latent_autoencoder(SHAPE), lambda: style.adain_decoder((64,))]
    ready = m.gan
    calls += [lambda: ready.fit(POINTS), lambda: ready.evaluate(POINTS)]
    set_to = getattr(keras.config, f"set_{name}")
    set_to(value)
    try:
        for call in calls[: None if name == "image_data_format" else -4] + calls[-2:]:
            with pytest.raises(ValueError, match=rf"^{name}: .*'{value}', accepted"):
                call()
    finally:
        set_to(before)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_datasets_of_other_floats_train_as_arrays_do(dtype):
    model = vae.VAE((8, 8, 1), 2, width=2, hidden=4, seed=0)
    model.compile(run_eagerly=True)
    data = np.random.default_rng(0).uniform(-1, 1, IMAGES.shape).astype(dtype)
    model.fit(dataset(data), validation_data=dataset(data), verbose=0)
    assert int(model.optimizer.iterations) == 2


def test_a_number_of_classes_may_be_numpys():
    n = LABELS.max() + 1
    for model in (
        gan.ConditionalGAN(SHAPE, n, 4, 8, 4),
        vae.ConditionalVAE((8, 8, 1), n, latent_dim=2, width=2, hidden=4),
        diffusion.DiffusionModel((2,), num_classes=n),
    ):
        assert json.dumps(model.get_config()["num_classes"]) == "3"


def test_nan_in_a_later_batch_stops_the_run(m):
    model = gan.MLPGAN((2,), 3, (4,), (4,))
    model.compile(run_eagerly=True)
    data = np.concatenate([POINTS, POINTS * nan])
    with pytest.raises(FloatingPointError, match="_loss became nan at step 3"):
        model.fit(dataset(data), verbose=0)


# --- the guards on arbitrary values ---

tries = settings(deadline=None, derandomize=True, max_examples=40)
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.lists(st.integers(-2, 40) | st.floats() | st.text(max_size=1), max_size=4)
    | st.dictionaries(st.text(max_size=1), st.integers(), max_size=2)
)


def passes_or_names(name, call, good):
    """`call` returns something for which `good` holds, or raises a ValueError beginning `name`."""
    try:
        result = call()
    except ValueError as error:
        assert str(error).startswith(name) and "accepted" in str(error)
    else:
        assert good(result)


@tries
@given(anything, st.integers(-3, 3), st.booleans())
def test_check_number(value, low, integer):
    def good(x):
        return low <= x < 9 and not isinstance(x, bool) and (isinstance(x, int) or not integer)

    passes_or_names("k: ", lambda: guards.check_number("k", value, low, 9, integer), good)


@tries
@given(anything)
def test_other_guards(value):
    a, n = "anything", value

    def images(name, parts):
        guards.check_images(name, parts[0], (2,))

    passes_or_names("k: ", lambda: guards.check_choice("k", n, ("a", "b")), lambda x: x in "ab")
    passes_or_names("seed: ", lambda: guards.check_seed(n), lambda x: x is None or 0 <= x < 2**32)
    passes_or_names("k: ", lambda: guards.check_shape("k", n, a), lambda x: x and min(x) >= 1)
    passes_or_names("k", lambda: guards.check_widths("k", n), lambda x: x is None)
    passes_or_names("k: ", lambda: guards.check_functional("k", n), lambda x: False)
    passes_or_names(
        "k: ",
        lambda: guards.check_numbers("k", n, "accepted: " + a),
        lambda x: x.dtype == "float32" and np.isfinite(x).all(),
    )
    passes_or_names("latents: ", lambda: guards.check_latents(n, 2), lambda x: False)
    passes_or_names("k: ", lambda: guards.as_images("k", n, (2,)), lambda x: False)
    passes_or_names("metrics: ", lambda: guards.check_metrics(n), lambda x: x == [])
    passes_or_names("x: ", lambda: guards.check_run(images, "accepted: " + a, n), lambda x: False)
    passes_or_names(
        "labels: ",
        lambda: guards.check_labels(n, 3, 5),
        lambda x: x.shape == (3,) and x.min() >= 0 and x.max() < 5,
    )


# Texts with halves of surrogate pairs, which no encoding of Unicode has.
strings = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20)


@tries
@given(strings)
def test_tokenizers_give_a_text_back_or_refuse_it(string):
    bpe = _bpe()
    known = text.CharTokenizer.train([string]) if string.isascii() else text.CharTokenizer("a")
    surrogates = any("\ud800" <= c <= "\udfff" for c in string)
    if surrogates:
        for refuses in (bpe.encode, known.encode, text.CharTokenizer):
            with pytest.raises(ValueError, match="surrogate"):
                refuses(string)
        return
    assert bpe.decode(bpe.encode(string)) == string
    if string:
        mine = text.CharTokenizer.train([string])
        assert mine.decode(mine.encode(string)) == string
    assert len(known.encode(string)) == len(string)


@functools.cache
def _bpe():
    return text.BPETokenizer.train(["the cat sat on the mat"], 262)


@tries
@given(anything)
def test_tokens_are_decoded_or_refused(value):
    for tokenizer in (_bpe(), text.CharTokenizer("abc")):
        passes_or_names("tokens: ", lambda t=tokenizer: t.decode(value), lambda x: x.isprintable)


@tries
@given(st.none() | st.integers(-2, 8) | anything, st.none() | st.floats(0, 1) | anything)
def test_keep_top_leaves_a_distribution_or_refuses(top_k, top_p):
    logits = np.array([[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]], "float32")
    try:
        left = np.isfinite(text.keep_top(logits, top_k, top_p))
    except ValueError as error:
        assert re.match(r"top_[kp]: got .*accepted", str(error))
    else:
        assert left[0, 3] and left.any(axis=1).all()


@tries
@given(
    st.dictionaries(
        st.sampled_from(
            ["max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed"]
        ),
        st.integers(-1, 3) | st.floats(-0.5, 2) | anything,
    ),
    st.text("abz\ud800", max_size=3),
)
def test_generate_continues_the_prompt_or_refuses(arguments, prompt):
    arguments = {k: 3 if k == "max_new_tokens" and v == 1e300 else v for k, v in arguments.items()}
    if isinstance(arguments.get("max_new_tokens"), int):
        arguments["max_new_tokens"] = min(arguments["max_new_tokens"], 5)
    try:
        written = _ngram().generate(prompt, **{"max_new_tokens": 4, **arguments})
    except ValueError as error:
        assert str(error).split(":")[0] in ("prompt", *arguments)
    else:
        assert written.startswith(prompt) and set(written) <= set("abc")


@functools.cache
def _ngram():
    model = text.NGram(text.CharTokenizer("abc"), 2, 8)
    model.compile()
    model.fit(model.windows(["abcab"], shuffle=False), verbose=0)
    return model


# --- files ---


class Evil:
    """Creates a file where a pickle of it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def saved(m, tmp_path):
    """A model as `tmp_path/gan.keras`, and that `module_that_marks` which marks its import."""
    m.gan.save(tmp_path / "gan.keras")
    (tmp_path / "module_that_marks.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'marker')!r}).touch()\nclass Evil: pass\n"
    )
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    assert "module_that_marks" not in sys.modules
    assert not (tmp_path / "marker").exists()


def rezipped(folder, **changed):
    """`gan.keras` with members changed or, with None, left out; "." in names is "_"."""
    path = folder / "changed.keras"
    with zipfile.ZipFile(folder / "gan.keras") as old, zipfile.ZipFile(path, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        members |= {name.replace("__", "."): value for name, value in changed.items()}
        for name, value in members.items():
            if value is not None:
                new.writestr(name, value)
    return path


def config_of(folder):
    with zipfile.ZipFile(folder / "gan.keras") as file:
        return json.loads(file.read("config.json"))


def evil_objects():
    """Configurations that name what Keras must neither import nor call."""
    for module, name in (
        ("module_that_marks", "Evil"),
        ("os", "system"),
        ("builtins", "eval"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("keras.utils", "get_file"),
        ("keras.src.saving.saving_api", "load_model"),
        ("aigc_keras.checkpoints", "load"),
    ):
        yield {"module": module, "class_name": name, "config": {}, "registered_name": name}
        yield {
            "module": module,
            "class_name": "function",
            "config": name,
            "registered_name": "function",
        }


def evil_lambda(folder):
    """A Sequential model with a Lambda that would create the marker."""
    path = str(folder / "marker")
    touch = keras.layers.Lambda(
        lambda x: __import__("pathlib").Path(path).touch() or x, output_shape=(2,)
    )
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    config = keras.saving.serialize_keras_object(model)
    config["config"]["layers"][-1] = keras.saving.serialize_keras_object(touch)
    return config


def test_a_marker_would_be_seen(tmp_path):
    """The attacks of the next tests work where nobody refuses them."""
    pickle.loads(pickle.dumps(Evil(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()
    (tmp_path / "marker").unlink()
    config = evil_lambda(tmp_path)
    model = keras.saving.deserialize_keras_object(config, safe_mode=False)
    model(np.zeros((1, 2), "float32"))
    assert (tmp_path / "marker").exists()


REFUSED = (ValueError, TypeError)  # what Keras documents, and what it raises for unknown classes


def test_nothing_that_a_configuration_names_is_executed(saved):
    config = config_of(saved)
    bad = [evil_lambda(saved), *evil_objects()]
    for each in bad:
        for whole in (
            each,
            {**config, "config": {**config["config"], "generator": each}},
            {**config, "compile_config": {"generator_optimizer": each}},
        ):
            path = rezipped(saved, config__json=json.dumps(whole))
            with pytest.raises(REFUSED):
                keras.models.load_model(path)
        path = npz(saved, config=np.array(json.dumps(each)))
        with pytest.raises(ValueError, match=r"tiny\.npz is no checkpoint"):
            checkpoints.load("tiny", saved)
    assert len(bad) == 17 and path.exists()


def npz(folder, content=None, **arrays):
    """A checkpoint `tiny` of these arrays, with the right SHA-256 in its manifest."""
    path = folder / "tiny.npz"
    if content is None:
        np.savez(path, **arrays)
    else:
        path.write_bytes(content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"tiny": {"sha256": digest}}))
    return path


@pytest.mark.filterwarnings("ignore:Skipping")
def test_no_pickle_is_loaded(saved, m):
    evil = Evil(saved / "marker")
    pickled, objects = pickle.dumps(evil), np.array([evil], dtype=object)
    before = [v.numpy() for v in m.gan.variables]
    for name in ("pickle.keras", "pickle.weights.h5", "pickle.h5"):
        (saved / name).write_bytes(pickled)
    with pytest.raises(ValueError, match=r"pickle\.keras.*accessible `\.keras` zip file"):
        keras.models.load_model(saved / "pickle.keras")
    with pytest.raises(OSError, match="file signature not found"):
        keras.models.load_model(saved / "pickle.h5")
    with pytest.raises(ValueError, match=r"pickle\.weights\.h5.*accepted"):
        m.gan.load_weights(saved / "pickle.weights.h5")
    np.savez(saved / "objects.npz", a=objects)
    for inside in (
        {"model__weights__h5": pickled},
        {"model__weights__h5": None, "model__weights__npz": (saved / "objects.npz").read_bytes()},
    ):
        with pytest.raises((OSError, ValueError)):
            keras.models.load_model(rezipped(saved, **inside))
    config = np.array(json.dumps(keras.saving.serialize_keras_object(m.gan)))
    for content in (
        {"content": pickled},
        {"config": config, "weight": objects},
        {"config": objects},
        {"content": b""},
        {"content": b"PK"},
        {"weight": POINTS},
        {"config": config},
        {"config": config, "weight": POINTS},
        {"config": np.array("[]")},
        {"config": np.array("{")},
    ):
        npz(saved, **content)
        with pytest.raises(ValueError, match=r"(?s)tiny\.npz is no checkpoint .*accepted is what"):
            checkpoints.load("tiny", saved)
    for a, b in zip(before, m.gan.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"tiny": 3}', '{"tiny": {}}', '{"tiny": null}']
)
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    for call in (checkpoints.names, checkpoints.manifest, lambda f: checkpoints.load("tiny", f)):
        with pytest.raises(ValueError, match=r"manifest\.json is truncated or altered"):
            call(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"config__json": None},
        {"config__json": "garbage"},
        {"config__json": "[]"},
        {"config__json": '{"class_name": "MLPGAN"}'},
        {"model__weights__h5": None},
        {"model__weights__h5": b""},
    ],
)
def test_a_keras_file_without_its_parts_is_refused(saved, changed):
    with pytest.raises((ValueError, TypeError, KeyError, OSError)):
        keras.models.load_model(rezipped(saved, **changed))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("latent_dim", -1), ("latent_dim", 4), ("objective", "least_bad"), ("ema_momentum", 2.0)],
)
def test_a_configuration_out_of_range_is_refused_as_an_argument_is(saved, argument, value):
    config = config_of(saved)
    config["config"][argument] = value
    with pytest.raises(ValueError, match=f"{argument}: got|generator: takes"):
        keras.models.load_model(rezipped(saved, config__json=json.dumps(config)))


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_weights_of_another_class_are_refused_and_change_nothing(m, tmp_path):
    models = {name: getattr(m, name) for name in ("gan", "vae", "dae", "diff", "cdiff", "gpt")}
    models["ngram"] = _ngram()
    models["gaussian"] = vae.VAE((8, 8, 1), 2, width=2, hidden=4, likelihood="gaussian")
    for name, model in models.items():
        model.save_weights(tmp_path / f"{name}.weights.h5")
    models["longer"] = text.NGram(models["ngram"].tokenizer, models["ngram"].order + 1, 8)
    models["longer"].compile()
    models["longer"].save_weights(tmp_path / "longer.weights.h5")
    for name, model in models.items():
        before = [v.numpy() for v in all_variables(model)]
        counts = repr(getattr(model, "counts", None))
        for other in set(models) - {name}:
            path = tmp_path / f"{other}.weights.h5"
            with pytest.raises(ValueError, match=rf"/{other}\.weights\.h5.*accepted"):
                model.load_weights(path)
        for a, b in zip(before, all_variables(model), strict=True):
            np.testing.assert_array_equal(a, b.numpy())
        assert repr(getattr(model, "counts", None)) == counts
        model.load_weights(tmp_path / f"{name}.weights.h5")


def all_variables(model):
    optimizers = [getattr(model, name, None) for name in ("optimizer", "discriminator_optimizer")]
    return [*model.variables, *(v for x in optimizers if x is not None for v in x.variables)]


def test_damaged_weights_are_refused_and_change_nothing(m, tmp_path):
    path = tmp_path / "gan.weights.h5"
    m.gan.save_weights(path)
    content = path.read_bytes()
    before = [v.numpy() for v in all_variables(m.gan)]
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"gan\.weights\.h5.*accepted"):
            m.gan.load_weights(path)
    for name in ("gan.txt", "gan.pkl"):
        with pytest.raises(ValueError, match=f"{name}.*accepted"):
            m.gan.load_weights(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.weights\.h5"):
        m.gan.load_weights(tmp_path / "none.weights.h5")
    for a, b in zip(before, all_variables(m.gan), strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_flipped_weights_are_refused_or_whole(m, tmp_path):
    """`save_weights` adds a SHA-256 of the content; files from before it was there still load."""
    path, chance, refused = tmp_path / "gan.weights.h5", random.Random(0), 0
    m.gan.save_weights(path)
    whole, wanted = path.read_bytes(), [v.numpy() for v in all_variables(m.gan)]
    numbers = []  # where they stand in the file; much else of HDF5 is not used

    def visit(_, item):
        if isinstance(item, h5py.Dataset) and item.size:
            numbers.append((item.id.get_offset(), item.nbytes))

    with h5py.File(path) as file:
        file.visititems(visit)
    for i in range(60):
        flipped = bytearray(whole)
        start, size = chance.choice(numbers) if i < 30 else (0, len(whole))
        flipped[start + chance.randrange(size)] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        for v in m.gan.trainable_variables:
            v.assign(v + 1)
        try:
            m.gan.load_weights(path)
        except ValueError as error:
            assert isinstance(error, OSError)  # for which Keras' BackupAndRestore waits
            refused += 1
            path.write_bytes(whole)
            m.gan.load_weights(path)
        for a, b in zip(wanted, all_variables(m.gan), strict=True):
            np.testing.assert_array_equal(a, b.numpy())
    assert 30 <= refused < 60
    with h5py.File(path, "r+") as file:
        name = next(iter(file["generator/layers"]))
        file[f"generator/layers/{name}/vars/0"][:] += 1
    with pytest.raises(ValueError, match=r"gan\.weights\.h5.*SHA-256"):
        m.gan.load_weights(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]
    m.gan.load_weights(path)
    path.write_bytes(whole)
    m.gan.load_weights(path)


def test_a_backup_of_an_older_version_without_its_text_is_refused(m, tmp_path):
    m.gan.save_weights(tmp_path / "latest.weights.h5")  # outside of `fit` it knows no epoch
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(ValueError, match=r"^backup_dir: .*training_metadata\.json.*accepted"):
        m.gan.fit(POINTS, callbacks=[backup], verbose=0)


def test_a_backup_without_its_weights_is_refused(m, tmp_path):
    """Keras would skip the epochs that the text says are done, with weights that saw none."""
    (tmp_path / "training_metadata.json").write_text('{"epoch": 2, "batch": 0}')
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(
        ValueError, match=r"^backup_dir: .*latest\.weights\.h5 is missing.*accepted"
    ):
        m.gan.fit(POINTS, epochs=3, callbacks=[backup], verbose=0)


def test_a_lambda_that_no_file_gives_back_is_refused_at_once(m):
    inputs = keras.Input((3,))
    crop = keras.layers.Lambda(lambda x: x[:, :2], (2,), name="crop")
    nested = keras.Model(inputs, keras.Model(inputs, crop(inputs))(inputs))
    with pytest.raises(ValueError, match=r"^generator: its layer 'crop' is a Lambda.*accepted"):
        gan.GAN(nested, m.gan.discriminator, 3)


def test_truncated_and_flipped_files_raise_or_are_whole(saved, m):
    """CRC-32 of the zip, and SHA-256 of the manifest, catch what is altered in what is read."""
    whole = (saved / "gan.keras").read_bytes()
    wanted = [v.numpy() for v in m.gan.variables]
    damaged = saved / "damaged.keras"
    chance, outcomes = random.Random(0), []
    for i in range(60):
        at = chance.randrange(len(whole))
        # The last kilobyte is the directory, where an altered date changes nothing.
        at = at if i < 40 else len(whole) - 1 - at % 1000
        flipped = bytearray(whole)
        flipped[at] ^= 1 << chance.randrange(8)
        damaged.write_bytes(whole[:at] if i % 3 == 0 else bytes(flipped))
        try:
            model = keras.models.load_model(damaged)
        except Exception:  # which one depends on the place: BadZipFile, ValueError, ...
            outcomes.append("raised")
        else:
            outcomes.append("whole")
            assert i % 3, "a truncated file was loaded"
            for a, b in zip(wanted, model.variables, strict=True):
                np.testing.assert_array_equal(a, b.numpy())
    assert outcomes.count("raised") > 40


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.data())
def test_an_altered_checkpoint_is_refused(data):
    folder, content = _checkpoint()
    at = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(0, 255))
    altered = bytearray(content)
    altered[at] ^= flip
    (folder / "tiny.npz").write_bytes(bytes(altered) if flip else content[:at])
    with pytest.raises(ValueError, match=r"tiny\.npz is truncated or altered"):
        checkpoints.load("tiny", folder)


_folder = types.SimpleNamespace(path=None)


@pytest.fixture(autouse=True, scope="module")
def _checkpoint_folder(tmp_path_factory):
    _folder.path = tmp_path_factory.mktemp("checkpoints")


@functools.cache
def _checkpoint():
    checkpoints.save(
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), "tiny", _folder.path
    )
    return _folder.path, (_folder.path / "tiny.npz").read_bytes()


# --- disk full, and interrupted writes: what was there survives ---


@contextlib.contextmanager
def full_disk(size):
    """No file of this process can grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def grid():
    callback = callbacks.SampleGrid(n=1, display=False)
    callback.batches = [np.random.default_rng(i).uniform(-1, 1, (1, 16, 16, 3)) for i in range(3)]
    return callback


NOISE = np.random.default_rng(0).uniform(-1, 1, (64, 64, 3))
WRITERS = {
    "model.keras": lambda model, path: model.save(path),
    "model.weights.h5": lambda model, path: model.save_weights(path),
    "best.keras": lambda model, path: model_checkpoint(model, path, False),
    "best.weights.h5": lambda model, path: model_checkpoint(model, path, True),
    "tiny.npz": lambda model, path: checkpoints.save(model, "tiny", path.parent),
    "picture.png": lambda model, path: images.write(path, NOISE),
    "picture.jpg": lambda model, path: images.write(path, NOISE),
    "training.gif": lambda model, path: grid().gif(path),
}


def model_checkpoint(model, path, weights_only):
    saver = keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)
    saver.set_model(model)
    saver.on_epoch_end(0, {})


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_previous_file(m, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](m.gan, path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert len(before[name]) > 1000
    with full_disk(1000), pytest.raises(OSError):
        WRITERS[name](m.gan, path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    WRITERS[name](m.gan, path)  # and with space again it works


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def half(*args, **kwargs):
    """`write(self, path)`, or `write(path)`, that is interrupted in the middle."""
    with open(next(x for x in args if isinstance(x, str | Path)), "wb") as file:
        file.write(b"half")
    stop()


@pytest.mark.parametrize("name", [*WRITERS, "manifest.json"])
def test_an_interruption_leaves_the_previous_file(m, tmp_path, monkeypatch, name):
    path = tmp_path / name
    write = WRITERS.get(name, lambda model, path: checkpoints.save(model, "tiny", path.parent))
    write(m.gan, path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        if name.endswith((".keras", ".h5")):
            patch.setattr(gan.GAN, "save_own_variables", stop)  # in the middle of the layers
        elif name == "tiny.npz":
            patch.setattr(np, "savez_compressed", half)
        elif name.endswith(".gif"):
            patch.setattr(Image.Image, "save", half)
        else:
            patch.setattr(Path, "write_bytes", half)
        with pytest.raises(KeyboardInterrupt):
            write(m.gan, path)
    assert path.read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("partial")]


def test_replaced_passes_errors_on_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    for error in (OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)), replaced(path) as partial:
            partial.write_text("aft")
            raise error
        assert os.listdir(tmp_path) == ["file"] and path.read_text() == "before"
    with replaced(path) as partial:
        partial.write_text("after")
    assert os.listdir(tmp_path) == ["file"] and path.read_text() == "after"
