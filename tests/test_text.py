"""Chapter 05: tokenisers, windows, the n-gram model, metrics of text, sampling, refusals."""

import collections
import itertools
import json
import math
from fractions import Fraction

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from keras import ops

from aigc_keras import metrics, text

END, PADDING = text.END, text.PADDING
SENTENCES = [
    "In the beginning God created the heaven and the earth.",
    "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。",
    "A bird 🐦, a family 👨‍👩‍👧 and a flag 🇨🇳: naïve, Ωμέγα, 𠮷",
    "",
]
SPECIAL = "<|endoftext|><s></s>[PAD][UNK][CLS] <unk> \0 \ufeff \ufffd END"


def random_text(n, seed):
    """Characters from all of Unicode."""
    points = np.random.default_rng(seed).integers(0, 0x110000 - 2048, n)
    return "".join(chr(point + 2048 * (point >= 0xD800)) for point in points)


TEXTS = [*SENTENCES, SPECIAL, random_text(200, seed=0)]
LETTERS = text.CharTokenizer("abcd")  # END, unknown, a, b, c, d
SIZE = LETTERS.vocab_size


@pytest.fixture(scope="module")
def bpe():
    return text.BPETokenizer.train(SENTENCES[:1] * 5 + SENTENCES[1:2] * 2, 300)


class Table(text.LanguageModel):
    """The logits of the next token are a row of a table: that of the last token."""

    def __init__(self, tokenizer=LETTERS, context_length=24, **kwargs):
        super().__init__(tokenizer, context_length, **kwargs)
        shape = (tokenizer.vocab_size, tokenizer.vocab_size)
        self.table = self.add_weight(shape=shape, initializer="zeros", name="table")
        self.built = True

    def call(self, inputs, training=False):
        return ops.take(self.table, ops.cast(inputs, "int32"), axis=0)

    def begin(self, window):
        return ()

    def step(self, token, position, state):
        return ops.take(self.table, token, axis=0), state


