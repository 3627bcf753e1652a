"""What few pictures are worth: `bench.py --little-data SECONDS`, whose figures chapter 07 reads.

A row is written as soon as it is measured, and a later run goes on after the last one. Five kinds:

- "drawn": a model trained for so many seconds on n pictures, and how far 2,000 drawn ones are from
  the test pictures; how near the nearest of the n is to drawn and to unseen pictures.
- "course": the same training, five times as long, looked at after each part: the distance, and the
  discriminator's mean logit on its n pictures, on unseen and on drawn ones.
- "labels": the accuracy of a semi-supervised VAE with ten labels a class, after twice the seconds.
- "real": the n pictures themselves as samples: what a model has that repeats all that it saw.
- "classifier": the accuracy on all test pictures of a classifier trained on n real pictures, on
  generated ones or on both, in equally many steps.
"""

import functools
import itertools
import warnings
from pathlib import Path

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
import numpy as np
import tensorflow as tf
from keras import layers

OUTPUT = Path(__file__).resolve().parents[2] / "data" / "little_data.json"
UNIT = "seconds"
SHAPE = (28, 28, 1)
COUNTS = (100, 1_000, 10_000, 60_000)
REAL_COUNTS = (100, 1_000, 60_000)  # of the classifiers
SEEDS = 3
N_DRAWN = 2_000
N_TRAINING = 10_000  # generated pictures of a classifier
SAME = "conditional GAN of the same n"
MIXTURES = (  # (generator, share of real pictures) in what a classifier sees
    (None, 1.0),
    *itertools.product(("conditional GAN", "latent diffusion", SAME), (0.0, 0.5)),
)
STEPS, BATCH_SIZE = 1_000, 64  # of a classifier
SAMPLER = ak.diffusion.DPMSolver(12)
SMALL = {"latent_dim": 64, "generator_width": 64, "discriminator_width": 32}


@functools.cache
def pictures(split):
    return ak.datasets.arrays("fashion_mnist", split)


@functools.cache
def features():
    return ak.metrics.fashion_features()


@functools.cache
def test_features():
    return features().extract(pictures("test")[0])[0]


def part(n, seed):
    """`n` random training pictures, float32 (n, 28, 28, 1), and their labels."""
    chosen = np.random.default_rng(seed).permutation(60_000)[:n]
    images, labels = pictures("train")
    return images[chosen], labels[chosen]


# --- models, each compiled ---


def gan(**kwargs):
    model = ak.gan.DCGAN(SHAPE, **SMALL, **kwargs)
    model.compile()
    return model


def conditional_gan():
    model = ak.gan.ConditionalGAN(SHAPE, num_classes=10, **SMALL)
    model.compile()
    return model


def diffusion():
    """Small, and with a short memory in its average, for it has some hundred steps."""
    model = ak.diffusion.DiffusionModel(SHAPE, widths=(16, 32), blocks=1, ema_momentum=0.99)
    model.compile(ak.optimizers.Adam(2e-3))
    return model


MODELS = {  # name: (function that builds it, batch size)
    "GAN": (gan, 16),
    "diffusion": (diffusion, 32),
    "GAN, augmented": (functools.partial(gan, augment="adaptive"), 16),
}


def batches(data, order, batch_size):
    """Batches of the rows of arrays whose numbers the dataset `order` gives."""
    data = tf.nest.map_structure(tf.constant, data)
    order = order.batch(batch_size)
    return order.map(lambda i: tf.nest.map_structure(lambda x: tf.gather(x, i), data)).prefetch(2)


def train(model, data, batch_size, seconds, seed):
    """Train on arrays for so long, the first steps apart; returns the clock."""
    order = tf.data.Dataset.range(len(tf.nest.flatten(data)[0]))
    order = batches(data, order.shuffle(60_000, seed=seed).repeat(), batch_size)
    clock = ak.callbacks.TimeLimit(seconds, skip=10)
    model.fit(order, steps_per_epoch=10**9, verbose=0, callbacks=[clock], shuffle=False)
    return clock


# --- rows ---


