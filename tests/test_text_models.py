"""Chapter 05: recurrent networks and the GPT: closed forms, gradients, caches, saving, refusals."""

import functools
import itertools
import json
import math
import string

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from letters import scrambled

from aigc_keras import text

MANY = text.CharTokenizer(string.ascii_letters + string.digits)  # END is one of 64: texts are long
FEW = text.CharTokenizer("ab")  # END, unknown, a, b: all texts can be listed
CONTEXT = 8
CELLS = ["rnn", "gru", "lstm"]
GPTS = ["rotary", "learned"]
KINDS = CELLS + GPTS


def small(kind, tokenizer=MANY, width=16, **kwargs):
    """A model of a kind that computes in milliseconds: two layers, and two heads of a GPT."""
    kwargs = {"context_length": CONTEXT, "num_layers": 2, "seed": 1, **kwargs}
    if kind in CELLS:
        return text.RNNLanguageModel(tokenizer, kind, width, **kwargs)
    return text.GPT(tokenizer, width=width, num_heads=2, positions=kind, **kwargs)


@functools.cache
def shared(kind, few=False):
    """One of each kind; what is compiled for a test serves the next. `few` tokens are scrambled."""
    return small(kind, FEW, context_length=5) if few else scrambled(small(kind))


@pytest.fixture(params=KINDS)
def model(request):
    return shared(request.param)


def random_tokens(batch_size, length, vocab_size=MANY.vocab_size, seed=0):
    shape = (batch_size, length)
    return np.random.default_rng(seed).integers(2, vocab_size, shape, dtype="int32")


def ready(model, optimizer=None, run_eagerly=True):
    """For a few steps of training: a graph, and XLA still more, would take longer to build."""
    model.compile(
        optimizer or keras.optimizers.SGD(0.1), jit_compile=False, run_eagerly=run_eagerly
    )
    return model


def fit(model, *data, **kwargs):
    return model.fit(*data, **{"verbose": 0, "shuffle": False, **kwargs}).history


def assert_same_weights(ours, others, **tolerance):
    for a, b in zip(ours.get_weights(), others.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0, **tolerance})


def log_p(model, tokens):
    """Of each next token by `call`: (..., T, V), float64."""
    tokens = np.array(tokens, "int32")
    rows = tokens.reshape(-1, tokens.shape[-1])
    if rows.shape[1] == 1:  # Keras warns of a softmax over one position
        rows = np.pad(rows, [[0, 0], [0, 1]])
    logits = np.asarray(model(rows))[:, : tokens.shape[-1]]
    logits = logits.reshape(*tokens.shape, -1)
    return scipy.special.log_softmax(logits.astype("float64"), axis=-1)


# --- what every position may see ---


def test_nothing_is_known_of_what_comes_later(model):
    tokens = np.repeat(random_tokens(1, CONTEXT), CONTEXT, axis=0)
    before = np.asarray(model(tokens))
    np.fill_diagonal(tokens, tokens.diagonal() % 60 + 3)  # row t has another token t
    difference = np.abs(np.asarray(model(tokens)) - before).max(axis=2)
    assert (difference[np.tril_indices(CONTEXT, -1)] == 0).all()
    assert (difference[np.triu_indices(CONTEXT)] > 1e-4).all()  # nor is it forgotten so soon


