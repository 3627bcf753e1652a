"""How the course trained its checkpoints: `python -m aigc_keras.recipes [NAME ...]`.

A recipe that is interrupted continues at its last finished epoch; its progress lies in `runs/`.
"""

import functools
import json
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras.optimizers.schedules import CosineDecay

from aigc_keras import (
    checkpoints,
    contrastive,
    datasets,
    diffusion,
    gan,
    metrics,
    patterns,
    picture_tokens,
    seq2seq,
    style,
    text,
    text_to_image,
    vae,
    vq_vae,
)
from aigc_keras.files import complete_backup, replaced

RUNS = Path("runs")  # in the folder from which it is called
SEED = 0
SEEN = (0, 1, 3, 5)  # of the six wordings of an emoji; chapter 10 tests with the others, too
UNSEEN = "Intimate"  # the department of reviews that `gpt_reviews` does not know
TEXTURED = ("immunohistochemistry", "flower", "chelsea")  # photographs that serve as styles


def convolutions(x, stages, width):
    """Normalised convolutions: `stages` are pairs of a multiple of `width` and strides."""
    for multiple, strides in stages:
        x = layers.Conv2D(multiple * width, 3, strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    return x


def fashion_mnist_classifier(width=32):
    """Images (B, 28, 28, 1) in [-1, 1] to [features (B, 128), class probabilities (B, 10)]."""
    images = keras.Input((28, 28, 1), name="images")
    x = convolutions(images, ((1, 1), (2, 2), (2, 1), (4, 2), (4, 1)), width)
    features = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(0.2)(features)
    probabilities = layers.Dense(10, activation="softmax", name="probabilities")(x)
    return keras.Model(images, [features, probabilities], name="fashion_mnist_classifier")


def train_classifier(fit, epochs=10):
    """The network whose features the Frechet distance uses."""
    flip = layers.RandomFlip("horizontal", seed=SEED)
    train = datasets.load("fashion_mnist", "train", batch_size=128, seed=SEED, labels=True)
    train = train.map(lambda images, labels: (flip(images, training=True), labels))
    model = fashion_mnist_classifier()
    classifier = keras.Model(model.input, model.outputs[1])
    classifier.compile(
        keras.optimizers.AdamW(CosineDecay(2e-3, epochs * len(train)), weight_decay=1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    fit(classifier, train, epochs)
    test = datasets.load("fashion_mnist", "test", batch_size=500, shuffle=False, labels=True)
    _, accuracy = classifier.evaluate(test, verbose=0)
    return model, {"test_accuracy": round(accuracy, 4)}


def train_conditional_gan(fit, epochs=20):
    """Chapter 01's conditional GAN, for longer than a lesson, at a rate that falls to zero."""
    train = datasets.load("fashion_mnist", "train", batch_size=32, seed=SEED, labels=True)
    model = gan.ConditionalGAN((28, 28, 1), num_classes=10, latent_dim=64)
    rate = CosineDecay(4e-4, epochs * len(train))
    model.compile(*(keras.optimizers.Adam(rate, beta_1=0.5) for _ in range(2)))
    fit(model, train, epochs)
    return model, score(model)


def train_gan_faces(fit, epochs=50, batch_size=32):
    """Chapter 07's GAN of faces in colour, augmented, as there are few pictures."""
    images, kinds = datasets.arrays("faces")
    # Nearly all are people: the fewer there are of a kind, the more often each is drawn.
    share = 1 / np.sqrt(np.bincount(kinds))[kinds]
    rows = np.random.default_rng(SEED).choice(len(images), 8_000, p=share / share.sum())
    # Not told the kind: with so few of some kinds it would draw one picture for each.
    # Without a limit it leaks, which chapter 07 shows.
    model = gan.DCGAN((64, 64, 3), 64, 128, 48, augment="adaptive", augment_limit=1.0)
    rate = CosineDecay(4e-4, epochs * len(rows) // batch_size)
    model.compile(*(keras.optimizers.Adam(rate, beta_1=0.5) for _ in range(2)))
    data = tf.data.Dataset.from_tensor_slices(images[rows])
    fit(model, data.batch(batch_size), epochs)
    # How new is what it draws? The median distance, in pixels, to the nearest face that it knows.
    known, facts = images.reshape(len(images), -1), {}
    unseen, _ = datasets.arrays("faces", "test")
    for what, faces in (("drawn", model.generate(1_000, seed=SEED)), ("unseen", unseen)):
        distances, _ = metrics.nearest_neighbours(faces.reshape(len(faces), -1), known)
        facts[f"nearest_of_{what}"] = round(float(np.median(distances)), 2)
    return model, facts


def train_vae_2d(fit):
    """Chapter 02's VAE with two latent dimensions."""
    return train_vae(fit, latent_dim=2)


def train_vae_16d(fit):
    """Chapter 02's VAE with 16 latent dimensions."""
    return train_vae(fit, latent_dim=16)


def train_vae(fit, latent_dim, epochs=40):
    """Networks of twice the lesson's width, at a rate that falls to zero."""
    train = datasets.load("fashion_mnist", "train", batch_size=64, seed=SEED)
    model = vae.VAE((28, 28, 1), latent_dim=latent_dim, width=32, hidden=512)
    model.compile(keras.optimizers.Adam(CosineDecay(1e-3, epochs * len(train))))
    fit(model, train, epochs)
    test, _ = datasets.arrays("fashion_mnist", "test")
    results = model.evaluate(test, batch_size=500, verbose=0, return_dict=True)
    facts = {name: round(results[name], 2) for name in ("negative_elbo", "kl_divergence")}
    bound = model.log_likelihood(test[:1000], n_samples=64, seed=SEED).mean()
    return model, {**facts, "log_likelihood_bound": round(float(bound), 2), **score(model)}


def score(model, **kwargs):
    """Frechet distance and the rest of 10,000 samples against the 10,000 test images."""
    return compare("score", model.generate(10_000, seed=SEED, **kwargs))


def compare(name, images):
    """Facts about images of clothes against the 10,000 test images; `name` has them in words."""
    test, _ = datasets.arrays("fashion_mnist", "test")
    result = metrics.evaluate_samples(images, test, metrics.fashion_features())
    return {name: str(result), "frechet": round(result.frechet, 3)}


def train_fast_style(fit, epochs=6):
    """Chapter 03's feed-forward network for the style "waves"."""
    train = datasets.load("photographs", "train", batch_size=4, seed=SEED)
    model = style.FastStyleTransfer(patterns.draw("waves", 256))
    model.compile(keras.optimizers.Adam(CosineDecay(2e-3, 250 * epochs)))
    fit(model, train, epochs)
    return model, losses(model, datasets.load("photographs", "test", batch_size=4, shuffle=False))


def style_images(n_seeds, size=128):
    """Crops of the drawn styles at three scales and of photographs, uint8 (N, size, size, 3)."""
    rng = np.random.default_rng(SEED)
    crops = []
    for seed in range(n_seeds):
        for name in patterns.NAMES:
            for drawn in (128, 192, 256):
                picture = patterns.draw(name, drawn, seed=seed)
                top, left = rng.integers(0, drawn - size + 1, 2)
                crops.append(picture[top : top + size, left : left + size])
    photographs, labels = datasets.arrays("photographs", "train", size)
    textured = [datasets.class_names("photographs").index(n) for n in TEXTURED]
    crops = np.concatenate([crops, photographs[np.isin(labels, textured)][: len(crops) // 2]])
    # Errors are relative to the style: one without contrast would outweigh all others.
    crops = crops[crops.mean(-1).std((1, 2)) > 0.3]
    return np.round(127.5 * (crops + 1)).astype("uint8")


def style_pairs(images, n_seeds, batch_size=4):
    """`images` (N, 128, 128, 3) with a random style each, mirrored and turned."""

    def changed(style_image, number):
        seed = tf.stack([number, SEED])
        x = tf.image.stateless_random_flip_left_right(style_image, seed)
        x = tf.image.rot90(x, tf.random.stateless_uniform([], seed, 0, 4, tf.int32))
        return tf.cast(x, "float32") / 127.5 - 1.0

    styles = tf.data.Dataset.from_tensor_slices(style_images(n_seeds))
    styles = styles.repeat().shuffle(1000, seed=SEED).enumerate()
    styles = styles.map(lambda number, x: changed(x, tf.cast(number, tf.int32)))
    contents = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images), seed=SEED)
    return tf.data.Dataset.zip(contents, styles).batch(batch_size).prefetch(2)


def train_adain(fit, epochs=12):
    """Chapter 03's network for any style."""
    images, _ = datasets.arrays("photographs", "train")
    train = style_pairs(images, n_seeds=30)
    model = style.AdaIN()
    rate = CosineDecay(1e-3, 250 * epochs)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    fit(model, train, epochs)
    test, _ = datasets.arrays("photographs", "test")
    return model, losses(model, style_pairs(test, n_seeds=30))


def losses(model, test):
    """Losses on data that the model has not seen."""
    return {k: round(v, 3) for k, v in model.evaluate(test, verbose=0, return_dict=True).items()}


def warm_adam(learning_rate, steps):
    """Adam at a rate that rises for 500 steps and then falls to zero over the rest."""
    rate = CosineDecay(0.0, steps - 500, warmup_target=learning_rate, warmup_steps=500)
    return keras.optimizers.Adam(rate)


def train_diffusion(fit, epochs=20):
    """Chapter 04's diffusion of pixels, with classes and a learned variance."""
    train = datasets.load("fashion_mnist", "train", batch_size=64, seed=SEED, labels=True)
    model = diffusion.DiffusionModel(
        (28, 28, 1), num_classes=10, variance="learned", widths=(32, 96), blocks=1
    )
    model.compile(warm_adam(1e-3, epochs * len(train)))
    fit(model, train, epochs)
    test, labels = datasets.arrays("fashion_mnist", "test[:1000]")
    bound = model.variational_bound(test, labels, n_steps=100, seed=SEED).mean()
    bits = diffusion.bits_per_dimension(bound, model.image_shape)
    return model, {"bits_per_dimension": round(float(bits), 3), **score(model, guidance_scale=1.5)}


def train_autoencoder(fit, epochs=16):
    """The autoencoder whose latents the next recipe diffuses."""
    train = datasets.load("fashion_mnist", "train", batch_size=64, seed=SEED)
    model = diffusion.latent_autoencoder((28, 28, 1), width=48)
    model.compile(warm_adam(2e-3, epochs * len(train)))
    fit(model, train, epochs)
    test, _ = datasets.arrays("fashion_mnist", "test")
    return model, compare("reconstructions", model.reconstruct(test))


def train_latent_diffusion(fit, epochs=12):
    """Chapter 04's diffusion of latents, with classes."""
    train = datasets.load("fashion_mnist", "train", batch_size=64, seed=SEED, labels=True)
    autoencoder = checkpoints.load("autoencoder_fashion_mnist")
    model = diffusion.LatentDiffusion(autoencoder, num_classes=10, blocks=1)
    model.compile(warm_adam(1e-3, epochs * len(train)))
    fit(model, train, epochs)
    return model, score(model, guidance_scale=1.5)


def train_gpt_kjv(fit, epochs=24):
    """Chapter 05's English GPT."""
    texts = datasets.text("kjv")
    tokenizer = text.BPETokenizer.train(texts, vocab_size=2048)
    model = text.GPT(tokenizer, width=192, num_layers=6, num_heads=6, dropout=0.15, seed=SEED)
    train = model.windows(texts, seed=SEED)
    model.compile(text.adamw(epochs * len(train)))
    fit(model, train, epochs)
    return model, text_score(model, "kjv", n=8, split=str.split)


def train_gpt_tang(fit, epochs=20):
    """Chapter 05's Chinese GPT, which knows quatrains only."""
    texts = datasets.text("tang")
    tokenizer = text.CharTokenizer.train(texts)
    model = text.GPT(
        tokenizer, 36, 192, 6, num_heads=6, dropout=0.3, positions="learned", seed=SEED
    )
    train = model.windows(texts, batch_size=64, seed=SEED, packed=False)
    model.compile(text.adamw(epochs * len(train)))
    fit(model, train, epochs)
    return model, text_score(model, "tang", n=5, split=list)


def train_gpt_reviews(fit, epochs=16):
    """A GPT of reviews. It has never seen a department, `UNSEEN`: chapter 12 lets it arrive."""
    texts = known_reviews("train")
    tokenizer = text.BPETokenizer.train(texts, vocab_size=4000)
    model = text.GPT(tokenizer, dropout=0.1, seed=SEED)
    train = model.windows(texts, seed=SEED)
    model.compile(text.adamw(epochs * len(train)))
    fit(model, train, epochs)
    test = known_reviews("test")
    return model, text_score(model, "reviews", n=8, split=str.split, test=test)


def known_reviews(split):
    """The reviews of all departments but `UNSEEN`."""
    table = datasets.table("reviews", split)
    rows = zip(table["text"], table["department"], strict=True)
    return [review for review, department in rows if department != UNSEEN]


def train_gpt_films(fit, epochs=20):
    """Chapter 12's recommender, whose letters are films; epochs chosen on the last film but one."""
    ratings, films = datasets.interactions("movielens")
    histories = np.split(ratings["film"], np.flatnonzero(np.diff(ratings["user"])) + 1)
    letters = [chr(0x4E00 + film) for film in range(len(films["title"]))]
    tokenizer = text.CharTokenizer("".join(letters))
    model = text.GPT(tokenizer, 100, 64, 2, num_heads=2, dropout=0.3, seed=SEED)
    known = ["".join(letters[film] for film in history[:-2]) for history in histories]
    train = model.windows(known, seed=SEED)
    model.compile(text.adamw(epochs * len(train)))
    fit(model, train, epochs)
    return model, film_score(model, histories)


def film_score(model, histories):
    """Hit rate and NDCG at 10 of each user's last film, among all that she has not rated."""
    hits, gains = [], []
    for *before, last in histories:
        prompt = "".join(chr(0x4E00 + film) for film in before)
        p = model.token_probabilities(prompt)[2:]  # without END and "unknown"
        p[before] = 0
        rank = 1 + (p > p[last]).sum()
        hits.append(rank <= 10)
        gains.append((rank <= 10) / np.log2(1 + rank))
    return {
        name: f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
        for name, values in (("hit_rate_at_10", hits), ("ndcg_at_10", gains))
    }


def text_score(model, name, n, split, test=None):
    """Bits per character of the test texts, and how much of 64 written texts is copied."""
    test = datasets.text(name, "test") if test is None else test
    bits, error = metrics.bits_per_character(*model.text_losses(test))
    written = model.generate([""] * 64, max_new_tokens=model.context_length, seed=SEED)
    train = [split(each) for each in datasets.text(name)]
    facts = {"bits_per_character": round(bits, 3), "standard_error": round(error, 3)}
    for what, texts in (("written", written), ("test", test)):
        overlap = metrics.ngram_overlap([split(each) for each in texts], train, n)
        facts[f"runs_of_{n}_copied_in_{what}"] = round(overlap, 4)
    return facts


def train_translator(fit, epochs=12):
    """Chapter 09's Transformer from English to Spanish, of verses."""
    pairs = datasets.pairs("verses")
    tokenizer = text.BPETokenizer.train([*pairs[0], *pairs[1]], vocab_size=4000)
    settings = {"context_length": 96, "width": 192, "num_layers": 3, "num_heads": 6}
    model = train_seq2seq(fit, pairs, epochs, tokenizer, dropout=0.2, **settings)
    tokens = model.context_length - 1
    verses = zip(*datasets.pairs("verses", "test"), strict=True)
    sources, targets = zip(
        *(x for x in verses if len(tokenizer.encode(x[0])) <= tokens), strict=True
    )
    written = model.generate(list(sources))
    scores = metrics.bleu(written, targets), metrics.chrf(written, targets)
    return model, {"score": f"{scores[0]}, {scores[1]} ({len(sources):,} verses, greedily)"}


def train_titles(fit, epochs=8):
    """Chapter 09's Transformer from a review to its title."""
    pairs = datasets.pairs("reviews")
    tokenizer = text.BPETokenizer.train([*pairs[0], *pairs[1]], vocab_size=4000)
    settings = {"context_length": 160, "width": 128, "num_layers": 2, "num_heads": 4}
    model = train_seq2seq(fit, pairs, epochs, tokenizer, dropout=0.1, **settings)
    reviews, titles = datasets.pairs("reviews", "test")
    written = model.generate(reviews, max_new_tokens=16)
    scores = metrics.rouge(written, titles, "rouge1"), metrics.rouge(written, titles)
    return model, {"score": f"{scores[0]}, {scores[1]} ({len(reviews):,} reviews, greedily)"}


def train_seq2seq(fit, pairs, epochs, tokenizer, **settings):
    """A Transformer that was trained in bfloat16, which takes half the time, in float32."""
    model = seq2seq.Seq2Seq(tokenizer, **settings, seed=SEED, dtype="mixed_bfloat16")
    limit = model.context_length - 1
    pairs = [
        x for x in zip(*pairs, strict=True) if max(len(tokenizer.encode(t)) for t in x) <= limit
    ]
    train = model.batches(*map(list, zip(*pairs, strict=True)), seed=SEED)
    model.compile(text.adamw(epochs * len(train)))
    fit(model, train, epochs)
    exact = seq2seq.Seq2Seq(tokenizer, **settings, seed=SEED)
    exact.set_weights(model.get_weights())
    return exact


def train_autoencoder_emoji(fit):
    """Chapter 10's autoencoder, from 64 x 64 pixels in colour to latents (16, 16, 4)."""
    return train_reconstruction(fit, diffusion.latent_autoencoder((64, 64, 3), width=48), 120)


def train_vq_vae_emoji(fit):
    """Chapter 10's pictures as 64 integers below 512."""
    model = vq_vae.VQVAE((64, 64, 3), num_codes=512, halvings=3, seed=SEED)
    return train_reconstruction(fit, model, 150)


def train_reconstruction(fit, model, epochs):
    """An autoencoder of emoji, and what it loses of those of the test split."""
    train = datasets.captioned().batches(seed=SEED).map(lambda images, captions: images)
    model.compile(warm_adam(2e-3, epochs * len(train)))
    fit(model, train, epochs)
    test = datasets.captioned("emoji", "test").images
    error = np.mean(np.square(model.reconstruct(test) - test))
    return model, {"mean_squared_error": round(float(error), 4)}


def emoji_judge(names, width=32):
    """Emoji (B, 64, 64, 3) in [-1, 1] to a dict, label: probabilities (B, len(names[label]))."""
    images = keras.Input((64, 64, 3), name="images")
    x = convolutions(images, ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1)), width)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    heads = {k: layers.Dense(len(names[k]), "softmax", name=k)(x) for k in names}
    return keras.Model(images, heads, name="emoji_judge")


def train_judge_emoji(fit, epochs=60):
    """Chapter 10's judge of what a picture shows; it has seen real pictures only."""
    data = datasets.captioned()
    change = keras.Sequential([
        layers.RandomFlip("horizontal", seed=SEED),
        layers.RandomTranslation(0.05, 0.05, fill_mode="nearest", seed=SEED),
    ])  # fmt: skip
    train = tf.data.Dataset.from_tensor_slices((data.images, data.labels))
    train = train.shuffle(len(data.images), seed=SEED).batch(64)
    train = train.map(lambda images, labels: (change(images, training=True), labels)).prefetch(2)
    model = emoji_judge(data.names)
    rate = CosineDecay(2e-3, epochs * len(train))
    # What a picture has no label of, -1, counts for nothing.
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), dict.fromkeys(data.names, loss))
    fit(model, train, epochs)
    unseen = datasets.captioned("emoji", "held_out")
    return model, share_recognised(model, unseen.images, unseen.labels)


def recognised(judge, images, labels):
    """Of each label, whether the judge recognises it: bool, of the images that have it (not -1).

    The judge chooses among the values that occur in `labels`.
    """
    said, found = judge.predict(images, batch_size=64, verbose=0), {}
    for name, right in labels.items():
        known = right >= 0
        if known.any():
            values = np.unique(right[known])
            likeliest = said[name][known][:, values].argmax(axis=1)
            found[name] = values[likeliest] == right[known]
    return found


def share_recognised(judge, images, labels):
    """What `recognised` finds, as facts of a manifest."""
    found = recognised(judge, images, labels)
    return {name: round(float(right.mean()), 3) for name, right in found.items()}


def train_contrastive_emoji(fit, epochs=120):
    """Chapter 10's one space of emoji and what is said of them."""
    data = datasets.captioned()
    tokenizer = text.BPETokenizer.train(data.captions[:, SEEN].ravel().tolist(), vocab_size=2000)
    model = contrastive.TextImageModel(tokenizer)
    train = model.batches(data.batches(128, seed=SEED, wordings=SEEN))
    model.compile(text.adamw(epochs * len(train)))
    fit(model, train, epochs)
    facts = {}
    for split in ("test", "held_out"):
        data = datasets.captioned("emoji", split)
        recalls = (recall(model, data.images, said) for said in data.captions.T)
        facts[split] = [round(100 * each, 1) for each in recalls]  # percent, by wording
    return model, facts


def recall(model, images, captions):
    """Recall at 1 of images by their captions, an array (n,): a share. Equal ones are all right."""
    similarities = model.similarity(images, captions.tolist())
    return float(contrastive.recall_at(similarities, same=captions == captions[:, None]))


def train_text_to_image_emoji(fit, epochs=260):
    """Chapter 10's latent diffusion told by texts, which the contrastive model reads for it."""
    reader = checkpoints.load("contrastive_emoji")
    parts = checkpoints.load("autoencoder_emoji"), reader.tokenizer
    settings = {"text_encoder": reader.text_encoder, "widths": (96, 160), "blocks": 1, "patch": 2}
    # bfloat16 takes half the time.
    model = text_to_image.TextToImage(*parts, **settings, seed=SEED, dtype="mixed_bfloat16")
    train = model.batches(datasets.captioned().batches(seed=SEED, wordings=SEEN))
    model.compile(warm_adam(1e-3, epochs * len(train)))
    fit(model, train, epochs)
    exact = text_to_image.TextToImage(*parts, **settings, seed=SEED)
    exact.set_weights(model.get_weights())
    # What `generate` uses, twice, is kept once: half the file.
    exact.network.set_weights(exact.ema_network.get_weights())
    return exact, drawn_as_told(exact.generate)


def drawn_as_told(draw):
    """What a judge recognises in pictures of held-out captions, four of each."""
    data = datasets.captioned("emoji", "held_out")
    labels = {name: np.repeat(values, 4) for name, values in data.labels.items()}
    images = draw(data.captions[:, 0].tolist(), n=4, seed=SEED)
    return share_recognised(checkpoints.load("judge_emoji"), images, labels)


def train_dalle_emoji(fit, epochs=14):
    """Chapter 10's GPT, which writes pictures behind their captions."""
    data = datasets.captioned()
    pictures = picture_tokens.PictureTokens(checkpoints.load("vq_vae_emoji"))
    tokenizer = pictures.make_tokenizer(data.captions.ravel().tolist())
    settings = {"context_length": 136, "dropout": 0.1, "seed": SEED}
    model = text.GPT(tokenizer, **settings, dtype="mixed_bfloat16")
    texts = []
    for column in SEEN:
        texts += pictures.to_texts(data.captions[:, column].tolist(), data.images)
    train = model.windows(texts, batch_size=64, seed=SEED, packed=False)
    model.compile(text.adamw(epochs * len(train)))
    fit(model, train, epochs)
    exact = text.GPT(tokenizer, **settings)
    exact.set_weights(model.get_weights())
    return exact, drawn_as_told(functools.partial(pictures.generate, exact))


RECIPES = {  # name: (function, what it trains on)
    "classifier_fashion_mnist": (train_classifier, "fashion_mnist"),
    "conditional_gan_fashion_mnist": (train_conditional_gan, "fashion_mnist"),
    "gan_faces": (train_gan_faces, "faces"),
    "vae_2d_fashion_mnist": (train_vae_2d, "fashion_mnist"),
    "vae_16d_fashion_mnist": (train_vae_16d, "fashion_mnist"),
    "autoencoder_fashion_mnist": (train_autoencoder, "fashion_mnist"),
    "diffusion_fashion_mnist": (train_diffusion, "fashion_mnist"),
    "latent_diffusion_fashion_mnist": (train_latent_diffusion, "fashion_mnist"),
    "gpt_kjv": (train_gpt_kjv, "kjv"),
    "gpt_tang": (train_gpt_tang, "tang"),
    "gpt_reviews": (train_gpt_reviews, "reviews"),
    "gpt_films": (train_gpt_films, "movielens"),
    "translator_en_es": (train_translator, "verses"),
    "titles": (train_titles, "reviews"),
    "autoencoder_emoji": (train_autoencoder_emoji, "captioned emoji"),
    "judge_emoji": (train_judge_emoji, "captioned emoji"),
    "contrastive_emoji": (train_contrastive_emoji, "captioned emoji"),
    "vq_vae_emoji": (train_vq_vae_emoji, "captioned emoji"),
    "text_to_image_emoji": (train_text_to_image_emoji, "captioned emoji"),
    "dalle_emoji": (train_dalle_emoji, "captioned emoji"),
    "fast_style_waves": (train_fast_style, "photographs"),
    "adain": (train_adain, "photographs, patterns"),
}


class Clock(keras.callbacks.Callback):
    """Keeps the seconds of each epoch in a file; one that is trained again counts once."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.time()

    def on_epoch_end(self, epoch, logs=None):
        seconds = self.seconds() | {str(epoch): time.time() - self.start}
        with replaced(self.path) as partial:
            partial.write_text(json.dumps(seconds))

    def seconds(self):
        try:
            return json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ValueError(
                f"{self.path} is damaged: {error}. Without it, minutes are counted anew."
            ) from error


def run(name, folder=checkpoints.FOLDER):
    """Train the checkpoint `name`, or go on where an earlier run stopped, and save it."""
    progress = RUNS / name
    progress.mkdir(parents=True, exist_ok=True)
    clock = Clock(progress / "seconds.json")
    clock.seconds()  # what is damaged is said before any training
    complete_backup(progress / "backup")  # the `fit` of a plain Keras model does not

    def fit(model, train, epochs):
        # The clock comes first: what is backed up has been counted. The backup stays until the
        # checkpoint stands: scoring takes minutes too.
        backup = keras.callbacks.BackupAndRestore(progress / "backup", delete_checkpoint=False)
        log = keras.callbacks.CSVLogger(progress / "log.csv", append=True)
        callbacks = [clock, log, backup]
        model.fit(train, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=2)

    keras.utils.set_random_seed(SEED)
    train, data = RECIPES[name]
    model, facts = train(fit)
    checkpoints.save(
        model,
        name,
        folder,
        recipe=f"aigc_keras.recipes.{train.__name__}",
        data=data,
        seed=SEED,
        training_minutes=round(sum(clock.seconds().values()) / 60, 1),
        parameters=model.count_params(),
        **facts,
    )
    shutil.rmtree(progress)
    print(f"{name}: {checkpoints.manifest(folder)[name]}")


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(RECIPES)
    if unknown:
        sys.exit(f"NAME: got {', '.join(sorted(unknown))}, accepted are {', '.join(RECIPES)}.")
    for recipe in sys.argv[1:] or RECIPES:
        run(recipe)