def frechet(images):
    """Fréchet distance to all test pictures; with 100 pictures it is much too large, as is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ak.metrics.frechet_distance(test_features(), features().extract(images)[0])


def nearness(images, reference):
    """Median and 5 % quantile of the distance, in pixels, to the nearest picture of `reference`."""
    flat = (x.reshape(len(x), -1) for x in (images[:1_000], reference))
    distances, _ = ak.metrics.nearest_neighbours(*flat)
    return [float(q) for q in np.quantile(distances, (0.5, 0.05))]


def drawn(model, n, seed, seconds):
    images, _ = part(n, seed)
    build, batch_size = MODELS[model]
    keras.utils.set_random_seed(seed)
    network = build()
    clock = train(network, images, batch_size, seconds, seed)
    more = {"sampler": SAMPLER} if model == "diffusion" else {}
    samples = network.generate(N_DRAWN, seed=seed, **more)
    return {
        "frechet": frechet(samples),
        "nearest_of_drawn": nearness(samples, images),
        "nearest_of_unseen": nearness(pictures("test")[0], images),
        "steps": clock.steps,
        "seconds": clock.seconds,
    }


def course(model, n, seed, seconds):
    images, _ = part(n, seed)
    build, batch_size = MODELS[model]
    keras.utils.set_random_seed(seed)
    network = build()
    distances, logits, spent = [], [], []
    for i in range(5):
        spent.append(train(network, images, batch_size, seconds, seed + i).seconds)
        samples = network.generate(N_DRAWN, seed=seed)
        distances.append(frechet(samples))
        shown = images[:100], pictures("test")[0][:1_000], samples[:1_000]
        logits.append([float(tf.reduce_mean(network.discriminator(x))) for x in shown])
    return {"frechet": distances, "logits": logits, "seconds": spent}


def labels(seed, seconds):
    images, known = ak.datasets.few("fashion_mnist", 10, seed)
    others = ak.datasets.load("fashion_mnist", batch_size=32, seed=seed)
    rows = ak.datasets.partly_labelled(others, images, known, n=16, seed=seed).repeat()
    keras.utils.set_random_seed(seed)
    model = ak.semi_supervised.SemiSupervisedVAE(SHAPE, num_classes=10)
    model.compile()
    clock = ak.callbacks.TimeLimit(2 * seconds, skip=10)
    model.fit(rows, steps_per_epoch=10**9, verbose=0, callbacks=[clock], shuffle=False)
    test, wanted = pictures("test")
    accuracy = float(np.mean(model.classify(test).argmax(axis=1) == wanted))
    return {"accuracy": accuracy, "steps": clock.steps, "seconds": clock.seconds}


def real(n, seed):
    images, _ = part(n, seed)
    return {"frechet": frechet(images)}


def small_classifier():
    """Images (B, 28, 28, 1) to logits (B, 10)."""
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(ak.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return network


@functools.lru_cache(maxsize=3)
def generated(generator, n, seed, seconds):
    """10,000 pictures and their labels; `n` real ones have taught the generator `SAME`."""
    labels = np.arange(N_TRAINING, dtype="int32") % 10
    if generator == "latent diffusion":
        model = ak.checkpoints.load("latent_diffusion_fashion_mnist")
        images = model.generate(N_TRAINING, labels, guidance_scale=1.0, sampler=SAMPLER, seed=seed)
    elif generator == "conditional GAN":
        model = ak.checkpoints.load("conditional_gan_fashion_mnist")
        images = model.generate(N_TRAINING, labels, seed=seed)
    else:
        keras.utils.set_random_seed(seed)
        model = conditional_gan()
        train(model, part(n, seed), 16, seconds, seed)
        images = model.generate(N_TRAINING, labels, seed=seed)
    return images, labels


def classifier(generator, n, seed, seconds, share):
    """Accuracy after training on so large a share of real pictures, the rest generated."""
    images, labels = part(n, seed)
    if share < 1:
        # The checkpoints know all training pictures, whatever n is: their pictures are drawn once.
        known = (n, seed) if generator == SAME else (None, 0)
        more, more_labels = generated(generator, *known, seconds)
        images, labels = np.concatenate([images, more]), np.concatenate([labels, more_labels])
    rng = np.random.default_rng(seed)
    size = STEPS * BATCH_SIZE
    rows = np.where(
        rng.random(size) < share,
        rng.integers(n, size=size),
        n + rng.integers(N_TRAINING, size=size),
    )
    order = tf.data.Dataset.from_tensor_slices(rows)
    keras.utils.set_random_seed(seed)
    network = small_classifier()
    network.fit(batches((images, labels), order, BATCH_SIZE), shuffle=False, verbose=0)
    _, accuracy = network.evaluate(*pictures("test"), batch_size=500, verbose=0)
    return {"accuracy": accuracy}


def jobs(seconds):
    """(what a row is, function that measures it), the most wanted first."""

    for seed, n in itertools.product(range(SEEDS), COUNTS):
        yield {"kind": "real", "n": n, "seed": seed}, functools.partial(real, n, seed)
    for seed, n, model in itertools.product(range(SEEDS), COUNTS, ("GAN", "diffusion")):
        key = {"kind": "drawn", "model": model, "n": n, "seed": seed}
        yield key, functools.partial(drawn, model, n, seed, seconds)
    for seed, n, (generator, share) in itertools.product(range(SEEDS), REAL_COUNTS, MIXTURES):
        if share == 0 and generator != SAME and n != REAL_COUNTS[0]:
            continue  # nothing in it depends on n
        key = {"kind": "classifier", "generator": generator, "share": share, "n": n, "seed": seed}
        yield key, functools.partial(classifier, generator, n, seed, seconds, share)
    for model, n in (("GAN", 100), ("GAN, augmented", 100), ("GAN", 60_000)):
        key = {"kind": "course", "model": model, "n": n, "seed": 0}
        yield key, functools.partial(course, model, n, 0, seconds)
    for seed in range(5):
        yield {"kind": "labels", "seed": seed}, functools.partial(labels, seed, seconds)
