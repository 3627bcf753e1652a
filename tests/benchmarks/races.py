"""How good do the models get in the same training time? The races of `bench.py --race SECONDS`.

Only training counts: neither the first steps, which build the graph, nor the scoring afterwards.
One race trains nothing: it compares the samplers of a trained diffusion model.
"""

import functools
import statistics
import sys
import time
from dataclasses import dataclass

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
import numpy as np
from cases import kjv_tokenizer
from keras import layers
from style_loops import style_race

from aigc_keras.diffusion import DDIM, DDPM, DPMSolver, Heun

IMAGE_SHAPE = (28, 28, 1)
GUIDANCE_SCALE = 1.0  # of the race of samplers


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
    model.fit(data.repeat(), steps_per_epoch=10**9, verbose=0, callbacks=[timer], shuffle=False)
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
def fashion_features():
    return ak.metrics.fashion_features()


@functools.cache
def test_features():
    return fashion_features().extract(test_images())


def image_score(model, seed):
    return score_images(model.generate(10_000, seed=seed))


def score_images(images):
    """Images against those of the test set, in features of a classifier of clothes."""
    score = ak.metrics.evaluate_samples(images, test_features(), fashion_features())
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


def single_run(setting, scores):
    """What `Race` gives for a contestant, of one run with seed 0."""
    scores = {name: {"values": [x], "mean": x} for name, x in scores.items()}
    return {"setting": setting, "seeds": [0], "failed": [], "scores": scores}


# --- diffusion of pixels or of latents: the autoencoder's training counts ---


def diffusion_race(seconds, max_seeds=None):
    """Both from nothing for `seconds`, of which the autoencoder has a quarter; one seed."""
    labels = np.arange(2_000, dtype="int32") % 10
    results = []
    for setting in ("diffusion of pixels", "diffusion of latents"):
        print(f"race: {setting}", file=sys.stderr, flush=True)
        keras.utils.set_random_seed(0)
        data = ak.datasets.load("fashion_mnist", batch_size=64, seed=0, labels=True)
        before = 0.0
        if setting == "diffusion of latents":
            autoencoder = ak.diffusion.latent_autoencoder(IMAGE_SHAPE)
            autoencoder.compile()
            before = fit_for(autoencoder, data, seconds / 4).seconds
            model = ak.diffusion.LatentDiffusion(autoencoder, num_classes=10, blocks=1)
        else:
            model = ak.diffusion.DiffusionModel(
                IMAGE_SHAPE, num_classes=10, widths=(32, 96), blocks=1
            )
        model.compile()
        timer = fit_for(model, data, seconds - before)
        images = model.generate(len(labels), labels=labels, guidance_scale=2.0, seed=0)
        _, probabilities = fashion_features().extract(images)
        scores = {
            **score_images(images),
            "agreement": float(np.mean(probabilities.argmax(axis=1) == labels)),
            "steps": timer.steps,
            "seconds": before + timer.seconds,
        }
        results.append(single_run(setting, scores))
    return results


# --- samplers: how good, after how many steps? ---

SAMPLER_STEPS = {
    DDPM: (10, 20, 50, 200),
    DDIM: (5, 10, 20, 50),
    DPMSolver: (5, 10, 20),
    Heun: (3, 5, 10),
}


def sampler_race(seconds, max_seeds=None, n=2_000):
    """`n` images of a checkpoint by each sampler, of the same classes and from the same noise.

    `seconds` and `max_seeds` are of no use here: nothing is trained, and there is one seed.
    Returns what `Race` does; `evaluations` are those of the network for one image.
    """
    model = ak.checkpoints.load("latent_diffusion_fashion_mnist")
    passes = 1 if GUIDANCE_SCALE in (0, 1) else 2
    results = []
    for sampler_class, all_steps in SAMPLER_STEPS.items():
        generate = functools.partial(model.generate, guidance_scale=GUIDANCE_SCALE, seed=0)
        generate(n, sampler=sampler_class(2))  # builds the graph, for any number of steps
        for steps in all_steps:
            setting = f"{sampler_class.__name__}({steps})"
            print(f"race: {setting}", file=sys.stderr, flush=True)
            start = time.perf_counter()
            images = generate(n, sampler=sampler_class(steps))
            spent = time.perf_counter() - start
            looks = 2 * steps - 1 if sampler_class is Heun else steps
            scores = {
                **score_images(images),
                "seconds": spent,
                "evaluations": passes * looks,
                "steps": steps,
            }
            results.append(single_run(setting, scores))
    return results


# --- language models: bits per character of the same test chapters ---


@functools.cache
def language_models():
    """(setting, function that gives a model) of each."""
    characters = functools.partial(ak.text.CharTokenizer.train, ak.datasets.text("kjv"))
    bpe = functools.partial(kjv_tokenizer, 1024)
    return (
        ("n-grams of 8 characters", lambda: ak.text.NGram(characters(), order=8)),
        ("n-grams of 4 BPE tokens", lambda: ak.text.NGram(bpe(), order=4)),
        ("GRU, 384 units", lambda: ak.text.RNNLanguageModel(bpe(), "gru", units=384)),
        ("LSTM, 384 units", lambda: ak.text.RNNLanguageModel(bpe(), "lstm", units=384)),
        (
            "GPT, 4 layers of width 128",
            lambda: ak.text.GPT(bpe(), width=128, num_layers=4, num_heads=4),
        ),
    )


def text_race(seconds, max_seeds=None):
    """Each network for `seconds` at its defaults; n-grams count once and are done. One seed."""
    train, test = (ak.datasets.text("kjv", split) for split in ("train", "test"))
    results = []
    for setting, build in language_models():
        print(f"race: {setting}", file=sys.stderr, flush=True)
        keras.utils.set_random_seed(0)
        model = build()
        model.compile()
        if isinstance(model, ak.text.NGram):
            start = time.perf_counter()
            model.fit(model.windows(train, batch_size=1024, shuffle=False), verbose=0)
            spent = {"seconds": time.perf_counter() - start}
        else:
            timer = fit_for(model, model.windows(train), seconds)
            spent = {"steps": timer.steps, "seconds": timer.seconds}
            spent["parameters"] = model.count_params()
        bits, error = ak.metrics.bits_per_character(*model.text_losses(test))
        scores = {"bits_per_character": bits, "standard_error": error, **spent}
        results.append(single_run(setting, scores))
    return results


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
    "Diffusion": diffusion_race,
    "Samplers": sampler_race,
    "Language models": text_race,
}