class BiasedTable(Table):
    """A table and a vector that is added to each of its rows."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.bias = self.add_weight(shape=(SIZE,), initializer="ones", name="bias")

    def call(self, inputs, training=False):
        return super().call(inputs) + self.bias


def compiled(model):
    """Ready to evaluate: building a graph would take longer."""
    model.compile("sgd", run_eagerly=True, jit_compile=False)
    return model


def random_table(seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(0, 1.5, (size, size)).astype("float32")


def evaluate(model, texts, batch_size=4, packed=False):
    data = model.windows(texts, batch_size, shuffle=False, packed=packed)
    return model.evaluate(data, verbose=0, return_dict=True)


def rows_of(batches):
    """All rows but those that only fill up the last batch."""
    rows = np.concatenate(list(batches))
    return rows[(rows != PADDING).any(axis=1)]


def random_letters(n_texts, length, seed=0, letters="abcd"):
    """Texts of `length` letters or fewer in which some follow others more often."""
    rng, texts = np.random.default_rng(seed), []
    for _ in range(n_texts):
        state, letter = "", 0
        for _ in range(rng.integers(1, length + 1)):
            letter = (letter + rng.choice(len(letters), p=[0.1, 0.6, 0.2, 0.1])) % len(letters)
            state += letters[letter]
        texts.append(state)
    return texts


# --- tokenisers ---


@pytest.mark.parametrize("string", TEXTS)
def test_tokenisers_give_the_text_back(string, bpe):
    for tokenizer in (bpe, text.CharTokenizer.train(TEXTS)):
        tokens = tokenizer.encode(string)
        assert tokens.dtype == np.int32
        assert tokenizer.decode(tokens) == string
        assert tokenizer.decode([END, *tokens, END]) == string


@pytest.mark.parametrize("string", [*TEXTS, random_text(2_000, seed=1)])
def test_characters_per_token_count_the_characters(string, bpe):
    """Also of tokens that are a part of a character, and of characters that are not known."""
    for tokenizer in (bpe, LETTERS):
        assert len(tokenizer.characters_per_token) == tokenizer.vocab_size
        assert tokenizer.characters_per_token[tokenizer.encode(string)].sum() == len(string)
        assert tokenizer.characters_per_token[END] == 0


@pytest.mark.parametrize("string", TEXTS)
def test_no_text_contains_end(string, bpe):
    for tokenizer in (bpe, LETTERS, text.CharTokenizer.train(TEXTS)):
        tokens = tokenizer.encode(string)
        assert ((tokens > END) & (tokens < tokenizer.vocab_size)).all()


def test_end_is_no_token_even_where_the_texts_look_like_it():
    tokenizer = text.BPETokenizer.train([SPECIAL] * 10, 320)
    tokens = tokenizer.encode(SPECIAL)
    assert tokens.min() > END
    assert len(tokens) < len(SPECIAL.encode()) / 2  # some of it became tokens
    assert tokenizer.decode(tokens) == SPECIAL


def test_char_tokenizer_sizes_and_order():
    assert text.CharTokenizer("ba").encode("abz").tolist() == [2, 3, 1]
    assert text.CharTokenizer.train(["ba", "", "ab"]).characters == "ab"
    assert text.CharTokenizer.train(SENTENCES).vocab_size == 2 + len(set("".join(SENTENCES)))
    assert text.CharTokenizer("").encode("ab").tolist() == [1, 1]
    assert text.CharTokenizer("").vocab_size == 2


def test_unknown_characters():
    """One token for all, U+FFFD when read back; which one of them it was costs its share."""
    assert LETTERS.encode("a鸟🐦d").tolist() == [2, 1, 1, 5]
    assert LETTERS.decode([2, 1, 1, 5]) == "a\ufffd\ufffdd"
    others = sum(1 for point in range(0x110000) if not 0xD800 <= point < 0xE000) - 4
    assert LETTERS.extra_nats[1] == np.float32(math.log(others))
    assert not np.delete(LETTERS.extra_nats, 1).any()


def test_bpe_with_bytes_only_and_with_merges(bpe):
    only_bytes = text.BPETokenizer.train(SENTENCES, 257)
    assert only_bytes.vocab_size == 257
    for string in TEXTS:
        assert len(only_bytes.encode(string)) == len(string.encode())
    assert bpe.vocab_size == 300
    assert len(bpe.encode(SENTENCES[0])) < len(SENTENCES[0]) / 2
    assert not bpe.extra_nats.any()
    # The first two bytes of a bird are no character.
    assert "\ufffd" in bpe.decode(bpe.encode("🐦")[:2])


@pytest.mark.parametrize("unit", ["春", "ä", "🐦", "a", "7", "-", " ", "\n", "a春7"])
def test_bpe_cuts_long_runs(unit):
    """Whatever they are made of: no token is longer, and nothing is lost."""
    run = unit * 5_000
    tokenizer = text.BPETokenizer.train([run], 2_000)
    tokens = tokenizer.encode(run)
    assert tokenizer.decode(tokens) == run
    assert max(map(len, tokenizer.tokenizer.get_vocab())) <= 192  # a letter is a byte there


def test_bpe_leaves_words_whole():
    """A vocabulary of words is what the library learns without cuts."""
    from tokenizers import pre_tokenizers

    words = [" ".join(SENTENCES), "anti" * 40 + "  \n\n don't 1234 --"]
    mine = text.BPETokenizer.train(words, 400)
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for string in words:
        assert mine.tokenizer.pre_tokenizer.pre_tokenize_str(string) == (
            plain.pre_tokenize_str(string)
        )


@pytest.mark.parametrize("size", [10**6, 10**12, 10**30])
def test_bpe_takes_no_memory_for_tokens_that_cannot_be(size):
    tokenizer = text.BPETokenizer.train(["abab abab ä"], size)
    assert tokenizer.vocab_size == 257 + 5  # ab, abab, ä; and with the space abab, ä


@pytest.mark.parametrize("size", [256, 0, 300.0])
def test_bpe_refuses_a_vocabulary_without_the_bytes(size):
    with pytest.raises(ValueError, match=r"vocab_size: got .* >= 257"):
        text.BPETokenizer.train(SENTENCES, size)


def test_tokenisers_are_saved_and_restored(bpe):
    for tokenizer in (bpe, LETTERS, text.CharTokenizer.train(TEXTS)):
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(tokenizer)))
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is type(tokenizer) and again.vocab_size == tokenizer.vocab_size
        np.testing.assert_array_equal(again.characters_per_token, tokenizer.characters_per_token)
        for string in TEXTS:
            np.testing.assert_array_equal(again.encode(string), tokenizer.encode(string))


# --- windows ---


@pytest.mark.parametrize("length", [2, 3, 4, 11, 12, 50])
def test_packed_windows_have_every_token_as_a_target_once(length):
    texts = ["ab", "", "cda", "dddd"]
    stream = [END] + [t for string in texts for t in [*LETTERS.encode(string), END]]
    batches = list(Table(context_length=length).windows(texts, 2, shuffle=False))
    assert {batch.shape for batch in batches} == {(2, length + 1)}
    rows = rows_of(batches)
    targets = rows[:, 1:].ravel()
    assert targets[targets != PADDING].tolist() == stream[1:]
    assert rows[0, 0] == END
    np.testing.assert_array_equal(rows[1:, 0], rows[:-1, -1])  # they overlap by one
    filled = (targets != PADDING).tolist()
    assert filled == sorted(filled, reverse=True)  # padding comes last


@pytest.mark.parametrize("shuffle", [False, True])
def test_unpacked_windows_have_one_text_a_row(shuffle):
    texts = ["ab", "", "cda"]
    expected = [[0, 2, 3, 0, -1], [0, 0, -1, -1, -1], [0, 4, 5, 2, 0]]
    batches = list(Table(context_length=4).windows(texts, 2, shuffle=shuffle, packed=False))
    assert {batch.shape for batch in batches} == {(2, 5)}
    rows = rows_of(batches).tolist()
    assert (sorted(rows) == sorted(expected)) if shuffle else (rows == expected)


@pytest.mark.parametrize("packed", [True, False])
def test_shuffled_windows_repeat_with_the_seed_and_differ_between_epochs(packed):
    model, texts = Table(context_length=16), random_letters(40, 15)

    def epochs(seed):
        data = model.windows(texts, 4, seed=seed, packed=packed)
        return [rows_of(data) for _ in range(2)]

    first = epochs(7)
    np.testing.assert_array_equal(first, epochs(7))
    for a, b in itertools.combinations([*first, epochs(8)[0]], 2):
        assert a.shape == b.shape and (a != b).any()


def test_shuffled_windows_are_parts_of_the_text_that_begin_anywhere():
    model, texts = Table(context_length=16), random_letters(40, 15)
    stream = [END] + [t for string in texts for t in [*LETTERS.encode(string), END]]
    parts = {tuple(stream[i : i + 17]): i for i in range(len(stream))}
    data = model.windows(texts, 4)
    starts = []
    for _ in range(6):
        rows = [tuple(t for t in row if t != PADDING) for row in rows_of(data).tolist()]
        assert all(row in parts for row in rows)
        starts.append([parts[row] % 16 for row in rows])
    assert {len(row) for row in starts} == {math.ceil((len(stream) - 1) / 16)}
    assert set(np.concatenate(starts)) == set(range(16))


@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        ([], {}, r"texts: got \[\], accepted is a list"),
        ("abc", {}, r"texts: got 'abc', accepted is a list"),
        (
            ["ab", "abcd"],
            {"packed": False},
            r"texts: the longest has 5 tokens .* context_length, 4",
        ),
        (["ab"], {"batch_size": 0}, "batch_size: got 0"),
    ],
)
def test_windows_refuses(texts, arguments, message):
    with pytest.raises(ValueError, match=message):
        Table(context_length=4).windows(texts, **arguments)


@pytest.mark.parametrize("length", [0, 1, 16.0])
def test_models_refuse_a_context_without_a_token_before(length):
    with pytest.raises(ValueError, match=r"context_length: got .* >= 2"):
        Table(context_length=length)


# --- counting ---


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


# --- metrics ---


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(bpe):
    for tokenizer in (LETTERS, bpe):
        losses = evaluate(compiled(Table(tokenizer)), ["abcd", "", "da"], packed=True)
        np.testing.assert_allclose(losses["perplexity"], tokenizer.vocab_size, rtol=1e-5)
        np.testing.assert_allclose(losses["loss"], np.log(tokenizer.vocab_size), rtol=1e-5)


def test_ngram_knows_how_texts_begin_packed_or_not():
    texts = ["a."] * 90 + ["b."] * 10
    begins = []
    for packed in (True, False):
        model = text.NGram(text.CharTokenizer("ab."), 3, 24)
        model.compile()
        model.fit(model.windows(texts, 1024, shuffle=False, packed=packed), verbose=0)
        begins.append(model.token_probabilities("")[2:])  # ".", "a", "b"
    np.testing.assert_allclose(*begins, atol=0.03)
    assert begins[0][1] > 0.8


@pytest.mark.parametrize("packed", [True, False])
def test_evaluate_does_not_depend_on_the_batches(packed):
    """Nor do END and padding count as characters."""
    model, texts = compiled(Table()), random_letters(13, 20)
    model.table.assign(random_table())
    n_characters, n_tokens = sum(map(len, texts)), sum(map(len, texts)) + len(texts)
    log_p = scipy.special.log_softmax(random_table().astype("float64"), axis=-1)
    stream = [END] + [t for string in texts for t in [*LETTERS.encode(string), END]]
    nats = -log_p[stream[:-1], stream[1:]].sum()
    for batch_size in (1, 3, 20):
        losses = evaluate(model, texts, batch_size, packed)
        np.testing.assert_allclose(losses["loss"], nats / n_tokens, rtol=1e-5)
        np.testing.assert_allclose(losses["perplexity"], np.exp(nats / n_tokens), rtol=1e-5)
        bits = nats / math.log(2) / n_characters
        np.testing.assert_allclose(losses["bits_per_character"], bits, rtol=1e-5)


def test_bits_per_character_counts_the_characters_of_bpe(bpe):
    losses = evaluate(compiled(Table(bpe, context_length=80)), SENTENCES, packed=True)
    n_tokens = sum(len(bpe.encode(string)) + 1 for string in SENTENCES)
    bits = n_tokens * math.log2(bpe.vocab_size) / sum(map(len, SENTENCES))
    np.testing.assert_allclose(losses["bits_per_character"], bits, rtol=1e-5)


def test_text_losses_are_those_of_evaluate():
    model, texts = compiled(Table()), [*random_letters(9, 20), ""]
    model.table.assign(random_table())
    nats, characters = model.text_losses(texts, batch_size=4)
    assert characters.tolist() == [len(string) for string in texts]
    losses = evaluate(model, texts)
    np.testing.assert_allclose(nats.sum(), losses["loss"] * (characters + 1).sum(), rtol=1e-5)
    log_p = scipy.special.log_softmax(random_table().astype("float64"), axis=-1)
    for string, one in zip(texts, nats, strict=True):
        tokens = [END, *LETTERS.encode(string), END]
        np.testing.assert_allclose(one, -log_p[tokens[:-1], tokens[1:]].sum(), rtol=1e-5)
    # Cut into parts: each token is counted once all the same.
    short = Table(context_length=5)
    short.table.assign(random_table())
    np.testing.assert_allclose(short.text_losses(texts)[0], nats, rtol=1e-5)


def test_surprisal_are_those_of_the_tokens():
    model = Table(context_length=5)
    model.table.assign(random_table())
    pieces, bits = model.surprisal("abcab")
    assert pieces == list("abcab")
    log_p = scipy.special.log_softmax(random_table().astype("float64"), axis=-1)
    tokens = [END, *LETTERS.encode("abcab")]
    np.testing.assert_allclose(bits, -log_p[tokens[:-1], tokens[1:]] / math.log(2), rtol=1e-5)
    with pytest.raises(ValueError, match="text: got 6 tokens, accepted are 1 to 5"):
        model.surprisal("abcabc")


@pytest.mark.parametrize("texts", [[], "abc"])
def test_text_losses_refuses(texts):
    with pytest.raises(ValueError, match="texts: got"):
        text.NGram(LETTERS, 2, 24).text_losses(texts)


def test_unknown_characters_cost_what_it_takes_to_say_which():
    """The probabilities of all characters and of END add up to one."""
    model = text.NGram(LETTERS, 2, 24)
    others = 0x110000 - 2048 - 4
    (none, known, unknown, mixed), characters = model.text_losses(["", "a", "鸟", "鸟a鸟"])
    np.testing.assert_allclose(unknown - known, math.log(others), rtol=1e-5)
    np.testing.assert_allclose(mixed - none, 3 * math.log(SIZE) + 2 * math.log(others), rtol=1e-5)
    assert characters.tolist() == [0, 1, 1, 3]
    end = none
    p = [math.exp(end - x) for x in (known, unknown)]
    np.testing.assert_allclose(4 * p[0] + others * p[1] + math.exp(-end), 1, rtol=1e-5)
    model.compile()
    bits = evaluate(model, ["鸟a鸟"])["bits_per_character"]
    np.testing.assert_allclose(bits, mixed / 3 / math.log(2), rtol=1e-5)


def test_bits_per_character_and_its_error():
    """A ratio of sums; the error is that of drawing the texts again."""
    rng = np.random.default_rng(0)
    characters = rng.integers(20, 400, 200).astype("float64")
    nats = characters * rng.normal(1.5, 0.2, 200) + rng.normal(0, 10, 200)
    bits, error = metrics.bits_per_character(nats, characters)
    np.testing.assert_allclose(bits, nats.sum() / characters.sum() / math.log(2))
    chosen = rng.integers(0, 200, (4_000, 200))
    bootstrap = nats[chosen].sum(axis=1) / characters[chosen].sum(axis=1) / math.log(2)
    assert error == pytest.approx(bootstrap.std(), rel=0.15)
    # Texts that all cost the same leave no doubt.
    assert metrics.bits_per_character(characters, characters)[1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("nats", "characters"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0]), (np.ones((2, 2)), np.ones((2, 2)))],
)
def test_bits_per_character_refuses(nats, characters):
    with pytest.raises(ValueError, match="nats, characters: got shapes"):
        metrics.bits_per_character(nats, characters)


def test_ngram_overlap():
    poem = "床前明月光，疑是地上霜。"
    for n in (1, 3, len(poem)):
        assert metrics.ngram_overlap([poem], ["，" + poem], n) == 1
    assert metrics.ngram_overlap(["abc"], ["def", "ghi"], 1) == 0
    # ab, bc, cd of the one, ab of the other: three of four are there; across texts there is none.
    assert metrics.ngram_overlap(["abcd", "ab", "x"], ["xabc", "ab", "d"], 2) == 3 / 4
    assert metrics.ngram_overlap(["cd"], ["abc", "d"], 2) == 0
    words, reference = (
        ["in", "the", "house", "of", "the", "king"],
        ["the", "house", "of", "a", "king"],
    )
    # Of five pairs: the house, house of.
    assert metrics.ngram_overlap([words], [reference], 2) == 2 / 5
    assert metrics.ngram_overlap([words], [reference], 1) == 5 / 6


def test_ngram_overlap_refuses():
    with pytest.raises(ValueError, match="texts: none of the 2 has 4 items"):
        metrics.ngram_overlap(["abc", ""], ["abcdef"], 4)
    with pytest.raises(ValueError, match="n: got 0"):
        metrics.ngram_overlap(["abc"], ["abc"], 0)


# --- sampling ---


def assert_drawn_from(counts, p):
    """Pearson's test; what has no probability must not occur."""
    counts, p = np.asarray(counts), np.asarray(p, "float64")
    assert not counts[p == 0].any()
    assert (counts.sum() * p[p > 0] > 5).all()
    assert scipy.stats.chisquare(counts[p > 0], counts.sum() * p[p > 0]).pvalue > 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_draw_has_the_probabilities_of_the_softmax(seed):
    logits = np.array([0.0, 1.0, -np.inf, 2.5, -2.0, 1.0], "float32")
    tokens = text.draw(np.tile(logits, (20_000, 1)), (seed, 3))
    assert tokens.dtype == "int32" and tokens.shape == (20_000,)
    assert_drawn_from(
        np.bincount(tokens, minlength=6), scipy.special.softmax(logits.astype("float64"))
    )
    np.testing.assert_array_equal(tokens, text.draw(np.tile(logits, (20_000, 1)), (seed, 3)))
    assert (tokens != text.draw(np.tile(logits, (20_000, 1)), (seed, 4))).numpy().any()


