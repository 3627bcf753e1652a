"""Who learns to translate first: `bench.py --translation SECONDS`, whose figures chapter 09 reads.

Each network is trained for so many seconds on the verses of at most 39 tokens, and translates test
verses after a quarter, a half and all of them, greedily: chapter 09's networks, data and scores,
for longer than a lesson and with three seeds. Building the graph is not counted.
"""

import functools
import itertools
from pathlib import Path

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras

OUTPUT = Path(__file__).resolve().parents[2] / "data" / "translation.json"
UNIT = "seconds"
CONTEXT_LENGTH, WIDTH, BATCH_SIZE = 40, 128, 64
SEEDS = 3
PARTS = (0.25, 0.25, 0.5)  # of the seconds, one after the other
SHOWN = 5  # verses whose translations are kept


@functools.cache
def verses():
    """The tokenizer; (English, Spanish) to learn from; (English, Spanish) of the test."""
    train, test = ak.datasets.pairs("verses"), ak.datasets.pairs("verses", "test")
    tokenizer = ak.text.BPETokenizer.train([*train[0], *train[1]], vocab_size=4000)

    def short(pairs):
        fits = (
            x
            for x in zip(*pairs, strict=True)
            if max(len(tokenizer.encode(text)) for text in x) < CONTEXT_LENGTH
        )
        return tuple(map(list, zip(*fits, strict=True)))

    return tokenizer, short(train), tuple(x[::9] for x in short(test))


def transformer(seed):
    tokenizer = verses()[0]
    return ak.seq2seq.Seq2Seq(tokenizer, context_length=CONTEXT_LENGTH, width=WIDTH, seed=seed)


def lstm(seed, with_attention):
    tokenizer, settings = verses()[0], {"units": WIDTH, "with_attention": with_attention}
    return ak.seq2seq.RNNSeq2Seq(tokenizer, context_length=CONTEXT_LENGTH, seed=seed, **settings)


MODELS = {
    "LSTM": functools.partial(lstm, with_attention=False),
    "LSTM with attention": functools.partial(lstm, with_attention=True),
    "Transformer": transformer,
}


def learned(name, seed, seconds):
    _, train, (sources, targets) = verses()
    keras.utils.set_random_seed(seed)
    model = MODELS[name](seed)
    model.compile()
    data = model.batches(*train, batch_size=BATCH_SIZE, seed=seed).repeat()
    shown = slice(0, None, -(-len(sources) // SHOWN))
    steps, spent, stages = 0, 0.0, []
    for part in PARTS:
        clock = ak.callbacks.TimeLimit(part * seconds, skip=10)
        history = model.fit(data, steps_per_epoch=10**9, verbose=0, callbacks=[clock])
        steps, spent = steps + clock.step, spent + clock.seconds
        written = model.generate(sources)
        scores = {"bleu": ak.metrics.bleu, "chrf": ak.metrics.chrf}
        scores = {key: score(written, targets) for key, score in scores.items()}
        stages.append(
            {"seconds": spent, "steps": steps, "loss": history.history["loss"][-1]}
            | {key: {"value": found.value, "error": found.error} for key, found in scores.items()}
            | {"written": written[shown]}
        )
    return {
        "parameters": model.count_params(),
        "n_test": len(sources),
        "sources": sources[shown],
        "stages": stages,
    }


def jobs(seconds):
    """(what a row is, function that measures it)."""
    for seed, name in itertools.product(range(SEEDS), MODELS):
        key = {"model": name, "seed": seed}
        yield key, functools.partial(learned, name, seed, seconds)
