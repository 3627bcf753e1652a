"""Chapter 05: how tokens are drawn and texts are written: probabilities, limits, seeds."""

import collections
import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from letters import END, LETTERS, SIZE, Table, random_table

from aigc_keras import text
from aigc_keras.text import sampling

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

    def draw(*seed):
        return sampling.drawn(np.tile(logits, (20_000, 1)), None, None, seed)[0]

    tokens = draw(seed, 3)
    assert tokens.dtype == "int32" and tokens.shape == (20_000,)
    assert_drawn_from(
        np.bincount(tokens, minlength=6), scipy.special.softmax(logits.astype("float64"))
    )
    np.testing.assert_array_equal(tokens, draw(seed, 3))
    assert (tokens != draw(seed, 4)).numpy().any()


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


def test_a_repetition_penalty_lowers_whatever_the_sign():
    logits, seen = np.array([[2.0, -2.0, 2.0, -2.0, 0.0]]), [[True, True, False, False, True]]
    written = text.Written(None, 0, None, np.array(seen), None, None)
    lower = sampling.Usual(repetition_penalty=4.0)(logits, written)
    np.testing.assert_allclose(lower, [[0.5, -8, 2, -2, 0]])
    np.testing.assert_allclose(sampling.Usual()(logits, written), logits)


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


# --- rules of one's own, with models that are sure of what comes next ---


class Sure(text.LanguageModel):
    """One-hot logits: it says `words`, one letter a place, whatever was said before."""

    def __init__(self, words, strength=50.0):
        super().__init__(LETTERS, 24)
        self.tokens = np.append(LETTERS.encode(words), [END] * 30)
        self.strength, self.built = strength, True

    def begin(self, window):
        return ()

    def step(self, token, position, state):
        logits = tf.one_hot(tf.gather(self.tokens, position), SIZE) * self.strength
        return tf.tile(logits[None], [tf.size(token), 1]), state


def never_twice(logits, written):
    """What was said last is not said again."""
    last = tf.gather(written.tokens, written.position, axis=1)
    return tf.where(tf.one_hot(last, SIZE, True, False), -math.inf, logits)


class Only(NamedTuple):
    """Only these letters."""

    letters: str

    def __call__(self, logits, written):
        kept = np.isin(np.arange(SIZE), LETTERS.encode(self.letters))
        return np.where(kept, logits, -np.inf)


def test_a_sure_model_says_its_words():
    model = Sure("abcdd")
    for way in ({"temperature": 0}, {"seed": 1}, {"top_p": 0.9, "seed": 2}):
        assert model.generate("", 10, **way) == "abcdd"
        assert model.generate("", 3, **way) == "abc"
        assert model.generate(["", "dd", "b"], 10, **way) == ["abcdd", "ddcdd", "bbcdd"]
    assert model.beam_search("", 1, 10) == [("abcdd", pytest.approx(0.0, abs=1e-6))]


@pytest.mark.parametrize(("n_beams", "steps"), [(1, 6), (2, 6)])
def test_beams_stop_when_nothing_better_can_come(n_beams, steps):
    asked = []
    rule = lambda logits, written: asked.append(1) or logits  # noqa: E731
    (text, _), *_ = Sure("abcdd").beam_search("", n_beams, 20, rules=[rule])
    assert text == "abcdd"
    assert len(asked) == steps


def test_rules_act_on_logits():
    model = Sure("aabbb")
    assert model.generate("", 10, temperature=0, rules=[Only("ab")]) == "aabbb" + "a" * 5
    # Where a letter is not allowed, all others are alike, and the first of them is END.
    assert model.generate("", 10, temperature=0, rules=[never_twice]) == "a"
    both = (never_twice, Only("abcd"))
    assert model.generate("", 5, temperature=0, rules=both) == "ababa"


def test_rules_come_before_what_is_drawn_from(chain):
    """top_k and top_p keep of what the rules have left; the numbers are those of the softmax."""
    logits = chain.table.numpy()[2:, 2:].astype("float64")
    logits[:, 1] = -np.inf  # no b
    left = np.array([brute_top(row, 2, None) for row in logits.tolist()])
    p = scipy.special.softmax(np.where(left, logits, -np.inf), axis=-1)
    written = chain.generate("a" * 8, 400, top_k=2, seed=5, rules=[Only("acd")])
    pairs = collections.Counter(itertools.pairwise(written[7:]))
    assert "b" not in written
    for i, a in enumerate("acd"):
        assert_drawn_from([pairs[a, b] for b in "abcd"], p["abcd".index(a)]), i


def test_rules_see_what_is_written():
    """The rows, how far they are, what was given, and what the model thinks of what is new."""
    model, seen = Sure("abc", strength=1.0), []

    def look(logits, written):
        seen.append(written)
        return logits

    model.generate(["d", "ddd"], 2, temperature=0, rules=[look])
    assert [int(x.position) for x in seen] == [0, 1, 2, 3][: len(seen)]
    last = seen[-1]
    assert last.lengths.numpy().tolist() == [2, 4]
    assert last.tokens.numpy()[1, :4].tolist() == [END, 5, 5, 5]
    assert last.seen.numpy()[1].tolist() == [False] * 5 + [True]


def test_a_rule_that_leaves_nothing_ends_the_text(chain):
    def after_three(logits, written):
        return logits - (math.inf if written.position >= 3 else 0.0)

    for way in ({"seed": 1}, {"temperature": 0}):
        assert len(chain.generate("a", 60, rules=[after_three], **way)) == 3


def test_rules_stream_stop_and_need_no_cache(chain):
    arguments = {"prompt": "ab", "max_new_tokens": 40, "seed": 1, "rules": [Only("abc")]}
    whole = chain.generate(**arguments)
    assert "".join(chain.generate(**arguments, stream=True)) == whole and len(whole) == 42
    assert chain.generate(**arguments, cache=False) == whole
    stop = whole[20:23]
    assert chain.generate(**arguments, stop=stop) == whole[: whole.index(stop, 2)]


@pytest.mark.parametrize("rules", [None, "ab", 3, [3], Only, [None]])
def test_rules_have_to_be_functions(chain, rules):
    with pytest.raises(ValueError, match="rules: got"):
        chain.generate("a", 3, rules=rules)


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