def kept(logits, **settings):
    """Which logits are left; those must be as they were."""
    cut = np.array(text.keep_top(np.asarray(logits, "float32"), **settings))
    left = np.isfinite(cut)
    np.testing.assert_array_equal(cut[left], np.asarray(logits, "float32")[left])
    assert (cut[~left] == -np.inf).all()
    return left


def brute_top(logits, top_k=None, top_p=None):
    """The k largest; then of those, renormalised, the smallest set with probability >= p."""
    left = set(sorted(range(len(logits)), key=lambda i: -logits[i])[:top_k])
    if top_p is not None:
        weights = {i: math.exp(logits[i]) for i in left}
        total, chosen = sum(weights.values()), set()
        while sum(weights[i] for i in chosen) < top_p * total:
            chosen.add(max(left - chosen, key=weights.get))
        left = chosen
    return [i in left for i in range(len(logits))]


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 1},
        {"top_k": 7},
        {"top_p": 0.01},
        {"top_p": 0.5},
        {"top_p": 0.9},
        {"top_p": 0.999},
        {"top_k": 7, "top_p": 0.6},
        {"top_k": 30, "top_p": 0.9},
        {"top_k": 2, "top_p": 0.999999},
    ],
)
def test_keep_top_keeps_what_a_search_finds(settings):
    logits = np.random.default_rng(0).normal(0, 2, (100, 30)).astype("float32")
    left = kept(logits, **settings)
    assert left.tolist() == [brute_top(row, **settings) for row in logits.tolist()]
    if "top_p" not in settings:
        assert (left.sum(axis=1) == settings["top_k"]).all()


