"""What does adapting a model cost, and give? `bench.py --adapting STEPS`, for chapter 12.

Three kinds of rows. All ways to adapt take equally many steps, and so see equally many reviews:

- "adapted": a classifier on `gpt_reviews`, of which a head, some blocks, adapters or all weights
  learn, from so many labels: accuracy and macro-F1 on all test reviews.
- "longer": all weights with the most labels and eight times the steps, so that all are read.
- "kept": `gpt_reviews` itself reads a department that it has never seen, or verses, in several
  ways: bits per character of that and of the departments that it knew.
"""

import functools
import itertools
import time
from pathlib import Path

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
import numpy as np
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from threadpoolctl import threadpool_limits

OUTPUT = Path(__file__).resolve().parents[2] / "data" / "adapting.json"
UNIT = "steps"
SEEDS = 3
N_VALIDATION = 500
DEPARTMENTS = ("Tops", "Dresses", "Bottoms", "Jackets")  # those that the model has read
SIZES = {100: 0.5, 1_000: 1.0, 15_000: 2.0}  # labels: share of the steps
OTHER_RANKS = ("LoRA of rank 1", "LoRA of rank 16")  # with 1,000 labels only
ADAPTED = {  # learning rate
    "head": 1e-2,
    "upper two blocks": 5e-4,
    "LoRA of rank 1": 3e-3,
    "LoRA of rank 4": 2e-3,
    "LoRA of rank 16": 1e-3,
    "everything": 3e-4,
    "from scratch": 1e-3,
}
TF_IDF = "TF-IDF"
KEPT = ("as before", "plain", "replay", "L2-SP", "EWC", "LoRA of rank 4")
STRENGTHS = {"L2-SP": 0.03, "EWC": 0.05}  # with which they learn the verses as well as replay
N_TEXTS = 150  # of each kind, whose bits are counted


@functools.cache
def table(split):
    """The reviews of the departments that the model has read."""
    columns = ak.datasets.table("reviews", split)
    rows = [i for i, name in enumerate(columns["department"]) if name in DEPARTMENTS]
    texts, departments = ([columns[key][i] for i in rows] for key in ("text", "department"))
    sentiment = np.digitize(columns["rating"][rows], (3, 4))  # 1 and 2 stars, 3, 4 and 5
    labels = {
        "sentiment": sentiment.astype("int32"),
        "department": np.array([DEPARTMENTS.index(x) for x in departments], "int32"),
    }
    return np.array(texts, object), labels


def backbone(trained=True, dtype="mixed_bfloat16"):
    """`gpt_reviews` in the precision that trains fastest; not `trained`: with new weights."""
    known = ak.checkpoints.load("gpt_reviews")
    config = {key: getattr(known, key) for key in ("width", "num_layers", "num_heads", "dropout")}
    gpt = ak.text.GPT(known.tokenizer, known.context_length, dtype=dtype, **config)
    if trained:
        gpt.set_weights(known.get_weights())
    return gpt


def adapted(task, method, n, seed, steps):
    """Scores of a method that learned from `n` labels for so many steps."""
    texts, labels = table("train")
    order = np.random.default_rng(seed).permutation(len(texts))
    held, chosen = order[:N_VALIDATION], order[N_VALIDATION:][:n]
    keras.utils.set_random_seed(seed)
    test, wanted = table("test")[0], table("test")[1][task]
    y = labels[task]
    if method == TF_IDF:
        start = time.perf_counter()
        vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2 if n > 100 else 1)
        x = vectors.fit_transform(texts[chosen])
        with threadpool_limits(1):  # so small vectors wait for each other in two threads
            tries = [LogisticRegression(C=c, max_iter=500).fit(x, y[chosen]) for c in (1, 10, 100)]
        best = max(tries, key=lambda m: m.score(vectors.transform(texts[held]), y[held]))
        found = {"seconds": time.perf_counter() - start, "n_trained": best.coef_.size}
        return found | scores(best.predict(vectors.transform(test)), wanted)
    gpt = backbone(trained=method != "from scratch")
    model = ak.tuning.Classifier(gpt, int(y.max()) + 1, dropout=0.1, seed=seed)
    if method.startswith("LoRA"):
        ak.tuning.add_lora(model, rank=int(method.split()[-1]))
    elif method != "from scratch" and method != "everything":
        ak.tuning.freeze(model, gpt.num_layers - (2 if "two" in method else 0))
    model.compile(ak.optimizers.Adam(ADAPTED[method]))
    data = model.batches(list(texts[chosen]), y[chosen], batch_size=32, seed=seed).repeat()
    validation = model.batches(list(texts[held]), y[held], batch_size=100, shuffle=False)
    stopping = keras.callbacks.EarlyStopping(
        "val_accuracy", mode="max", patience=10**9, restore_best_weights=True, start_from_epoch=0
    )
    start = time.perf_counter()
    history = model.fit(
        data,
        steps_per_epoch=round(steps / 5),
        epochs=5,
        validation_data=validation,
        callbacks=[stopping],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "n_trained": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "n_all": int(model.count_params()),
        "validation": history.history["val_accuracy"],
    } | scores(model.classify(list(test)).argmax(axis=1), wanted)


