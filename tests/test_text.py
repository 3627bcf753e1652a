"""Chapter 05: tokenisers, windows, metrics of text, what `fit` refuses, the optimizer."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from keras import ops
from letters import (
    END,
    LETTERS,
    PADDING,
    SIZE,
    Table,
    evaluate,
    random_letters,
    random_table,
    rows_of,
)

from aigc_keras import metrics, text

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


@pytest.fixture(scope="module")
def bpe():
    return text.BPETokenizer.train(SENTENCES[:1] * 5 + SENTENCES[1:2] * 2, 300)


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


# --- fit ---

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