def test_keep_top_limits():
    logits = np.random.default_rng(0).normal(0, 2, (100, 30))
    for settings in ({}, {"top_k": 30}, {"top_k": 1_000}, {"top_p": 1.0}):
        assert kept(logits, **settings).all()
    with_zero = [[1.0, -np.inf, 0.0]]
    assert kept(with_zero, top_p=1.0).tolist() == [[True, False, True]]
    assert kept(with_zero, top_k=3).tolist() == [[True, False, True]]


def test_keep_top_keeps_all_or_none_of_equals():
    assert kept([[1.0, 0.0, 1.0, 1.0]], top_k=2).tolist() == [[True, False, True, True]]
    assert kept([[0.0, 0.0, 0.0, 0.0]], top_p=0.3).all()
    # 1/2 is reached by the first alone, and passed only with both of the others.
    logits = np.log([[0.25, 0.5, 0.25]])
    assert kept(logits, top_p=0.499).tolist() == [[False, True, False]]
    assert kept(logits, top_p=0.501).all()


@pytest.mark.parametrize("top_p", [0.9, 0.99, 0.999, 1.0, 1])
def test_keep_top_loses_no_token_of_a_large_vocabulary(top_p):
    """As many as in double precision, of many small ones too; also for what a graph is given."""
    logits = np.random.default_rng(0).normal(0, 3, (20, 50_000)).astype("float32")
    p = -np.sort(-scipy.special.softmax(logits.astype("float64"), axis=-1))
    together = np.cumsum(p[:, ::-1], axis=-1)[:, ::-1]  # of each and all smaller ones
    expected = (together > 1 - top_p).sum(axis=1)
    for given in (top_p, tf.constant(top_p, "float64")):
        np.testing.assert_array_equal(kept(logits, top_p=given).sum(axis=1), expected)


