"""Chapter 09: from text to text."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import seq2seq, text
from aigc_keras.optimizers import Adam
from aigc_keras.seq2seq.model import filled
from aigc_keras.text.tokenizers import END, PADDING

LETTERS = text.CharTokenizer("abcdefgh")
KINDS = ["transformer", "rnn with attention", "rnn"]


def small(kind, **kwargs):
    keras.utils.set_random_seed(0)
    kwargs = {"context_length": 16, "seed": 0, **kwargs}
    if kind == "transformer":
        return seq2seq.Seq2Seq(LETTERS, width=16, num_layers=2, num_heads=2, **kwargs)
    return seq2seq.RNNSeq2Seq(LETTERS, units=16, with_attention="with" in kind, **kwargs)


def shaken(model):
    """With weights that say something: the first ones are all near zero."""
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


def texts(n, length, seed=0, letters="abcdefgh"):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), rng.integers(1, length + 1))) for _ in range(n)]


# --- the data ---


def test_batches_hold_each_pair_once_and_little_padding():
    sources, targets = texts(50, 14), texts(50, 12, seed=1)
    model = small("rnn")
    for shuffle in (False, True):
        found = []
        for read, written in model.batches(sources, targets, batch_size=8, shuffle=shuffle):
            assert len(read) == len(written) == 8
            assert read.shape[1] in (8, 16) and written.shape[1] in (8, 16)
            for a, b in zip(read.numpy(), written.numpy(), strict=True):
                a, b = a[a != PADDING], b[b != PADDING]
                if len(a):
                    assert a[-1] == END and b[0] == b[-1] == END
                    found.append((LETTERS.decode(a), LETTERS.decode(b)))
        assert sorted(found) == sorted(zip(sources, targets, strict=True))
    orders = [
        [x.numpy().tolist() for x, _ in data]
        for data in itertools.repeat(model.batches(sources, targets, batch_size=8), 2)
    ]
    assert orders[0] != orders[1] and sorted(map(str, orders[0])) == sorted(map(str, orders[1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], []), r"texts: got \[\]"),
        ((["a"], ["a", "b"]), "targets: got 2 texts, accepted are 1"),
        ((["a" * 16], ["a"]), r"sources\[0\]: got 17 tokens with END, accepted are at most 16"),
        ((["a", "b"], ["a", "b" * 16]), r"targets\[1\]: got 17 tokens"),
        ((["a", 3], ["a", "b"]), r"texts\[1\]: got 3"),
    ],
)
def test_batches_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        small("rnn").batches(*arguments)


# --- the objective ---


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_is_the_cross_entropy_with_a_smoothed_target(smoothing):
    """Against sums over all tokens in NumPy."""
    model = shaken(small("transformer", label_smoothing=smoothing))
    sources = filled([LETTERS.encode(x) for x in ("abc", "hgfed")], 16)
    rows = [np.append(END, LETTERS.encode(x)) for x in ("ba", "cdef")]
    tokens = filled(rows, 17)
    logits = np.asarray(model([sources, tokens[:, :-1]]), "float64")
    log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    losses, nats = [], []
    for row, target in zip(log_p, tokens[:, 1:], strict=True):
        for scores, token in zip(row, target, strict=True):
            if token != PADDING:
                aim = np.full(10, smoothing / 10)
                aim[token] += 1 - smoothing
                losses.append(-aim @ scores)
                nats.append(-scores[token])
    loss, total, count = model.sequence_loss(sources, tokens, training=True)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose((total, count), (np.sum(nats), len(nats)), rtol=1e-5)
    np.testing.assert_allclose(model.sequence_loss(sources, tokens)[0], np.mean(nats), rtol=1e-5)


# --- the networks ---


class InNumPy:
    """The Transformer again, one text at a time, position by position, in float64."""

    def __init__(self, model):
        self.model = model

    def dense(self, layer, x):
        kernel, bias = (np.asarray(w, "float64") for w in layer.weights)
        return x @ kernel + bias

    def norm(self, layer, x):
        gamma, beta = (np.asarray(w, "float64") for w in layer.weights)
        x = x - x.mean(axis=-1, keepdims=True)
        return gamma * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) + beta

    def turned(self, x):
        """Pairs of numbers are complex ones; each is multiplied by e^(i t w)."""
        half = x.shape[-1] // 2
        speeds = 10_000.0 ** -(np.arange(half) / half)
        z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * np.arange(len(x))[:, None] * speeds)
        return np.concatenate([z.real, z.imag], axis=-1)

    def attention(self, layer, queries, keys, values, seen, rotary):
        heads = []
        for q, k, v in zip(
            *(np.split(x, 2, axis=-1) for x in (queries, keys, values)), strict=True
        ):
            q, k = (self.turned(q), self.turned(k)) if rotary else (q, k)
            rows = []
            for t in range(len(q)):
                p = np.exp(k[: seen(t)] @ q[t] / np.sqrt(q.shape[-1]))
                rows.append(p / p.sum() @ v[: seen(t)])
            heads.append(rows)
        return self.dense(layer.out, np.concatenate(heads, axis=-1))

    def block(self, block, x, memory=None):
        q, k, v = np.split(self.dense(block.attention.qkv, self.norm(block.norm1, x)), 3, axis=-1)
        seen = (lambda t: len(x)) if memory is None else (lambda t: t + 1)
        x = x + self.attention(block.attention, q, k, v, seen, rotary=True)
        if memory is not None:
            q = self.dense(block.cross.query, self.norm(block.norm3, x))
            k, v = np.split(self.dense(block.cross.key_value, memory), 2, axis=-1)
            x = x + self.attention(block.cross, q, k, v, lambda t: len(memory), rotary=False)
        h = self.dense(block.expand, self.norm(block.norm2, x))
        h = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        return x + self.dense(block.project, h)

    def logits(self, source, target):
        embeddings = np.asarray(self.model.embedding.embeddings, "float64")
        memory, x = embeddings[source], embeddings[target]
        for block in self.model.encoder:
            memory = self.block(block, memory)
        memory = self.norm(self.model.encoder_norm, memory)
        for block in self.model.decoder:
            x = self.block(block, x, memory)
        return self.norm(self.model.decoder_norm, x) @ embeddings.T


def test_logits_are_those_of_another_implementation():
    model = shaken(small("transformer"))
    pairs = [("abcde", "fgh"), ("h", "aabbccdd"), ("gfedcbagfedcba", "")]
    reads = [np.append(LETTERS.encode(a), END) for a, _ in pairs]
    writes = [np.append(END, LETTERS.encode(b)).astype("int32") for _, b in pairs]
    found = np.asarray(model([filled(reads, 16), filled(writes, 16)]))
    for logits, read, written in zip(found, reads, writes, strict=True):
        expected = InNumPy(model).logits(read, written)
        assert np.ptp(expected) > 1
        np.testing.assert_allclose(logits[: len(written)], expected, atol=2e-5)


def test_cross_attention_is_a_loop_over_positions():
    model = shaken(small("transformer"))
    source, target = "abcde", "fgh"
    looks = model.attention(source, target)
    assert looks.shape == (2, 2, 4, 6)
    memory, _ = model.encode(np.append(LETTERS.encode(source), END)[None])
    block, memory = model.decoder[0], np.asarray(memory)[0]
    x = np.asarray(model.embedding(np.append(END, LETTERS.encode(target))[None]))
    x = x + np.asarray(block.attention(block.norm1(x))[0])
    queries = np.asarray(block.cross.query(block.norm3(x)))[0]
    keys = np.asarray(block.cross.key_value(memory))[:, :16]
    for head, row in itertools.product(range(2), range(4)):
        part = slice(8 * head, 8 * head + 8)
        scores = [queries[row, part] @ key[part] / np.sqrt(8) for key in keys]
        expected = np.exp(scores) / np.sum(np.exp(scores))
        np.testing.assert_allclose(looks[0, head, row], expected, rtol=1e-4)


def test_additive_attention_is_the_formula():
    """Bahdanau et al. 2015, appendix A.1.2: v . tanh(W s + U h), here of the state after a step."""
    model = shaken(small("rnn with attention"))
    states = np.random.default_rng(1).normal(size=(5, 16)).astype("float32")
    x = np.random.default_rng(2).normal(size=(3, 16)).astype("float32")
    seen = states[None], model.key(states[None]), np.array([[False] * 4 + [True]])
    found = np.asarray(model.look(tf.constant(x[None]), seen))[0]
    (w, b), (u,), (v,) = (layer.get_weights() for layer in (model.query, model.key, model.score))
    for row, state in zip(found, x, strict=True):
        scores = [np.tanh(state @ w + b + h @ u) @ v[:, 0] for h in states[:4]]
        np.testing.assert_allclose(row[:4], np.exp(scores) / np.sum(np.exp(scores)), rtol=1e-4)
        assert row[4] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    """A text alone, and beside longer ones, has the same logits, loss and translation."""
    model = shaken(small(kind))
    short, tokens = np.append(LETTERS.encode("abc"), END), np.append(END, LETTERS.encode("ed"))
    alone = model([short[None], tokens[None]])
    read = filled([short, LETTERS.encode("hgfedcbaab")], 16)
    written = filled([tokens, LETTERS.encode("abcdefgh")], 16)
    np.testing.assert_allclose(model([read, written])[0, :3], alone[0], atol=1e-5)
    many = ["abc", "h", "abcdefghabcdefg", "gfe"]
    assert model.generate(many)[0] == model.generate("abc") != ""
    expected = model.beam_search("abc", 2)
    found = model.beam_search(many, 2)[0]
    assert [x for x, _ in found] == [x for x, _ in expected]
    np.testing.assert_allclose([p for _, p in found], [p for _, p in expected], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_is_hidden(kind):
    model = shaken(small(kind))
    sources, tokens = np.array([[2, 3, 4, END]]), np.array([[END, 5, 6, 7, 8]])
    changed = tokens.copy()
    changed[0, 3:] = 9, 2
    first, second = model([sources, tokens]), model([sources, changed])
    np.testing.assert_allclose(first[0, :3], second[0, :3], atol=1e-6)
    assert np.abs(first[0, 3:] - second[0, 3:]).max() > 1e-3
    other = model([np.array([[2, 3, 5, END]]), tokens])
    assert np.abs(first - other).max() > 1e-4  # of the source, everything is seen


def test_one_tokenizer_shares_its_embeddings():
    shared = small("transformer")
    apart = seq2seq.Seq2Seq(LETTERS, text.CharTokenizer("xyz"), 16, 16, 2, 2)
    assert shared.source_embedding is shared.embedding
    assert apart.source_embedding.embeddings.shape == (10, 16)
    assert apart.embedding.embeddings.shape == (5, 16)
    assert apart([np.array([[9]]), np.array([[4]])]).shape == (1, 1, 5)


# --- writing ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_changes_nothing(kind):
    model = shaken(small(kind))
    settings = {"max_new_tokens": 10, "temperature": 0.7, "top_k": 3}
    given = ["abc", "hgfedcba", "d"]
    first, second = (model.generate(given, seed=seed, **settings) for seed in (1, 2))
    assert first != second and len(first) == len(second) == 3
    assert first == model.generate(given, seed=1, **settings, cache=False)


@pytest.mark.parametrize("kind", KINDS)
def test_wide_beams_find_the_likeliest_of_all_texts(kind):
    """Of three letters and END all 40 texts of at most three letters can be tried."""
    keras.utils.set_random_seed(0)
    letters = text.CharTokenizer("abc")
    if kind == "transformer":
        model = seq2seq.Seq2Seq(letters, None, 8, 16, 1, 2)
    else:
        model = seq2seq.RNNSeq2Seq(letters, None, 8, units=8, with_attention="with" in kind)
    shaken(model)
    found = model.beam_search(["ab", "cba"], 40, 4, length_penalty=0)
    words = ["".join(x) for n in range(4) for x in itertools.product("abc", repeat=n)]
    tokens = filled([[END, *letters.encode(word), END] for word in words], 5)
    for source, best in zip(("ab", "cba"), found, strict=True):
        read = np.tile(np.append(letters.encode(source), END), (len(words), 1))
        nats, _ = model.token_losses(read, tokens)
        expected = dict(zip(words, -np.sum(nats, axis=1), strict=True))
        best = {word: p for word, p in best if len(word) < 4}
        top = sorted(expected, key=expected.get)[-3:]
        for word in top:
            np.testing.assert_allclose(best[word], expected[word], rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": []}, r"texts: got \[\]"),
        ({"texts": "a" * 16}, r"texts\[0\]: got 17 tokens with END"),
        ({"texts": "a", "max_new_tokens": 17}, "max_new_tokens: got 17, accepted are at most 16"),
        ({"texts": "a", "max_new_tokens": 0}, "max_new_tokens: got 0"),
        ({"texts": "a", "temperature": -1}, "temperature: got -1"),
        ({"texts": "a", "batch_size": 0}, "batch_size: got 0"),
        ({"texts": "a", "rules": "no"}, "rules: got 'no'"),
    ],
)
def test_generate_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        small("rnn").generate(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source_tokenizer": 3}, "source_tokenizer: got 3"),
        ({"target_tokenizer": "x"}, "target_tokenizer: got 'x'"),
        ({"width": 10}, "width: got 10, accepted are multiples of 2 x num_heads, 8"),
        ({"num_layers": 0}, "num_layers: got 0"),
        ({"label_smoothing": 1}, "label_smoothing: got 1"),
        ({"context_length": 1}, "context_length: got 1"),
    ],
)
def test_transformer_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        seq2seq.Seq2Seq(**{"source_tokenizer": LETTERS, "num_heads": 4, "width": 16, **arguments})


def test_where_it_does_not_look_nothing_is_shown():
    with pytest.raises(ValueError, match="with_attention: got False"):
        small("rnn").attention("a", "b")


# --- learning ---


def learned(kind, change, length, steps, rate):
    """Share of unseen texts that become exactly what `change` makes of them."""
    keras.utils.set_random_seed(0)
    letters = np.random.default_rng(0).choice(list("abcdefgh"), (4000, length))
    sources = ["".join(row) for row in letters]
    settings = {"context_length": length + 1, "label_smoothing": 0.0}
    if kind == "transformer":
        model = seq2seq.Seq2Seq(LETTERS, width=64, num_layers=2, num_heads=4, **settings)
    else:
        model = seq2seq.RNNSeq2Seq(LETTERS, units=48, with_attention="with" in kind, **settings)
    warmup = {"warmup_target": rate, "warmup_steps": 30}
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps - 30, alpha=0.1, **warmup)
    model.compile(Adam(rate, beta_2=0.98))
    data = model.batches(sources[64:], [change(x) for x in sources[64:]])
    model.fit(data.repeat(), steps_per_epoch=steps, verbose=0)
    made = model.generate(sources[:64])
    return np.mean([a == change(b) for a, b in zip(made, sources[:64], strict=True)])


def test_copying_and_reversing_are_learned_where_it_may_look_back():
    """The picture that made attention famous: one vector does not hold twelve letters so soon."""
    assert learned("transformer", lambda x: x, 5, 280, 5e-3) > 0.9
    assert learned("rnn with attention", lambda x: x[::-1], 12, 150, 2e-2) > 0.9
    assert learned("rnn", lambda x: x[::-1], 12, 150, 2e-2) < 0.1


# --- word alignment ---


def test_likelihood_of_word_alignment_never_falls():
    sources = [" ".join(x) for x in texts(300, 8, seed=3)]
    targets = [" ".join(x.replace(" ", "").upper()[::-1]) for x in sources]
    history = seq2seq.WordAlignment().fit(sources, targets, epochs=8)
    assert len(history) == 8 and np.all(np.diff(history) >= 0) and history[-1] > history[0] + 0.5


def test_word_alignment_by_hand():
    """Two pairs, one step of EM in fractions: "house" and "maison" stand together once each."""
    model = seq2seq.WordAlignment()
    model.fit(["the house", "the"], ["la maison", "la"], epochs=1)
    # E: each target word is shared by NULL and the words across: 1/3 each, 1/2 each.
    # M: NULL: la 1/3 + 1/2, maison 1/3; the: the same; house: la 1/3, maison 1/3.
    assert model.probability("house", "maison") == pytest.approx(1 / 2)
    assert model.probability("the", "la") == pytest.approx((5 / 6) / (7 / 6))
    assert model.probability("", "maison") == pytest.approx((1 / 3) / (7 / 6))
    assert model.probability("the", "chat") == model.probability("cat", "la") == 0


def test_word_alignment_translates_and_aligns():
    dictionary = {"a": "un", "dog": "perro", "cat": "gato", "sees": "ve", "the": "el"}
    nouns = ("dog", "cat")
    sources = [
        f"{x} {a} sees {y} {b}"
        for x in ("a", "the")
        for y in ("a", "the")
        for a in nouns
        for b in nouns
    ]
    sources += ["the dog", "a cat", "the", "a", "dog", "cat", "sees"]
    targets = [" ".join(dictionary[w] for w in s.split()) for s in sources]
    model = seq2seq.WordAlignment()
    model.fit(sources, targets, epochs=20)
    assert model.translate("The cat sees a dog, Tom") == "el gato ve un perro , tom"
    word, p = model.translations("cat")[0]
    assert word == "gato" and p > 0.9
    looks = model.align("the cat", "el gato")
    assert looks.shape == (2, 3)
    np.testing.assert_allclose(looks.sum(axis=1), 1)
    assert looks.argmax(axis=1).tolist() == [1, 2]
    assert model.translations("tom") == [] and not model.align("tom", "xyz").any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], ["b", "c"]), "targets: got 2 texts, accepted are 1"),
        ((["a"], [""]), "targets: got no words"),
        ((["a"], ["b"], 0), "epochs: got 0"),
    ],
)
def test_word_alignment_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        seq2seq.WordAlignment().fit(*arguments)