def test_steps_give_the_logits_of_call(model):
    """What lies after the present token in the window must not matter."""
    tokens = random_tokens(3, CONTEXT)
    expected = np.asarray(model(tokens))
    window = random_tokens(3, CONTEXT + 1, seed=1)
    state = model.begin(tf.constant(window))
    for position in range(CONTEXT):
        logits, state = model.step(tf.constant(tokens[:, position]), position, state)
        np.testing.assert_allclose(logits, expected[:, position], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", GPTS)
@pytest.mark.parametrize("start", [1, 5])
def test_a_prompt_that_is_read_at_once_gives_the_logits_of_call(kind, start):
    model, tokens = shared(kind), random_tokens(2, CONTEXT)
    expected = np.asarray(model(tokens))
    window = random_tokens(2, CONTEXT + 1, seed=1)
    window[:, :start] = tokens[:, :start]
    state = model.begin(tf.constant(window))
    for position in range(start, CONTEXT):
        logits, state = model.step(tf.constant(tokens[:, position]), position, state)
        np.testing.assert_allclose(logits, expected[:, position], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", GPTS)
def test_a_single_token_is_read_without_a_warning(kind):
    """By `attention("")` and `token_probabilities("")`, which an empty prompt is fine for."""
    model = shared(kind)
    np.testing.assert_array_equal(model.attention(""), np.ones((2, 2, 1, 1)))
    np.testing.assert_allclose(
        np.log(model.token_probabilities("")), log_p(model, [0])[0], rtol=1e-5
    )


# --- writing ---

LONG = "abcdefghijklmnopqrst"  # longer than two contexts


def written(model, prompt, length, **kwargs):
    """Texts for some seeds; together they are long enough to say something."""
    texts = [model.generate(prompt, length, seed=seed, **kwargs) for seed in range(4)]
    assert sum(len(x) - len(prompt) for x in texts) > 2 * length
    return texts


def test_the_cache_changes_nothing(model):
    expected = written(model, "ab", CONTEXT - 2, cache=False)
    assert written(model, "ab", CONTEXT - 2) == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [("gru", "ab"), ("gru", LONG), ("rotary", "ab"), ("rotary", LONG), ("learned", "ab")],
)
def test_the_cache_changes_nothing_beyond_the_context(kind, prompt):
    model = shared(kind)
    expected = written(model, prompt, 3 * CONTEXT, cache=False)
    assert max(map(len, expected)) > len(prompt) + 2 * CONTEXT
    assert written(model, prompt, 3 * CONTEXT) == expected


def test_the_cache_changes_nothing_with_all_settings():
    model = shared("gru")
    settings = {"temperature": 1.5, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.3}
    expected = written(model, "ab", CONTEXT - 2, cache=False, **settings)
    assert written(model, "ab", CONTEXT - 2, **settings) == expected


def test_the_stream_is_the_text(model):
    for seed in range(4):
        pieces = list(model.generate("ab", 3 * CONTEXT, seed=seed, stream=True))
        assert "".join(pieces) == model.generate("ab", 3 * CONTEXT, seed=seed)
        assert pieces[0] == "ab" and all(len(piece) == 1 for piece in pieces[1:])


def test_only_the_end_of_a_long_prompt_is_read():
    model = shared("rotary")
    texts = [
        model.generate(prompt, CONTEXT, seed=0) for prompt in (LONG, LONG[::-1][:10] + LONG[10:])
    ]
    assert texts[0][20:] == texts[1][20:] != ""


def greedy(model, prompt, max_new_tokens):
    """The likeliest token again and again, one text at a time, by `call` alone."""
    tokens, new = list(model.encode_prompt(prompt)), []
    while len(new) < max_new_tokens:
        scores = log_p(model, tokens)[-1]
        scores[text.CharTokenizer.unknown] = -np.inf
        if np.argmax(scores) == text.END:
            break
        new.append(int(np.argmax(scores)))
        tokens.append(new[-1])
    return prompt + model.tokenizer.decode(new)


@pytest.mark.parametrize("kind", ["gru", "rotary"])
def test_prompts_of_different_length_go_on_as_if_alone(kind):
    model = shared(kind)
    prompts = ["ab", "Zyxw", "", "q"]
    expected = [greedy(model, prompt, CONTEXT - 4) for prompt in prompts]
    assert model.generate(prompts, CONTEXT - 4, temperature=0) == expected
    assert min(map(len, expected)) > 2


# --- the likeliest texts ---


def all_texts(model, prompt, length):
    """Every text of at most `length` tokens, END counted, with its log p; the best first."""
    given = list(model.encode_prompt(prompt))
    rows = np.array([[*given, *new] for new in itertools.product((2, 3), repeat=length)])
    found, steps = {}, log_p(model, rows[:, :-1])[:, len(given) - 1 :]
    for row, scores in zip(rows[:, len(given) :], steps, strict=True):
        score = 0.0
        for t, token in enumerate(row):
            found[prompt + model.tokenizer.decode(row[:t])] = score + scores[t, text.END]
            score += scores[t, token]
        found[prompt + model.tokenizer.decode(row)] = score
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("kind", ["gru", "rotary"])
@pytest.mark.parametrize("prompt", ["", "ab"])
def test_wide_beams_find_the_best_of_all_texts(kind, prompt):
    model = scrambled(shared(kind, few=True))
    expected = all_texts(model, prompt, 3)
    assert len(expected) == 1 + 2 + 4 + 8
    found = model.beam_search(prompt, n_beams=15, max_new_tokens=3)
    assert [x for x, _ in found] == [x for x, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-5)


def test_narrow_beams_say_how_likely_their_texts_are():
    model = scrambled(shared("rotary", few=True))
    expected = dict(all_texts(model, "b", 4))
    found = model.beam_search("b", n_beams=3, max_new_tokens=4)
    assert len({x for x, _ in found}) == 3
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    np.testing.assert_allclose([s for _, s in found], [expected[x] for x, _ in found], atol=1e-5)


def test_a_single_beam_follows_the_likeliest_tokens():
    """It may stop before, where END is likelier than all that follows: END is always a way out."""
    lengths = []
    for seed in range(5):
        model = scrambled(shared("gru", few=True), seed, std=1.5)
        expected = greedy(model, "", 5)
        ((found, score),) = model.beam_search("", n_beams=1, max_new_tokens=5)
        likely = dict(all_texts(model, "", 5))
        beginnings = {x: s for x, s in likely.items() if expected.startswith(x)}
        assert found == max(beginnings, key=beginnings.get)
        assert score == pytest.approx(beginnings[found], abs=1e-5)
        lengths.append(len(found))
    assert max(lengths) > 1


@pytest.mark.parametrize("length_penalty", [0.5, 1.0, 3.0])
def test_a_length_penalty_sorts_the_texts_that_have_ended(length_penalty):
    model = scrambled(shared("gru", few=True))
    found = model.beam_search("b", 15, 3, length_penalty)
    expected = all_texts(model, "b", 3)
    expected.sort(key=lambda x: -x[1] / len(x[0]) ** length_penalty)  # b is for what comes last
    assert [x for x, _ in found] == [x for x, _ in expected]
    assert dict(found) == pytest.approx(dict(expected), abs=1e-5)  # log p as it is
    few = model.beam_search("b", 2, 3, length_penalty)
    assert few == sorted(few, key=lambda x: -x[1] / len(x[0]) ** length_penalty)
    if length_penalty == 3.0:
        assert {len(x) for x, _ in few} == {4} != {len(x) for x, _ in found}


@pytest.mark.parametrize("kind", ["gru", "rotary"])
def test_beams_end_before_a_stop_word(kind):
    """Of all texts of four letters and fewer; that of the prompt does not count."""
    model, prompt = scrambled(shared(kind, few=True)), "ba"
    expected = [x for x in all_texts(model, prompt, 3) if "ba" not in x[0].removeprefix(prompt)]
    for start in ("", "a", "b"):
        tokens = model.encode_prompt(prompt + start + "ba")
        steps = log_p(model, tokens[:-1])[2:]
        score = sum(step[token] for step, token in zip(steps, tokens[3:], strict=True))
        expected.append((prompt + start, score))
    found = model.beam_search(prompt, 15, 3, stop="ba")
    assert len(found) == len(expected)
    for (a, b), (x, y) in zip(found, sorted(expected, key=lambda x: -x[1]), strict=True):
        assert a == x and b == pytest.approx(y, abs=1e-5)


def test_beams_keep_rules():
    """Without b there is one text of each length, and b's probability goes nowhere else."""

    def no_b(logits, written):
        return tf.where(tf.range(logits.shape[-1]) == 3, -math.inf, logits)

    model = scrambled(shared("rotary", few=True))
    expected = [x for x in all_texts(model, "b", 3) if "b" not in x[0][1:]]
    found = model.beam_search("b", 8, 3, rules=[no_b])
    assert dict(found) == pytest.approx(dict(expected), abs=1e-5)


def test_beams_have_to_fit_into_the_context():
    model = shared("gru", few=True)
    assert all(len(x) <= 5 for x, _ in model.beam_search("a", 3, max_new_tokens=4))
    with pytest.raises(ValueError, match="max_new_tokens: got 5 after 2 tokens of the prompt"):
        model.beam_search("a", 3, max_new_tokens=5)


@pytest.mark.parametrize(
    "arguments",
    [{"n_beams": 0}, {"max_new_tokens": 0}, {"n_beams": 1.5}, {"length_penalty": -1}],
)
def test_beams_refuse_bad_numbers(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}: got {arguments[name]}"):
        small("rnn").beam_search("a", **arguments)


@pytest.mark.parametrize("cell", CELLS)
def test_the_last_state_predicts_what_call_does(cell):
    model = scrambled(small(cell))
    states = model.states("abcd")
    assert states.shape == (5, 16) and states.dtype == np.float32
    logits = model(model.encode_prompt("abcd")[None])[0]
    expected = states @ model.embedding.get_weights()[0].T
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


# --- attention ---


@pytest.mark.parametrize("positions", GPTS)
def test_attention_of_a_text_is_what_call_uses(positions, monkeypatch):
    model, used = scrambled(small(positions)), []
    original = text.CausalSelfAttention.weights_and_values

    def recorded(self, *args):
        result = original(self, *args)
        used.append(np.asarray(result[0])[0])
        return result

    looks = model.attention("abcd")
    monkeypatch.setattr(text.CausalSelfAttention, "weights_and_values", recorded)
    model(model.encode_prompt("abcd")[None])
    assert looks.shape == (2, 2, 5, 5) and looks.dtype == np.float32
    np.testing.assert_allclose(looks, used, atol=1e-6)
    np.testing.assert_allclose(looks.sum(axis=-1), 1, rtol=1e-5)
    assert (looks[..., *np.triu_indices(5, 1)] == 0).all()
    assert (looks[..., *np.tril_indices(5)] > 0).all()
    assert np.abs(looks[0, 0] - looks[1, 1]).max() > 0.01


def test_attention_of_a_text_that_is_too_long_is_refused():
    model = small("rotary")
    assert model.attention("a" * (CONTEXT - 1)).shape[-1] == CONTEXT
    with pytest.raises(ValueError, match=f"text: got {CONTEXT + 1} tokens with END"):
        model.attention("a" * CONTEXT)


# --- golden values ---

# Logits of GPT2LMHeadModel of the package transformers 5.23.0 (torch 2.13.0), in float64, for the
# tokens [0, 2, 3, 4, 5, 2, 2, 1]. GPT2Config: vocab_size=6, n_positions=8, n_embd=16, n_layer=2,
# n_head=2, activation_function="gelu_new", layer_norm_epsilon=1e-5, all dropout 0. The parameters
# are numpy.random.default_rng(0).normal(0, 0.4, shape), plus 1 for the scale of a norm, drawn in
# the order of `gpt2_weights`: wte, wpe, and for each block ln_1, c_attn, c_proj, ln_2, c_fc and
# c_proj, then ln_f, always `weight` before `bias`.
GPT2_LOGITS = [
    [-3.129134, -0.445790, -0.595028, -0.449159, -1.385413, -1.534415],
    [-3.712713, -1.096026, 1.714473, 0.748879, 0.205398, -0.445022],
    [-5.234495, -1.170965, 0.799127, 0.443755, -0.430966, -2.201251],
    [-2.801830, -1.084311, -0.286670, 1.032049, -1.192164, -1.821827],
    [-3.475529, -0.599322, -0.212909, 0.888943, -0.632777, -2.559687],
    [-3.972646, -1.118761, 1.280766, 0.729005, -0.721433, -1.227450],
    [-2.726581, -0.838160, 0.171906, 1.239731, -1.731566, -1.130640],
    [-2.669893, -0.402933, -0.747441, 1.152632, -1.725227, -1.816939],
]


def gpt2_weights(model):
    """The weights of a GPT in the order in which they were drawn."""
    yield model.embedding.embeddings
    yield model.position_embedding.embeddings
    for block in model.blocks:
        attention = block.attention
        for layer in (block.norm1, attention.qkv, attention.out, block.norm2, block.expand):
            yield from layer.weights
        yield from block.project.weights
    yield from model.norm.weights


def test_logits_equal_those_of_gpt_2():
    model = small("learned", text.CharTokenizer("abcd"))
    rng = np.random.default_rng(0)
    weights = list(gpt2_weights(model))
    assert len(weights) == len(model.trainable_variables)
    for weight in weights:
        weight.assign((weight.name == "gamma") + rng.normal(0, 0.4, weight.shape))
    logits = model(np.array([[0, 2, 3, 4, 5, 2, 2, 1]]))
    np.testing.assert_allclose(logits[0], GPT2_LOGITS, atol=2e-5)


# --- training ---


@pytest.mark.parametrize("kind", KINDS)
def test_overfits_a_small_batch(kind):
    """Rows begin with different tokens: all that follows can be known."""
    tokens = random_tokens(4, CONTEXT + 1)
    tokens[:, 0] = [2, 3, 4, 5]
    rate, steps = (0.05, 200) if kind in CELLS else (0.02, 50)
    model = ready(small(kind), keras.optimizers.Adam(rate), run_eagerly=False)
    start = model.evaluate(tokens, verbose=0, return_dict=True)["loss"]
    assert start > 0.9 * math.log(MANY.vocab_size)
    fit(model, tf.data.Dataset.from_tensors(tokens).repeat(steps))
    losses = np.asarray(model.token_losses(tokens))
    assert losses.mean() < 0.05


def test_xla_changes_nothing():
    """With the loop over time; GPT is in test_keras_precision.py."""
    tokens, models = random_tokens(4, CONTEXT + 1), []
    for jit_compile in (True, False):
        models.append(scrambled(small("gru", num_layers=1)))
        models[-1].compile(
            keras.optimizers.SGD(0.1), jit_compile=jit_compile, run_eagerly=not jit_compile
        )
        fit(models[-1], tokens)
    assert_same_weights(*models, atol=1e-5)
    start = scrambled(small("gru", num_layers=1))
    assert np.abs(models[0].get_weights()[0] - start.get_weights()[0]).max() > 1e-3


@pytest.mark.parametrize("kind", ["lstm", "rotary"])
def test_dropout_is_for_training_only(kind):
    tokens = random_tokens(2, CONTEXT)
    model, plain = (scrambled(small(kind, dropout=share)) for share in (0.5, 0.0))
    expected = np.asarray(plain(tokens))
    np.testing.assert_array_equal(model(tokens), expected)
    np.testing.assert_array_equal(plain(tokens, training=True), expected)
    dropped = [np.asarray(model(tokens, training=True)) for _ in range(2)]
    assert np.abs(dropped[0] - expected).max() > 0.1
    assert np.abs(dropped[0] - dropped[1]).max() > 0.1


@pytest.mark.parametrize("kind", ["lstm", "rotary"])
def test_embeddings_are_the_output_weights_too(kind):
    """Tokens that are never read still learn, from the softmax."""
    model, tokens = scrambled(small(kind)), random_tokens(2, CONTEXT + 1)
    with tf.GradientTape() as tape:
        loss = model.next_token_loss(tokens)[0]
    gradient = tf.convert_to_tensor(tape.gradient(loss, model.embedding.embeddings.value))
    unread = np.setdiff1d(np.arange(MANY.vocab_size), tokens)
    assert len(unread) > 40
    assert (np.abs(gradient.numpy()[unread]).max(axis=1) > 1e-6).all()


def test_number_of_parameters(model):
    w, v = 16, MANY.vocab_size
    if isinstance(model, text.RNNLanguageModel):
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[model.recurrent[0].cell]
        expected = v * w + 2 * gates * (2 * w * w + w)
    else:
        positions = CONTEXT * w if model.positions == "learned" else 0
        block = (3 * w * w + 3 * w) + (w * w + w) + (4 * w * w + 4 * w) + (4 * w * w + w) + 4 * w
        expected = v * w + positions + 2 * block + 2 * w
    assert sum(math.prod(x.shape) for x in model.trainable_variables) == expected


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", ["lstm", "rotary"])
def test_mixed_precision_trains_and_steps(kind, dtype):
    model = ready(small(kind, num_layers=1, dtype=dtype), keras.optimizers.Adam(0.01))
    assert model.compute_dtype == dtype.removeprefix("mixed_")
    before, tokens = model.get_weights(), random_tokens(4, 5)
    exact = small(kind, num_layers=1)
    exact.set_weights(before)
    logits = np.asarray(model(tokens[:, :-1]))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, exact(tokens[:, :-1]), atol=0.02)
    state = model.begin(tf.constant(random_tokens(4, CONTEXT + 1)))
    for position in range(4):
        stepped, state = model.step(tf.constant(tokens[:, position]), position, state)
        np.testing.assert_allclose(stepped, logits[:, position], atol=0.02)
    assert np.isfinite(fit(model, tokens)["loss"]).all()
    after = model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert np.abs(after[0] - before[0]).max() > 0.005
    if (kind, dtype) in (("lstm", "mixed_float16"), ("rotary", "mixed_bfloat16")):
        assert len(model.generate("ab", 5, seed=0)) > 2  # compiled