def test_top_p_of_almost_nothing_and_of_all():
    logits = np.array([[3.0, 1.0, -1e9], [2.0, 2.0, 0.0]])
    assert kept(logits, top_p=1).all()
    tiny = kept(logits, top_p=5e-324)
    assert tiny.tolist() == [[True, False, False], [True, True, False]]


def test_penalize_repetition_lowers_whatever_the_sign():
    logits, seen = np.array([[2.0, -2.0, 2.0, -2.0, 0.0]]), [[True, True, False, False, True]]
    np.testing.assert_allclose(
        text.penalize_repetition(logits, np.array(seen), 4.0), [[0.5, -8, 2, -2, 0]]
    )
    np.testing.assert_allclose(text.penalize_repetition(logits, np.array(seen), 1.0), logits)


# --- generate ---

NEVER = -1e9


@pytest.fixture(scope="module")
def shared():
    """Compiled once for all tests; each gives it the table it needs."""
    return Table(context_length=64)


@pytest.fixture
def chain(shared):
    """A random Markov chain on a, b, c, d that never ends and likes what is not known."""
    table = random_table(18)  # each letter is often visited, also where little is kept
    table[:, END], table[:, 1] = NEVER, 9.0
    shared.table.assign(table)
    return shared


@pytest.fixture
def cycle(shared):
    """Writes a, b, c, d, a, b, ..."""
    shared.table.assign(cycle_table(range(2, 6), SIZE))
    return shared


def cycle_table(tokens, size):
    table = np.zeros((size, size), "float32")
    tokens = list(tokens)
    table[tokens, tokens[1:] + tokens[:1]] = 1e4
    return table


def assert_transitions(texts, p):
    """How often which letter follows which, against p (4, 4)."""
    pairs = collections.Counter(pair for string in texts for pair in itertools.pairwise(string))
    for a, row in zip("abcd", p, strict=True):
        assert_drawn_from([pairs[a, b] for b in "abcd"], row)


PROMPTS = ["a", "dcb", "ab" * 40]  # the last is longer than the context


@pytest.mark.parametrize("temperature", [0.6, 1.0, 3.0])
def test_generate_draws_from_the_model(chain, temperature):
    """At a temperature, and never the token for what is not known."""
    texts = chain.generate(PROMPTS, 2_000, temperature, seed=5)
    assert all(set(string) == set("abcd") for string in texts)
    logits = chain.table.numpy()[2:, 2:].astype("float64") / temperature
    written = [string[len(prompt) - 1 :] for prompt, string in zip(PROMPTS, texts, strict=True)]
    assert_transitions(written, scipy.special.softmax(logits, axis=-1))