def scores(found, wanted):
    return {
        "accuracy": float(np.mean(found == wanted)),
        "macro_f1": float(f1_score(wanted, found, average="macro")),
    }


@functools.cache
def corpora(new):
    """(texts to learn from, to be tested on) of what the model knew, and of what arrives."""
    known = tuple(list(table(split)[0]) for split in ("train", "test"))
    if new == "verses":
        return known, tuple(ak.datasets.text("kjv", split) for split in ("train", "test"))
    columns = [ak.datasets.table("reviews", split) for split in ("train", "test")]
    arrives = tuple(
        [text for text, name in zip(x["text"], x["department"], strict=True) if name == new]
        for x in columns
    )
    return known, arrives


def kept(new, method, seed, steps):
    known, arrives = corpora(new)
    keras.utils.set_random_seed(seed)
    gpt = backbone()
    n_trained, start, callbacks = 0, time.perf_counter(), []
    if method != "as before":
        if method.startswith("LoRA"):
            ak.tuning.add_lora(gpt, rank=4)
        gpt.compile(ak.text.adamw(learning_rate=1e-3, warmup_steps=20), jit_compile=False)
        n_trained = int(sum(np.prod(v.shape) for v in gpt.trainable_variables))
        data = gpt.windows(arrives[0], seed=seed).repeat()
        old = gpt.windows(known[0], seed=seed).repeat()
        if method == "replay":  # half of each batch's place in time
            data = tf.data.Dataset.sample_from_datasets([data, old], [0.5, 0.5], seed=seed)
        elif method == "L2-SP":
            callbacks = [ak.tuning.PullToOld(STRENGTHS[method])]
        elif method == "EWC":
            importance = ak.tuning.fisher(gpt, old, steps=50)
            mean = np.mean(np.concatenate([x.ravel() for x in importance]))
            pull = ak.tuning.PullToOld(STRENGTHS[method], [x / mean for x in importance])
            callbacks = [pull]
        start = time.perf_counter()
        gpt.fit(data, steps_per_epoch=steps, verbose=0, callbacks=callbacks)
    seconds = time.perf_counter() - start
    exact = gpt if method.startswith("LoRA") else backbone(dtype="float32")
    if exact is not gpt:
        exact.set_weights(gpt.get_weights())
    row = {"seconds": seconds, "n_trained": n_trained}
    for name, texts in (("known", known[1]), ("new", arrives[1])):
        bits, error = ak.metrics.bits_per_character(*exact.text_losses(texts[:N_TEXTS]))
        row |= {name: float(bits), f"{name}_error": float(error)}
    return row


def jobs(steps):
    """(what a row is, function that measures it), the most wanted first."""
    for seed, method, n in itertools.product(range(SEEDS), (TF_IDF, *ADAPTED), SIZES):
        if method in OTHER_RANKS and n != 1_000:
            continue
        key = {"kind": "adapted", "task": "sentiment", "method": method, "n": n, "seed": seed}
        yield key, functools.partial(adapted, "sentiment", method, n, seed, steps * SIZES[n])
    for seed, new, method in itertools.product(range(SEEDS), ("Intimate", "verses"), KEPT):
        if method == "as before" and seed:
            continue
        key = {"kind": "kept", "arrives": new, "method": method, "seed": seed}
        yield key, functools.partial(kept, new, method, seed, steps)
    few = (TF_IDF, "head", "upper two blocks", "LoRA of rank 4", "everything")
    for seed, method in itertools.product(range(SEEDS), few):
        key = {"kind": "adapted", "task": "department", "method": method, "n": 1_000, "seed": seed}
        yield key, functools.partial(adapted, "department", method, 1_000, seed, steps)
    for seed in range(SEEDS):
        n, method = max(SIZES), "everything"
        key = {"kind": "longer", "task": "sentiment", "method": method, "n": n, "seed": seed}
        yield key, functools.partial(adapted, "sentiment", method, n, seed, 8 * steps)