# --- the data ---

TEXTS = ["abcdefghij", "klm", "nopqrstuvwxyz"]  # 26 characters and three times END


def mean_loss(model, batches):
    """By hand: the mean of -log p over all that is no padding."""
    losses = []
    for row in np.concatenate(list(batches)):
        scores = log_p(model, np.maximum(row[:-1], 0))
        losses += [-scores[i, t] for i, t in enumerate(row[1:]) if t != text.PADDING]
    return np.mean(losses)


@pytest.mark.parametrize("kind", ["gru", "learned"])
@pytest.mark.parametrize("packed", [True, False])
def test_padding_counts_nowhere(kind, packed):
    """Neither at the end of the last row nor for rows that fill the last batch up."""
    model = ready(scrambled(small(kind, context_length=14 - 6 * packed)), run_eagerly=True)
    batches = model.windows(TEXTS, batch_size=3, shuffle=False, packed=packed)
    rows = np.concatenate(list(batches))
    assert len(rows) == (6 if packed else 3)
    assert (rows[:, 1:] >= 0).sum() == 29
    values = model.evaluate(batches, verbose=0, return_dict=True)
    expected = mean_loss(model, batches)
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["perplexity"], math.exp(expected), rtol=1e-5)
    bits = expected * 29 / 26 / math.log(2)
    np.testing.assert_allclose(values["bits_per_character"], bits, rtol=1e-5)
    before = [w.copy() for w in model.get_weights()]
    assert np.isfinite(fit(model, batches)["loss"]).all()
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_batches_of_padding_alone_teach_nothing():
    model = ready(scrambled(small("gru")))
    before = model.get_weights()
    tokens = np.full((2, CONTEXT + 1), text.PADDING)
    assert fit(model, tokens)["loss"] == [0.0]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_integers_of_every_type_are_taken(dtype):
    """With a short last batch, which weighs less in the mean."""
    tokens, models = random_tokens(3, 4), []
    for kind in ("int32", dtype):
        models.append(ready(scrambled(small("rotary", num_layers=1))))
        data = tokens.astype(kind)
        history = fit(models[-1], data, validation_data=data, batch_size=2)
        expected = mean_loss(models[-1], [tokens])
        np.testing.assert_allclose(history["val_loss"], [expected], rtol=1e-5)
    assert_same_weights(*models)