def test_generate_draws_from_what_is_kept(chain):
    """All settings together, in this order: temperature, top_k, top_p."""
    texts = chain.generate(PROMPTS, 2_000, 2.0, top_k=3, top_p=0.75, seed=5)
    logits = chain.table.numpy()[2:, 2:].astype("float64") / 2.0
    left = np.array([brute_top(row, 3, 0.75) for row in logits.tolist()])
    assert 4 < left.sum() < 12
    p = scipy.special.softmax(np.where(left, logits, -np.inf), axis=-1)
    written = [string[len(prompt) - 1 :] for prompt, string in zip(PROMPTS, texts, strict=True)]
    assert_transitions(written, p)


def test_temperature_zero_takes_the_likeliest(chain):
    greedy = chain.generate("a", 60, temperature=0)
    best = dict(zip("abcd", "abcd", strict=True))
    for a, row in zip("abcd", chain.table.numpy()[2:, 2:].astype("float64"), strict=True):
        best[a] = "abcd"[row.argmax()]
    assert all(b == best[a] for a, b in itertools.pairwise(greedy)) and len(greedy) == 61
    assert chain.generate("a", 60, top_k=1, temperature=5.0, seed=3) == greedy
    assert chain.generate("a", 60, temperature=0, seed=9) == greedy


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-38, 1e-30, 1e-12])
@pytest.mark.parametrize("settings", [{}, {"top_k": 3, "top_p": 0.9, "repetition_penalty": 1e39}])
def test_a_temperature_near_zero_takes_the_likeliest(chain, temperature, settings):
    greedy = chain.generate("ab", 60, temperature=0, **settings)
    assert chain.generate("ab", 60, temperature=temperature, seed=3, **settings) == greedy


@pytest.mark.parametrize("temperature", [1e15, 1e30, 1e38, 1e39, 1e300, 10**400])
def test_a_high_temperature_takes_all_alike(chain, temperature):
    table = chain.table.numpy()
    table[:, END] = -np.inf
    chain.table.assign(table)
    texts = chain.generate(PROMPTS, 500, temperature, seed=5)
    counts = collections.Counter("".join(texts))
    assert_drawn_from([counts[a] for a in "abcd"], [0.25] * 4)


def test_other_numbers_need_no_other_graph():
    """Each would take two seconds and ten megabytes."""
    model = Table(context_length=64)
    numbers = itertools.product((0.5, 1, 1e-30), (1, 2, 10**400), (0.5, 0.999), (1.5, 2, 1e300))
    for i, (temperature, top_k, top_p, penalty) in enumerate(numbers):
        model.generate("a", 3 + i, temperature, top_k, top_p, penalty, seed=i)
    counts = [graph.experimental_get_tracing_count() for graph in model._graphs.values()]
    assert counts == [1] * 2  # `begin` and the loop


def test_repetition_penalty_makes_what_was_written_unlikely(cycle):
    """a, then a: 1 against 0.9 of b and so on; divided by 1.2, each letter has its turn."""
    table = np.tile([NEVER, NEVER, 1.0, 0.9, 0.8, 0.7], (SIZE, 1))
    cycle.table.assign(table)
    assert cycle.generate("", 6, temperature=0) == "aaaaaa"
    assert cycle.generate("", 6, temperature=0, repetition_penalty=1.2) == "abaaaa"
    assert cycle.generate("", 6, temperature=0, repetition_penalty=2.0) == "abcdaa"
    assert (
        cycle.generate("b", 4, temperature=0, repetition_penalty=2.0) == "bacda"
    )  # the prompt too


def test_prompts_of_different_length_get_the_same_number_of_new_tokens(cycle):
    """Also the prompt that is longer than the context, and a text that is."""
    for n in (1, 7, 100):
        for prompt, string in zip(PROMPTS, cycle.generate(PROMPTS, n, seed=0), strict=True):
            new = ("abcd" * 30)["abcd".index(prompt[-1]) + 1 :][:n]
            assert string == prompt + new
    assert cycle.generate("a", 200, seed=0) == ("abcd" * 60)[:201]


def test_end_ends(cycle):
    table = cycle.table.numpy()
    table[5] = [1e4, 0, 0, 0, 0, 0]
    cycle.table.assign(table)
    for n in (4, 5, 60):
        assert cycle.generate(["a", "cdabc", "d"], n, seed=0) == ["abcd", "cdabcd", "d"]
    assert cycle.generate(["a", "cdabc", "d"], 1, seed=0) == ["ab", "cdabcd", "d"]
    assert "".join(cycle.generate("ab", 60, stream=True, seed=0)) == "abcd"
    assert cycle.generate("", 60, temperature=0) == ""  # after END all are alike: END is the first


def test_stop_cuts_before_the_first(cycle):
    assert cycle.generate("ab", 60, stop="ab", seed=0) == "abcd"  # what is given does not count
    assert cycle.generate("a", 60, stop=("a", "cd"), seed=0) == "ab"
    assert cycle.generate("a", 60, stop=["dab", "bcda"], seed=0) == "a"
    assert cycle.generate("a", 60, stop="cd" + "abcd" * 9, seed=0) == "ab"
    assert cycle.generate("a", 5, stop="ba", seed=0) == "abcdab"
    assert cycle.generate(PROMPTS, 60, stop="da", seed=0) == ["abc", "dcbc", "ab" * 40 + "c"]


