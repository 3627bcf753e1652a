"""Chapter 05: the n-gram model, against modified Kneser-Ney with dictionaries and fractions."""

import collections
import itertools
import math
from fractions import Fraction

import keras
import numpy as np
import pytest
from letters import (
    END,
    LETTERS,
    PADDING,
    SIZE,
    Table,
    evaluate,
    random_letters,
    rows_of,
)

from aigc_keras import text


def counted(texts, order, tokenizer=LETTERS, context_length=24, packed=False):
    model = text.NGram(tokenizer, order, context_length)
    model.compile()
    model.fit(model.windows(texts, 4, shuffle=False, packed=packed), verbose=0)
    return model


class KneserNey:
    """Chen and Goodman 1999, eq. 17 and 26, with dictionaries and fractions; p_0 is uniform.

    The texts must be such that all discounts are as they should be, above 0 and below the value.
    """

    def __init__(self, rows, order, size):
        self.order, self.size = order, size
        counts = [collections.Counter() for _ in range(order + 1)]
        for row in rows:
            for end in range(1, len(row)):
                for n in range(1, min(order, end + 1) + 1):
                    counts[n][tuple(row[end - n + 1 : end + 1])] += 1
        self.discounted, self.left, self.totals = {}, {}, {}
        for n in range(1, order + 1):
            values = counts[n]
            if n < order:
                before = collections.defaultdict(set)
                for first, *rest in counts[n + 1]:
                    before[tuple(rest)].add(first)
                # Nothing stands before the END with which a row begins.
                values = {
                    gram: count if gram[0] == END and n > 1 else len(before[gram])
                    for gram, count in counts[n].items()
                }
                values = {gram: value for gram, value in values.items() if value}
            seen = collections.Counter(values.values())
            n1, n2, n3, n4 = (seen[i] for i in (1, 2, 3, 4))
            assert n1 * n2 * n3 * n4 > 0
            y = Fraction(n1, n1 + 2 * n2)
            discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
            assert all(0 < discount < i for i, discount in enumerate(discounts, 1))
            for gram, value in values.items():
                discount, context = discounts[min(value, 3) - 1], gram[:-1]
                self.discounted[gram] = value - discount
                self.left[context] = self.left.get(context, 0) + discount
                self.totals[context] = self.totals.get(context, 0) + value

    def p(self, history, token):
        history = tuple(history)[max(len(history) - self.order + 1, 0) :]
        below = self.p(history[1:], token) if history else Fraction(1, self.size)
        if history not in self.totals:
            return below
        seen = self.discounted.get((*history, token), 0)
        return (seen + self.left[history] * below) / self.totals[history]


TWELVE = text.CharTokenizer("abcdefghijkl")


def rare_letters():
    """Texts of twelve letters, each rarer than the one before it."""
    # With this seed all discounts can be found, which so few texts seldom allow.
    rng, p = np.random.default_rng(319), 0.6 ** np.arange(12)
    chosen = [rng.choice(12, rng.integers(5, 24), p=p / p.sum()) for _ in range(20)]
    return [TWELVE.decode(tokens + 2) for tokens in chosen]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("packed", [False, True])
def test_ngram_is_modified_kneser_ney(order, packed):
    """After all histories that there are and 500 others; rows of 24 if packed."""
    texts = rare_letters()
    model = counted(texts, order, TWELVE, packed=packed)
    rows = [[END, *TWELVE.encode(string).tolist(), END] for string in texts]
    stream = [END] + [t for row in rows for t in row[1:]]
    histories = {tuple(stream[i : i + 3]) for i in range(len(stream) - 2)}
    histories |= set(map(tuple, np.random.default_rng(0).integers(0, 14, (500, 3)).tolist()))
    if packed:
        rows = [stream[i : i + 25] for i in range(0, len(stream) - 1, 24)]
    brute = KneserNey(rows, order, 14)
    expected = [[brute.p(history, token) for token in range(14)] for history in histories]
    assert all(sum(p) == 1 for p in expected)
    ours = np.exp(model(np.array(list(histories))))
    np.testing.assert_allclose(ours[:, -1], np.array(expected, "float64"), rtol=1e-5)
    # At the first place of a row there is but one token of history.
    expected = [[brute.p(history[:1], token) for token in range(14)] for history in histories]
    np.testing.assert_allclose(ours[:, 0], np.array(expected, "float64"), rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_ngram_is_a_distribution_on_few_texts(seed):
    """Also where there is too little to find discounts from."""
    model = counted(random_letters(seed, 12, seed), 3) if seed else text.NGram(LETTERS, 3, 24)
    histories = np.array(list(itertools.product(range(SIZE), repeat=2)))
    p = np.exp(model(histories))
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-5)
    assert (p > 0).all()


@pytest.mark.parametrize("order", [1, 2, 5])
def test_ngram_says_the_same_in_all_its_ways(order):
    model = counted(rare_letters(), order, TWELVE)
    strings = ["abca", "", "dcblkjihgf", "aaaaaaaaaaaa"]
    rows = rows_of(model.windows(strings, 2, shuffle=False, packed=False))
    losses = model.token_losses(rows)
    log_p = np.asarray(model(np.maximum(rows[:, :-1], END)))
    picked = np.take_along_axis(log_p, np.maximum(rows[:, 1:], END)[..., None], -1)[..., 0]
    np.testing.assert_allclose(losses, np.where(rows[:, 1:] == PADDING, 0, -picked), rtol=1e-5)
    for string, row in zip(strings, log_p, strict=True):
        p = model.token_probabilities(string)
        np.testing.assert_allclose(p, np.exp(row[len(string)]), rtol=1e-5)
        assert p.shape == (14,)
    arguments = {"prompt": strings[:3], "max_new_tokens": 16, "seed": 1}  # more than the context
    assert model.generate(**arguments) == model.generate(**arguments, cache=False)


