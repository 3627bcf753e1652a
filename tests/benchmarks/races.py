"""How good do the models get in the same training time? The races of `bench.py --race SECONDS`.

Only training counts: neither the first steps, which build the graph, nor the scoring afterwards.
"""

import functools
import statistics
import sys
from dataclasses import dataclass

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
from keras import layers
from style_loops import style_race

IMAGE_SHAPE = (28, 28, 1)


@dataclass(frozen=True)
class Contestant:
    setting: str
    build: object  # function without arguments that gives a compiled model
    batch_size: int
    seeds: int = 1  # as many runs, with seeds from 0
    labels: bool = False
    learning_rate: float = 1.0  # factor on that of the compiled model


@dataclass(frozen=True)
class Race:
    score: object  # function (model, seed) -> {name: number}
    contestants: tuple
    limit: float = float("inf")  # seconds of training that are enough

    def __call__(self, seconds, max_seeds=None):
        """Every contestant with every seed, one after the other, for at most `seconds` each."""
        seconds = min(seconds, self.limit)
        results = [
            {"setting": c.setting, "seeds": [], "failed": [], "scores": {}}
            for c in self.contestants
        ]
        # Seed by seed, so that a slow hour of the machine hits all contestants alike.
        for seed in range(max_seeds or max(c.seeds for c in self.contestants)):
            for contestant, result in zip(self.contestants, results, strict=True):
                if seed >= contestant.seeds:
                    continue
                print(f"race: {contestant.setting}, seed {seed}", file=sys.stderr, flush=True)
                try:
                    scores = train_and_score(contestant, self.score, seconds, seed)
                except FloatingPointError as error:  # a loss that turned NaN is a result, too
                    result["failed"].append(f"seed {seed}: {str(error).partition('. ')[0]}")
                    continue
                result["seeds"].append(seed)
                for name, value in scores.items():
                    result["scores"].setdefault(name, {"values": []})["values"].append(value)
        for result in results:
            for score in result["scores"].values():
                score["mean"] = statistics.fmean(score["values"])
        return results


def fit_for(model, data, seconds):
    """Train through `fit`, as a student does; the first steps, which trace, are not timed."""
    timer = ak.callbacks.TimeLimit(seconds, skip=10)
    model.fit(data.repeat(), steps_per_epoch=10**9, verbose=0, callbacks=[timer])
    return timer


def train_and_score(contestant, score, seconds, seed):
    keras.utils.set_random_seed(seed)
    model = contestant.build()
    for name in ("optimizer", "discriminator_optimizer"):
        if optimizer := getattr(model, name, None):
            optimizer.learning_rate = contestant.learning_rate * float(optimizer.learning_rate)
    data = ak.datasets.load(
        "fashion_mnist", batch_size=contestant.batch_size, seed=seed, labels=contestant.labels
    )
    timer = fit_for(model, data, seconds)
    return {**score(model, seed), "steps": timer.steps, "seconds": timer.seconds}


# --- scores, all on the 10,000 test images ---


@functools.cache
def test_images():
    return ak.datasets.arrays("fashion_mnist", "test")[0]


@functools.cache
def test_features():
    return ak.metrics.fashion_features().extract(test_images())


def image_score(model, seed):
    """Generated images against those of the test set, in features of a classifier of clothes."""
    images = model.generate(10_000, seed=seed)
    features = ak.metrics.fashion_features()
    score = ak.metrics.evaluate_samples(images, test_features(), features)
    names = ("frechet", "frechet_error", "precision", "recall")
    return {name: getattr(score, name) for name in names}


def likelihood_score(model, seed):
    """Nats an image, of the test set; and how many latent dimensions carry information."""
    images = test_images()
    means = model.evaluate(images, batch_size=256, verbose=0, return_dict=True)
    bound = model.log_likelihood(images[:1000], n_samples=64, seed=seed)
    return {
        "negative_elbo": means["negative_elbo"],
        "kl_divergence": means["kl_divergence"],
        "negative_log_likelihood": -float(bound.mean()),  # importance-weighted bound
        "active_units": int(model.active_units(images).sum()),
    }


# --- contestants ---


def ours(build, **kwargs):
    """A model of the library as it comes."""
    model = build(IMAGE_SHAPE, **kwargs)
    model.compile()
    return model


def plain_dcgan():
    model = ak.gan.DCGAN(IMAGE_SHAPE, latent_dim=100, ema_momentum=0.0)
    adam = (keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2))
    model.compile(*adam, jit_compile=False)
    return model


def published_vae(latent_dim):
    """The networks of Keras' own example, keras.io/examples/generative/vae; the rest is ours."""
    relu = {"strides": 2, "padding": "same", "activation": "relu"}
    images = keras.Input(IMAGE_SHAPE)
    x = layers.Conv2D(32, 3, **relu)(images)
    x = layers.Conv2D(64, 3, **relu)(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    encoder = keras.Model(images, [layers.Dense(latent_dim)(x), layers.Dense(latent_dim)(x)])

    latents = keras.Input((latent_dim,))
    x = layers.Dense(7 * 7 * 64, activation="relu")(latents)
    x = layers.Reshape((7, 7, 64))(x)
    x = layers.Conv2DTranspose(64, 3, **relu)(x)
    x = layers.Conv2DTranspose(32, 3, **relu)(x)
    decoder = keras.Model(latents, layers.Conv2DTranspose(1, 3, padding="same")(x))

    model = ak.vae.VAE(IMAGE_SHAPE, latent_dim=latent_dim, encoder=encoder, decoder=decoder)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def vae_race(latent_dim):
    published = functools.partial(published_vae, latent_dim)
    vae = functools.partial(ours, ak.vae.VAE, latent_dim=latent_dim)
    contestants = (
        Contestant("network of Keras' example, batch 128", published, 128, seeds=3),
        Contestant("VAE at its defaults, batch 64", vae, 64, seeds=3),
    )
    return Race(likelihood_score, contestants)


dcgan = functools.partial(ours, ak.gan.DCGAN)
conditional_gan = functools.partial(ours, ak.gan.ConditionalGAN, num_classes=10)
vae = functools.partial(ours, ak.vae.VAE, latent_dim=16)

LEARNING_RATES = {"": 1.0, ", learning rate x 10": 10.0, ", learning rate / 10": 0.1}

RACES = {
    "GAN": Race(
        image_score,
        (
            Contestant("plain DCGAN: conv 64-128, Adam 2e-4, batch 64, no EMA", plain_dcgan, 64),
            Contestant("DCGAN at its defaults, batch 16", dcgan, 16),
            Contestant(
                "ConditionalGAN at its defaults, batch 16", conditional_gan, 16, labels=True
            ),
        ),
    ),
    "VAE, 2 latent dimensions": vae_race(2),
    "VAE, 16 latent dimensions": vae_race(16),
    "VAE or GAN": Race(  # which is hard to train? spread over seeds, and over learning rates
        image_score,
        tuple(
            Contestant(f"{name}{label}", build, batch_size, seeds=3, learning_rate=factor)
            for label, factor in LEARNING_RATES.items()
            for name, build, batch_size in (("VAE", vae, 64), ("DCGAN", dcgan, 16))
        ),
        limit=40,
    ),
    "Style transfer": style_race,
}