def test_stop_changes_nothing_before_it(chain):
    for seed in range(10):
        whole = chain.generate("ab", 80, seed=seed)
        for stop in ("bb", "cad", ("dd", "ac"), "abcabc"):
            words = [stop] if isinstance(stop, str) else stop
            ends = [whole.find(word, 2) for word in words if word in whole[2:]]
            assert chain.generate("ab", 80, stop=stop, seed=seed) == whole[: min(ends, default=82)]


def test_seeds(chain):
    texts = [chain.generate("a", 60, seed=seed) for seed in (1, 1, 2, np.int64(1))]
    assert texts[0] == texts[1] == texts[3] != texts[2]
    assert chain.generate("a", 60) != chain.generate("a", 60)
    rows = chain.generate(["a", "a", "a"], 60, seed=1)
    assert len(set(rows)) == 3
    assert chain.generate(["a"], 60, seed=1) == [texts[0]]  # a list for a list


def test_the_models_seed_repeats_what_is_written():
    first, again, other = (
        [model.generate("a", 12) for _ in range(2)]
        for model in (text_model(seed) for seed in (3, 3, 4))
    )
    assert first == again and first[0] != first[1] and first[0] != other[0]


def text_model(seed):
    model = text.NGram(LETTERS, 2, 24, seed=seed)
    model.train_step(np.array([[END, *LETTERS.encode("abcdadbcabdc"), END]]))
    return model


def test_stream_writes_the_same_text(chain):
    for seed in range(3):
        for n in (1, 50):
            arguments = {"prompt": "ab", "max_new_tokens": n, "seed": seed}
            pieces = list(chain.generate(**arguments, stream=True))
            assert "".join(pieces) == chain.generate(**arguments)
            assert pieces == ["ab", *pieces[-n:]] and {len(x) for x in pieces[1:]} == {1}
    arguments = {"prompt": "ab", "max_new_tokens": 60, "seed": 0, "stop": "d"}
    assert "".join(chain.generate(**arguments, stream=True)) == chain.generate(**arguments)


def test_stream_keeps_back_what_may_become_a_stop(chain):
    """The beginning of a stop string is not shown before it is known that the rest is another."""
    for seed in range(5):
        for stop in ("cd", ("bdb", "dcd"), "abcabc"):
            arguments = {"prompt": "ab", "max_new_tokens": 60, "seed": seed, "stop": stop}
            assert "".join(chain.generate(**arguments, stream=True)) == chain.generate(**arguments)


def test_stream_gives_whole_characters():
    """Token by token the bytes of a hanzi and of a bird, which alone are nothing to show."""
    tokenizer = text.BPETokenizer.train(["a"], 257)
    model = Table(tokenizer)
    model.table.assign(cycle_table(tokenizer.encode("aä日🐦"), 257))
    pieces = list(model.generate("a", 19, stream=True, seed=0))
    assert pieces == ["a", *"ä日🐦aä日🐦"]
    # One byte of the bird is all there is time for: then it is shown as what it is.
    pieces = list(model.generate("日", 1, stream=True, seed=0))
    assert pieces == ["日", "\ufffd"]


# --- refusals ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -0.1}, r"temperature: got -0.1, accepted is a number >= 0"),
        ({"temperature": math.nan}, "temperature: got nan"),
        ({"temperature": math.inf}, "temperature: got inf"),
        ({"temperature": "hot"}, "temperature: got 'hot'"),
        ({"top_k": 0}, "top_k: got 0, accepted is an integer >= 1"),
        ({"top_k": 2.0}, r"top_k: got 2\.0"),
        ({"top_p": 0}, r"top_p: got 0, accepted is a number in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p: got 1\.5, accepted is a number in \(0, 1\]"),
        ({"top_p": -1}, "top_p: got -1"),
        ({"repetition_penalty": 0.5}, r"repetition_penalty: got 0\.5, accepted is a number >= 1"),
        ({"max_new_tokens": 0}, "max_new_tokens: got 0, accepted is an integer >= 1"),
        ({"max_new_tokens": 2.5}, r"max_new_tokens: got 2\.5"),
        ({"stop": ""}, "stop: got '', accepted are strings of at least one character"),
        ({"stop": ["a", ""]}, r"stop: got \['a', ''\]"),
        ({"prompt": []}, "prompt: got 0 prompts"),
        ({"prompt": ["a", "b"], "stream": True}, "prompt: got 2 prompts, .* with stream one"),
        ({"prompt": ["a", 3]}, "prompt: got 3, accepted is a string"),
        ({"prompt": b"ab"}, "prompt: got b'ab', accepted is a string"),
        ({"prompt": "a鸟b🐦"}, "prompt: the characters '鸟', '🐦' are not among the 4"),
        ({"prompt": ["a", "z"]}, "prompt: the characters 'z'"),
        ({"prompt": "z", "stream": True}, "prompt: the characters 'z'"),
        ({"seed": -1}, "seed: got -1"),
        ({"seed": 2**31}, "seed: got 2147483648"),
        ({"seed": 0.5}, r"seed: got 0\.5"),
        ({"prompt": 3}, "prompt: got 3, accepted is a string or a list"),
        ({"prompt": None}, "prompt: got None"),
        ({"stop": None}, "stop: got None"),
        ({"stop": ["a", 1]}, r"stop: got \['a', 1\]"),
    ],
)
def test_generate_refuses(chain, arguments, message):
    with pytest.raises(ValueError, match=message):
        list(chain.generate(**arguments))