def test_ngram_learns_more_from_more_texts():
    """Counts add up: two halves, one after the other, are all of it."""
    rows = rows_of(Table().windows(random_letters(30, 20), shuffle=False, packed=True))
    once, twice = (text.NGram(LETTERS, 4, 24) for _ in range(2))
    for model, parts in ((once, [rows]), (twice, np.array_split(rows, 2))):
        model.compile()
        for part in parts:
            model.fit(part, batch_size=3, verbose=0)
            losses = model.token_losses(rows)  # the tables are made, and must be made again
    np.testing.assert_array_equal(once.token_losses(rows), losses)
    assert (losses[rows[:, 1:] != PADDING] > 0).all()


def test_ngram_that_has_seen_nothing_is_uniform():
    model = text.NGram(LETTERS, 3, 24)
    model.compile()
    losses = evaluate(model, random_letters(10, 20))
    np.testing.assert_allclose(losses["perplexity"], SIZE, rtol=1e-5)
    np.testing.assert_allclose(losses["loss"], np.log(SIZE), rtol=1e-5)
    np.testing.assert_allclose(model.token_probabilities("abc"), 1 / SIZE, rtol=1e-5)


def test_ngram_learns_a_cycle():
    model = counted(["abcd" * 500], 2, context_length=4_000)
    losses = evaluate(model, ["abcd" * 100], packed=True)
    assert 0 < losses["loss"] < 0.05
    assert model.generate("b", 50, temperature=0) == ("bcda" * 20)[:51]
    inside = model.token_losses(np.array([LETTERS.encode("abcd" * 10)]))[0, 1:]
    assert (inside < 0.01).all()


def test_higher_orders_are_better_where_the_text_has_memory():
    """A letter that repeats the one before the last: nothing for two, all of it for three."""
    rng = np.random.default_rng(0)
    texts = [
        "".join(a + b for a, b in itertools.repeat(rng.choice(list("abcd"), 2), 10))
        for _ in range(30)
    ]
    one, two, three = (evaluate(counted(texts, order), texts)["loss"] for order in (1, 2, 3))
    assert three < 0.5 * two < 0.5 * one


def test_ngram_thinks_nothing_impossible():
    """Of these letters all have the same count, for which the formula has a discount below 0."""
    model = counted(["abc"] * 4, 1)
    assert np.isfinite(model.token_losses(np.array([[END, 5]]))).all()


def test_ngram_refuses():
    model = text.NGram(LETTERS, 2, 24)
    model.compile()
    with pytest.raises(ValueError, match="epochs: got 2, accepted is 1"):
        model.fit(model.windows(["abc"]), epochs=2)
    most = max(n for n in range(40) if SIZE**n <= 2**62)
    assert text.NGram(LETTERS, most).order == most
    with pytest.raises(ValueError, match=f"order: got {most + 1}, accepted is 1 to {most}"):
        text.NGram(LETTERS, most + 1)
    with pytest.raises(ValueError, match="order: got 0"):
        text.NGram(LETTERS, 0)


@pytest.mark.parametrize(
    "arguments", [{"optimizer": "adam"}, {"jit_compile": True}, {"run_eagerly": False}]
)
def test_compile_ignores_nothing(arguments):
    (name,) = arguments
    model = text.NGram(LETTERS, 2, 24)
    with pytest.raises(ValueError, match=f"{name}: got {arguments[name]!r}, .*: it counts"):
        model.compile(**arguments)
    model.compile(jit_compile="auto", run_eagerly=True, steps_per_execution=2)
    assert (model.jit_compile, model.steps_per_execution) == (False, 2)


def test_ngram_of_the_highest_order_counts_exactly():
    """Its keys go up to 2 ** 62: none may overflow into another."""
    texts, order = ["dcba" * 10, "abcd" * 10, "d" * 30], int(62 / math.log2(SIZE))
    model = counted(texts, order, context_length=48)
    rows = [[END, *LETTERS.encode(string).tolist(), END] for string in texts]
    grams = [tuple(row[i : i + order]) for row in rows for i in range(len(row) - order + 1)]
    digits = [SIZE**i for i in reversed(range(order))]
    keys = {
        sum(map(int.__mul__, gram, digits)): n for gram, n in collections.Counter(grams).items()
    }
    found, counts = model.counts[-1]
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == keys


@pytest.mark.parametrize("texts", [[], random_letters(12, 20)])
def test_ngram_is_saved_and_loaded(texts, tmp_path):
    model = counted(texts, 3) if texts else text.NGram(LETTERS, 3, 24)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.generate(["a", "bcd"], 40, seed=1) == model.generate(["a", "bcd"], 40, seed=1)
    assert again.text_losses(["abcd", "a鸟"])[0].tolist() == (
        model.text_losses(["abcd", "a鸟"])[0].tolist()
    )
    assert again.order == 3 and again.context_length == 24