# --- saving ---


@pytest.mark.parametrize("kind", KINDS)
def test_saved_model_writes_the_same_and_goes_on_alike(kind, tmp_path):
    """Dropout and the default optimizer included: moments, learning rate, random numbers."""
    tokens = random_tokens(4, 5)
    model = ready(small(kind, dropout=0.3, seed=7), text.adamw(warmup_steps=3))
    fit(model, tokens, batch_size=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    config = loaded.get_config()
    assert json.dumps(config) == json.dumps(model.get_config())
    assert (config["context_length"], config["dropout"], config["seed"]) == (CONTEXT, 0.3, 7)
    assert config["cell" if kind in CELLS else "positions"] == kind
    assert not loaded.jit_compile
    loaded.run_eagerly = True
    assert_same_weights(model, loaded)
    if kind == "gru":
        assert model.generate("ab", 10, seed=1) == loaded.generate("ab", 10, seed=1)
        assert model.generate("ab", 10) == loaded.generate("ab", 10)
    histories = [fit(m, tokens, batch_size=2) for m in (model, loaded)]
    assert histories[0] == histories[1]
    assert_same_weights(model, loaded)


@pytest.mark.parametrize(
    "dtype",
    [
        "mixed_bfloat16",
        "mixed_float16",
    ],
)
def test_biases_do_not_decay_after_loading(dtype, tmp_path):
    model = small("rotary", num_layers=1, dtype=dtype)
    ready(model, text.adamw(warmup_steps=1, weight_decay=5.0))
    tokens = random_tokens(2, 4)
    fit(model, tokens)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    for m in (model, loaded):
        fit(m, tokens)
    assert_same_weights(model, loaded, atol=1e-6)


# --- refusals ---


@pytest.mark.parametrize(
    ("model_class", "arguments", "message"),
    [
        (text.GPT, {"width": 18}, "width: got 18, accepted are multiples of 2 x num_heads, 8"),
        (text.GPT, {"width": 0}, "width: got 0"),
        (text.GPT, {"num_heads": 0}, "num_heads: got 0"),
        (text.GPT, {"num_layers": 0}, "num_layers: got 0"),
        (text.GPT, {"dropout": 1.0}, "dropout: got 1.0"),
        (text.GPT, {"positions": "sine"}, "positions: got 'sine', accepted are rotary, learned"),
        (text.GPT, {"context_length": 1}, "context_length: got 1"),
        (text.RNNLanguageModel, {"cell": "qrnn"}, "cell: got 'qrnn', accepted are rnn, gru, lstm"),
        pytest.param(text.RNNLanguageModel, {"units": 0}, "units: got 0"),
        pytest.param(text.RNNLanguageModel, {"units": 2.5}, "units: got 2.5"),
        (text.RNNLanguageModel, {"num_layers": 0}, "num_layers: got 0"),
        (text.RNNLanguageModel, {"dropout": 1.0}, "dropout: got 1.0"),
        (text.RNNLanguageModel, {"dropout": -0.1}, "dropout: got -0.1"),
        (text.RNNLanguageModel, {"context_length": 1}, "context_length: got 1"),
    ],
)
def test_bad_arguments_are_refused(model_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        model_class(FEW, **arguments)