IMAGES = np.zeros((4, 8, 8, 1), "float32")


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((4, 8)), r"x: got float64 of shape \(4, 8\), accepted are integers \(N, T\)"),
        (np.ones(8, int), r"x: got int64 of shape \(8,\)"),
        (np.ones((4, 8, 1), int), r"x: got int64 of shape \(4, 8, 1\)"),
        (np.ones((4, 26), int), r"shape \(4, 26\), .* 2 <= T <= 25"),
        (np.ones((4, 1), int), r"shape \(4, 1\)"),
        (np.full((4, 8), SIZE), r"x: got values from 6 to 6, .* each in \[-1, 6\)"),
        (np.full((4, 8), -2), "x: got values from -2 to -2"),
        (np.ones((0, 8), int), r"x: got int64 of shape \(0, 8\)"),
        (IMAGES, r"x: got float32 of shape \(4, 8, 8, 1\)"),
        (["ab", "cd"], r"x: got a list, .*model\.windows\(texts\)"),
        (None, "x: got a NoneType"),
        (dataset(np.ones((4, 8), int)).take(0), "x: got an empty dataset"),
        (dataset(np.ones((4, 8))), r"x: got float64 of shape \(2, 8\)"),
        (dataset(np.full((4, 8), SIZE)), "x: got values from 6 to 6"),
        (dataset(IMAGES), r"x: got float32 of shape \(2, 8, 8, 1\)"),
        (dataset(IMAGES, np.zeros(4, int)), "x: got a tuple, accepted are integers"),
        ([[1, 2], [1, 2, 3]], "x: got a list, accepted are integers"),
    ],
)
def test_fit_refuses(x, message):
    for model in (compiled(Table()), text.NGram(LETTERS, 2, 24)):
        model.compile()
        with pytest.raises(ValueError, match=message):
            model.fit(x)


def test_fit_takes_rows_that_are_shorter_than_the_context():
    """And finds the probabilities of what follows what, by gradient descent."""
    model = Table()
    model.compile(keras.optimizers.Adam(0.3), jit_compile=False)
    rows = np.array([[0, 2, 3, 0], [0, 2, 4, 0], [0, 2, 3, PADDING], [0, 2, 3, 0]])
    many = tf.data.Dataset.from_tensors(rows).repeat(60)
    model.fit(many, verbose=0)
    np.testing.assert_allclose(model.token_probabilities("a")[3:5], [0.75, 0.25], atol=0.02)
    # Of 11 tokens only those after a, 3 of 4 and 1 of 4, are uncertain.
    entropy = -(3 * math.log(0.75) + math.log(0.25)) / 11
    loss = model.evaluate(rows, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(entropy, abs=0.01)


def test_fit_takes_any_integers():
    for dtype in ("int64", "uint8"):
        history = compiled(Table()).fit(np.array([[0, 2, 3, 0]], dtype), verbose=0).history
        assert history["loss"] == pytest.approx([math.log(SIZE)], rel=1e-4)


# --- the optimizer ---


def rates(optimizer, steps):
    found = []
    for step in steps:
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return found


def test_adamw_warms_up_and_decays_to_a_tenth():
    optimizer = text.adamw(1_000, learning_rate=3e-3, warmup_steps=200)
    found = rates(optimizer, [0, 50, 200, 600, 1_000, 5_000])
    middle = 0.5 * (3e-3 + 3e-4)  # halfway through the cosine
    np.testing.assert_allclose(found, [0, 0.75e-3, 3e-3, middle, 3e-4, 3e-4], rtol=1e-5, atol=1e-9)


def test_adamw_without_steps_stays_where_the_warm_up_ends():
    optimizer = text.adamw(learning_rate=3e-3, warmup_steps=200)
    found = rates(optimizer, [0, 100, 200, 201, 10_000])
    np.testing.assert_allclose(found, [0, 1.5e-3, 3e-3, 3e-3, 3e-3], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("steps", [200, 0, 300.0])
def test_adamw_refuses_to_end_while_it_warms_up(steps):
    with pytest.raises(ValueError, match=r"steps: got .* >= 201"):
        text.adamw(steps, warmup_steps=200)


def test_weight_decay_skips_vectors():
    """With gradients of zero the decay is all that happens."""
    model = BiasedTable()
    model.table.assign(np.ones((SIZE, SIZE)))
    model.compile(text.adamw(learning_rate=0.1, warmup_steps=0, weight_decay=0.5))
    model.optimizer.apply([ops.zeros_like(w) for w in model.trainable_variables])
    np.testing.assert_allclose(model.table, 1 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(model.bias, 1)


def test_gradients_are_clipped_together():
    """Adam does not mind the size of gradients, but minds if they change: clipped, they do not."""
    model = BiasedTable()
    model.compile(text.adamw(learning_rate=0.1, warmup_steps=0, weight_decay=0.0))
    for size in (10.0, 1_000.0):
        model.optimizer.apply([ops.full_like(w, size) for w in model.trainable_variables])
    np.testing.assert_allclose(model.table, -0.2, rtol=1e-4)
    np.testing.assert_allclose(model.bias, 0.8, rtol=1e-4)
