# %% [markdown]
# # Problem set 09: The Transformer
#
# **You need:** chapter 09, above all its sections 3 (masks), 5 (counting), 6 (the objective), 7 (the number) and 11 (how it
# fails).
#
# | task | points |
# |---|---|
# | 1. What is left to learn under label smoothing? | 4 |
# | 2. Translate before the speaker has ended: masks | 4 |
# | 3. Five runs: which is healthy, and what ails the others? | 4 |
# | 4. Which system is better, and how sure is that? | 4 |
# | 5. A word that is aligned wrongly (open) | 4 |
#
# The tasks do not need each other: do them in any order. Write where it says `# YOUR CODE HERE`, and delete the line that
# raises `NotImplementedError`.
#
# **How to check yourself.** Run the test cells, or type `make check EX=09`; the last points of a
# task are given by tests that you cannot see. Keep the name of this notebook, and leave the test cells as they are.

# %%
from collections import Counter

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import ops

keras.utils.set_random_seed(0)
pick = ak.profile.pick
PADDING = -1  # fills rows up, as in the chapter
words = ak.seq2seq.alignment.words  # of a text: small letters, and a mark is a word
english, spanish = ak.datasets.pairs("verses", "train[:2000]")
test_english, test_spanish = ak.datasets.pairs("verses", "test[:300]")
alignment = ak.seq2seq.WordAlignment()
alignment.fit(english, spanish)

# %% [markdown]
# ## 1. What is left to learn under label smoothing? (4 points)
#
# With label smoothing (标签平滑) the loss of a model that has learned everything is not 0, and nobody sees from the
# number how far it still is. So subtract what cannot be avoided. What is *asked* of position $t$ is a distribution $q_t$:
# the right token $y_t$ gets $1 - \varepsilon$, and (here a little different from the chapter) each of the
# $V - 1$ **other** tokens $\varepsilon / (V - 1)$. What is left to learn is the KL divergence from $q_t$ to the model's
# $p_t$, the softmax of its logits; and padding is not asked for anything:
#
# $$L = \frac{1}{\max(1, N)} \sum_{b,t:\; y_{bt} \ne -1}\; \sum_{v=1}^{V} q_{bt}(v) \log \frac{q_{bt}(v)}{p_{bt}(v)}, \qquad
#   N = \text{number of } (b, t) \text{ with } y_{bt} \ne -1,$$
#
# where $0 \log 0$ is 0. So each *token* of the batch weighs the same, in whichever row it is, and where there is nothing but padding, $L = 0$.
#
# Write both functions:
#
# - `smoothed_loss(logits, targets, smoothing)`: $L$ in nats, one number. `logits` (B, T, V), float32 between -10,000 and 10,000;
#   `targets` (B, T), int32, $-1$ is padding; `smoothing`, a Python number, is $\varepsilon$ with $0 \le \varepsilon < 1$; $V \ge 2$.
#   Training differentiates it, so compute with TensorFlow or `keras.ops`: value *and* gradient by the logits have to be finite and right.
# - `best_gap(smoothing, vocab_size)`: by how much is the logit of the right token above the others' (which are all alike) where
#   $L = 0$? A number, for $0 < \varepsilon < 1$. That smoothing forbids to be surer than this is its purpose.


# %% solution="smoothed_loss"
def smoothed_loss(logits, targets, smoothing):
    """Mean KL divergence, nats, from what is asked to the softmax of `logits`.

    Args:
        logits: (B, T, V).
        targets: (B, T), 0 to V - 1, or -1: padding, which does not count.
        smoothing: the share of what is asked that goes to the other V - 1 tokens.

    Returns:
        A scalar.
    """
    ### BEGIN SOLUTION
    others = logits.shape[-1] - 1
    log_p = ops.log_softmax(logits)  # never the logarithm of a softmax, which may be 0
    right = ops.take_along_axis(log_p, ops.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    wrong = ops.sum(log_p, axis=-1) - right
    known = (1 - smoothing) * np.log(1 - smoothing)
    if smoothing > 0:
        known += smoothing * np.log(smoothing / others)
    kl = known - (1 - smoothing) * right - smoothing / others * wrong
    counted = ops.cast(targets != PADDING, "float32")
    return ops.sum(counted * kl) / ops.maximum(ops.sum(counted), 1.0)
    ### END SOLUTION


def best_gap(smoothing, vocab_size):
    """How far the right token's logit is above the others' where nothing is left to learn."""
    ### BEGIN SOLUTION
    # p = q: the logarithm of (1 - smoothing) / (smoothing / (V - 1)).
    return np.log((1 - smoothing) * (vocab_size - 1) / smoothing)
    ### END SOLUTION


# %% tests="smoothed_loss" points=1
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

logits = np.float32([[[2, 0, -1], [0, 1, 0], [5, 5, 5]], [[1, 1, 0], [0, 0, 3], [-2, 4, 0]]])
targets = np.int32([[0, 2, -1], [1, 2, -1]])
p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
asked = [(0, 0, [0.8, 0.1, 0.1]), (0, 1, [0.1, 0.1, 0.8])]
asked += [(1, 0, [0.1, 0.8, 0.1]), (1, 1, [0.1, 0.1, 0.8])]
wanted = np.mean([sum(q * np.log(q / p[b, t])) for b, t, q in asked])
expect(
    "loss of two rows of two tokens and one padding, smoothing 0.2",
    smoothed_loss(tf.constant(logits), tf.constant(targets), 0.2),
    wanted,
    "of three tokens the two others get 0.1 each; the mean is over four tokens, not over six places.",
)
sure = np.float32(np.eye(4)[None, [1, 3]] * best_gap(0.1, 4))
expect(
    "loss with the best gap, smoothing 0.1, four tokens",
    smoothed_loss(tf.constant(sure), tf.constant([[1, 3]]), 0.1),
    0.0,
    "nothing is left to learn where p is what is asked: which difference of logits makes it so?",
)

# %% tests="smoothed_loss" points=3
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

# More is tested when you hand in: other shapes, no smoothing, much padding, large logits, gradients.
expect(
    "loss of one place of padding",
    smoothed_loss(tf.zeros((1, 1, 5)), tf.constant([[-1]]), 0.1),
    0.0,
    "where nothing counts, there is nothing to learn.",
)


### BEGIN HIDDEN TESTS
def compared(logits, targets, smoothing):
    """Loss and gradient against sums in float64, token by token."""
    x = logits.astype("float64")
    log_p = x - x.max(axis=-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    total, slope, count = 0.0, np.zeros(x.shape), 0
    for b, t in np.ndindex(targets.shape):
        if targets[b, t] == -1:
            continue
        count += 1
        for v in range(x.shape[2]):
            q = 1 - smoothing if v == targets[b, t] else smoothing / (x.shape[2] - 1)
            total += q * (np.log(q) - log_p[b, t, v]) if q > 0 else 0.0
            slope[b, t, v] = np.exp(log_p[b, t, v]) - q
    given = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = smoothed_loss(given, tf.constant(targets), smoothing)
    gradient = tape.gradient(found, given, unconnected_gradients="zero")
    about = f"shape {logits.shape}, smoothing {smoothing}, logits up to {np.abs(x).max():.0f}"
    hint = "take log p from the logits, not from p; padding counts nothing, and 0 log 0 is 0."
    expect(f"loss, {about}, {count} tokens", found, total / max(count, 1), hint)
    hint = "is it finite before it is multiplied by 0? Each token weighs the same, in any row."
    expect(f"gradient, {about}", tf.convert_to_tensor(gradient), slope / max(count, 1), hint, 1e-3)


rng = np.random.default_rng(0)
for shape, largest, smoothing, share in (
    ((1, 1, 2), 1, 0.3, 1.0),
    ((3, 5, 4), 3, 0.1, 0.6),
    ((4, 6, 11), 2, 0.0, 0.5),
    ((2, 7, 3), 10_000, 0.1, 0.7),
    ((2, 3, 5), 10_000, 0.0, 0.7),
    ((2, 3, 6), 2, 0.9, 0.7),
    ((2, 4, 3), 2, 0.1, 0.0),
):
    logits = rng.uniform(-largest, largest, shape).astype("float32")
    targets = rng.integers(0, shape[2], shape[:2]).astype("int32")
    targets[rng.random(shape[:2]) >= share] = -1
    compared(logits, targets, smoothing)
lengths = np.array([8, 1, 2])  # rows of very different length
targets = np.where(np.arange(8) < lengths[:, None], 1, -1).astype("int32")
compared(rng.normal(size=(3, 8, 4)).astype("float32"), targets, 0.1)
for smoothing, size in ((0.1, 4000), (0.5, 2), (0.9, 3)):
    hint = (
        "there p is what is asked: the ratio of two probabilities is e to the difference of logits."
    )
    wanted = np.log(1 - smoothing) - np.log(smoothing / (size - 1))
    expect(
        f"best gap, smoothing {smoothing}, {size} tokens", best_gap(smoothing, size), wanted, hint
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Translate before the speaker has ended: masks (4 points)
#
# An interpreter (同声传译) does not wait for the end of the speech. Ma et al. 2019 (arXiv:1810.08398) train a translator that
# **waits** for $k$ tokens and then writes one for each that it reads: while it writes its first token it may look at the first
# $k$ tokens of the source, at the second token at $k + 1$, and so on. With a large $k$ it is the translator of the chapter.
#
# Two masks decide who **may look at** whom. Sources $x$ (B, S) and targets $y$ (B, T) are rows of tokens; $-1$ is padding, which may stand behind a text,
# before it or in it. Let $n_i$ be the number of tokens (no padding) in the row of the target *before* position $i$, and $m_j$
# the number of tokens in the row of the source *before* position $j$. Then position $i$ of the decoder may look at
#
# $$\text{position } j \text{ of the target, if } \; i = j, \;\text{ or }\; j < i, \; y_i \ne -1, \; y_j \ne -1;$$
# $$\text{position } j \text{ of the source, if } \; x_j \ne -1, \; m_j < n_i + k.$$
#
# - Padding of the target looks at itself only, and in the source at what these lines say.
# - A row whose source is nothing but padding (it fills up a batch): there each position may look at *all* of the source, since a softmax over nothing at all is NaN.
#
# Write `wait_masks(sources, targets, wait)`: NumPy arrays of integers and an integer $k \ge 1$ to two arrays of booleans, (B, T, T) and
# (B, T, S). True is what may be seen.


# %% solution="wait_masks"
def wait_masks(sources, targets, wait):
    """Where the decoder may look: in the target, bool (B, T, T), and in the source, (B, T, S)."""
    ### BEGIN SOLUTION
    read, written = sources != PADDING, targets != PADDING
    position = np.arange(targets.shape[1])
    back = position[:, None] - position  # (T, T): how far j lies behind i
    own = (back == 0) | ((back > 0) & written[:, :, None] & written[:, None])
    before_i = np.cumsum(written, axis=1) - written
    before_j = np.cumsum(read, axis=1) - read
    cross = read[:, None] & (before_j[:, None] < before_i[:, :, None] + wait)
    return own, cross | ~read.any(axis=1)[:, None, None]
    ### END SOLUTION


# %% tests="wait_masks" points=1
import numpy as np
from aigc_keras.exercises import expect

rng = np.random.default_rng(0)
queries, keys, values = rng.normal(size=(3, 5, 4))  # of 5 positions of the decoder
read_keys, read_values = rng.normal(size=(2, 6, 4))  # of 6 positions of the encoder


def attend(queries, keys, values, mask):
    """Attention as in the chapter, in NumPy."""
    scores = np.where(mask, queries @ keys.T / 2, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ values


# A text of 4 and 3 tokens shares a batch with one of 6 and 5.
sources = np.array([[7, 3, 9, 0, -1, -1], [4, 4, 8, 5, 6, 0]])
targets = np.array([[0, 2, 5, -1, -1], [0, 9, 3, 3, 1]])
masks = wait_masks(sources, targets, 2)
hint = "Two arrays: where it may look in the target, and where in the source."
expect("how many masks", 0 if masks is None else len(masks), 2, hint)
own, cross = (np.asarray(mask) for mask in masks)
expect("are the masks boolean", [own.dtype == bool, cross.dtype == bool], [True, True], hint)
expect("shape of the target's mask", own.shape, (2, 5, 5), hint)
expect("shape of the source's mask", cross.shape, (2, 5, 6), "Rows look, columns are looked at.")
for b, (s, t) in enumerate([(4, 3), (6, 5)]):
    alone = attend(queries[:t], keys[:t], values[:t], np.tri(t, dtype=bool))
    hint = "A text in a batch must be what it is alone. Does the future show, or padding?"
    expect(f"self-attention of text {b}", attend(queries, keys, values, own[b])[:t], alone, hint)
    seen = np.tri(t, s, 1, dtype=bool)  # the first token sees 2, the next 3
    alone = attend(queries[:t], read_keys[:s], read_values[:s], seen)
    together = attend(queries, read_keys, read_values, cross[b])[:t]
    hint = "With k = 2 position 0 sees two tokens of the source; and no padding is ever seen."
    expect(f"cross-attention of text {b}, k = 2", together, alone, hint)

# %% tests="wait_masks" points=3
import numpy as np
from aigc_keras.exercises import expect

# More is tested when you hand in: padding before and in the texts, rows of padding, other k.
found = wait_masks(np.array([[3]]), np.array([[0]]), 1)
hint = "One position sees itself, and the one token that was read."
expect("masks of one token each", found, np.ones((2, 1, 1, 1)), hint)


### BEGIN HIDDEN TESTS
def slowly(sources, targets, wait):
    """The two masks, position by position."""
    (n, s), t = sources.shape, targets.shape[1]
    own, cross = np.zeros((n, t, t), bool), np.zeros((n, t, s), bool)
    for b, i in np.ndindex(n, t):
        for j in range(i + 1):
            own[b, i, j] = i == j or (targets[b, i] != -1 and targets[b, j] != -1)
        written = sum(targets[b, :i] != -1)
        for j in range(s):
            before = sum(sources[b, :j] != -1)
            cross[b, i, j] = sources[b, j] != -1 and before < written + wait
        if all(sources[b] == -1):
            cross[b, i] = True
    return own, cross


def compared(about, sources, targets, wait, hint):
    found = wait_masks(np.array(sources), np.array(targets), wait)
    wanted = slowly(np.array(sources), np.array(targets), wait)
    for name, got, meant in zip(("target", "source"), found, wanted):
        expect(f"mask of the {name}, {about}, k = {wait}", got, meant, hint)


sources, targets = [[5, 6, 7, 8, 0]], [[0, 3, 2, 4]]
for wait in (1, 3, 4, 100):
    compared("no padding", sources, targets, wait, "How many tokens does the first one wait for?")
hint = "Padding of the target looks at itself only; nothing else looks at it."
compared("padding behind", [[5, 6, 0, -1, -1]], [[0, 3, -1, -1]], 1, hint)
compared("only padding in the target", [[5, 0]], [[-1, -1, -1]], 1, hint)
hint = "Tokens are counted, not positions: padding before a text delays nothing and reads nothing."
compared("padding before the target", [[5, 6, 7, 0]], [[-1, -1, 0, 3]], 2, hint)
compared("padding before the source", [[-1, -1, 5, 6, 0]], [[0, 3, 2]], 1, hint)
compared("padding in both", [[5, -1, 6, -1, 0]], [[0, -1, 3, 2]], 1, hint)
hint = "Each row of a batch has padding of its own; one of padding alone may look at all of it."
compared("a row of padding", [[-1, -1, -1], [5, 0, -1]], [[0, -1], [0, 4]], 1, hint)
rng = np.random.default_rng(1)
for _ in range(6):
    sources, targets = rng.integers(-1, 3, (4, 7)), rng.integers(-1, 3, (4, 6))
    sources[0] = -1
    compared("a batch", sources, targets, int(rng.integers(1, 5)), hint)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Five runs: which is healthy, and what ails the others? (4 points)
#
# A language of five letters a text, and its translation: the letters backwards, as capitals. *abbed* is *DEBBA*. Five times the same small
# Transformer learns it, from the same first weights. One run is as it should be. In each of the others one
# thing is different. What it is, is in the table of numbers; you could decode it, and would learn nothing.
# Look at curves and translations instead.
#
# Above, the loss on what it is trained on and on unseen texts (both in the same way, in nats a token), and dotted, what a model would have
# that knows nothing but the length and that all letters are alike. Below, the share of 64 unseen texts that are translated
# right in a batch of their own, and beside a longer text, so that their rows are filled up with padding. The printed lines are three of the texts, both ways.

# %%
table = np.frombuffer(
    bytes.fromhex(
        "000080bf0000803f000080bf00004843"
        "000080bf0000803f000000000000803f"
        "000000000000803f0000000000004843"
        "000080bf0000803f0000000000004843"
        "000080bf000000000000000000004843"
    ),
    "<f4",
).reshape(5, 4)
letters, length, n_steps, n_rows = "abcdefgh", 5, pick(1, 200), pick(4, 64)
tokenizer = ak.text.CharTokenizer(letters + letters.upper())
knobs = tf.Variable([-1.0, 1.0, 0.0])


class Looks(ak.attention.SelfAttention):
    def look(self, queries, keys, mask=False):
        turn = knobs[2] * ops.arange(ops.shape(keys)[2], dtype="float32")
        queries, keys = (ak.attention.rotate(x, turn) for x in (queries, keys))
        return super().look(queries, keys, mask)


class Toy(ak.seq2seq.Seq2Seq):
    def encode(self, sources, training=False):
        return super().encode(ops.maximum(sources, ops.cast(knobs[0], "int32")), training)


keras.utils.set_random_seed(0)
toy = Toy(tokenizer, context_length=12, width=32, num_layers=1, num_heads=2)
toy.encoder[0].attention.__class__ = Looks
first_weights = [w * (5 if w.ndim > 1 else 1) for w in toy.get_weights()]
optimizer = ak.optimizers.Adam(5e-3, beta_2=0.98, global_clipnorm=1.0)
optimizer.build(toy.trainable_variables)


def loss_of(sources, tokens):
    asked = ops.where(knobs[1] > 0, tokens[:, 1:], tokens[:, :-1])
    logits = toy([sources, tokens[:, :-1]])
    return ops.mean(tf.nn.sparse_softmax_cross_entropy_with_logits(asked, logits))


def update(sources, tokens):
    with tf.GradientTape() as tape:
        loss = loss_of(sources, tokens)
    optimizer.apply(tape.gradient(loss, toy.trainable_variables), toy.trainable_variables)
    return loss


def logits_of(sources, tokens):
    return toy([sources, tokens])


def graph(function):  # one for all runs; for a few steps it is not worth it
    fast = ak.profile.name() == "fast"
    return function if fast else tf.function(function, autograph=False, reduce_retracing=True)


training_step, unseen_loss, next_logits = map(graph, (update, loss_of, logits_of))


def batch(texts):
    """(sources with END behind, targets with END around)"""
    rows = np.array([tokenizer.encode(text) for text in texts])
    turned = np.array([tokenizer.encode(text[::-1].upper()) for text in texts])
    return tuple(
        tf.constant(np.pad(x, ((0, 0), (k, 1))), "int32") for x, k in ((rows, 0), (turned, 1))
    )


def some_texts(rng):
    return ["".join(rng.choice(list(letters), length)) for _ in range(n_rows)]


def translations(sources):
    """The likeliest letter after each, until END."""
    tokens = np.zeros((n_rows, length + 3), "int32")
    for t in range(pick(1, length + 2)):
        logits = np.array(next_logits(sources, tf.constant(tokens[:, :-1])))
        tokens[:, t + 1] = logits[:, t].argmax(axis=1)
    return [tokenizer.decode(row) for row in cut(tokens[:, 1:])]


def cut(rows):
    return [row[: np.argmax(row == 0) if (row == 0).any() else None] for row in rows]


numbers = np.random.default_rng(0)
unseen_texts = some_texts(numbers)
unseen = batch(unseen_texts)
known = [batch(some_texts(numbers)) for _ in range(n_steps)]
filled_up = tf.pad(unseen[0], ((0, 0), (0, 6)), constant_values=PADDING)


def run(*settings):
    """Train from the first weights: curves, and translations alone and beside a longer text."""
    toy.set_weights(first_weights)
    for variable in optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    optimizer.learning_rate = 5e-3
    knobs.assign(settings[:3])
    every, training, validation = max(n_steps // 10, 1), [], []
    for step in range(n_steps):
        training.append(float(training_step(*known[step % min(int(settings[3]), n_steps)])))
        if (step + 1) % every == 0:
            validation.append(float(unseen_loss(*unseen)))
    training = np.reshape(training, (-1, every)).mean(axis=1)
    return training, validation, translations(unseen[0]), translations(filled_up)


runs = {name: run(*row) for name, row in zip("ABCDE", table)}
fig, axes = ak.plots.figure(columns=5, rows=2, size=(3.2, 2.6), height_ratios=(3, 2))
for column, (name, (training, validation, *both)) in enumerate(runs.items()):
    tenths = np.arange(1, len(training) + 1)
    above, below = axes[:, column]
    above.plot(tenths, training, "o-", label="training")
    above.plot(tenths, validation, "s--", label="unseen")
    above.axhline(length / (length + 1) * np.log(8), color="black", linestyle=":", linewidth=1)
    above.set(title=f"run {name}", xlabel="tenth of the run", ylim=(-0.1, 2.5))
    right = [[a == b[::-1].upper() for a, b in zip(made, unseen_texts)] for made in both]
    below.bar(["alone", "beside"], np.mean(right, axis=1), color=ak.plots.COLORS[2])
    below.set(ylim=(0, 1))
    for text, alone, beside in list(zip(unseen_texts, *both))[:3]:
        print(f"{name}: {text} -> alone {alone!r}, beside a longer one {beside!r}")
axes[0, 0].set_ylabel("nats a token")
axes[1, 0].set_ylabel("share right")
axes[0, 0].legend()
fig

# %% [markdown]
# Give each run one of these names. A name may be right for several runs, or for none. 4 points; 3 with one wrong
# name, 2 with two, else none.
#
# | name | what it means |
# |---|---|
# | `"healthy"` | all is as it should be |
# | `"reads_padding"` | nothing hides the padding of the source, from the encoder or from the decoder |
# | `"targets_not_shifted"` | the decoder is asked for the token that it has just read, not for the next |
# | `"no_positions"` | the encoder does not know which token stands where |
# | `"ignores_source"` | the decoder has no cross-attention |
# | `"looks_ahead"` | the decoder has no causal mask, and sees in training what it is asked for |
# | `"one_batch"` | it is trained on one batch again and again |

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": "", "E": ""}
### BEGIN SOLUTION
diagnosis = {
    "A": "no_positions",  # the letters are those of the source, their order is guessed
    "B": "one_batch",  # the two losses part
    "C": "reads_padding",  # the curves of D, and alone as good as D: until a longer text comes
    "D": "healthy",
    "E": "targets_not_shifted",  # loss 0 at once, and it says END again, which it has just read
}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

accepted = (
    "healthy",
    "reads_padding",
    "targets_not_shifted",
    "no_positions",
    "ignores_source",
    "looks_ahead",
    "one_batch",
)
for name in "ABCDE":
    expect_one_of(f"run {name}", diagnosis.get(name), accepted)

# %% tests="diagnosis" points=4
from aigc_keras.exercises import wrong_names

# Whether the names are right is tested when you hand in.
assert any(diagnosis.values()), "diagnosis: nothing came.\nHint: look at the curves first."
### BEGIN HIDDEN TESTS
truth = {
    "A": ("no_positions", "letters of the source, so it reads it, but in any order"),
    "B": ("one_batch", "the training loss goes to 0, the other one does not"),
    "C": ("reads_padding", "right alone, wrong beside a longer text"),
    "D": ("healthy", "both losses fall together, and translations are right both ways"),
    "E": ("targets_not_shifted", "loss 0 at once, and it writes nothing: END comes after END"),
}
wrong = wrong_names("diagnosis", diagnosis, {run: truth[run][0] for run in truth})
for run in wrong:
    print(f"Look again at run {run}: {truth[run][1]}.")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Which system is better, and how sure is that? (4 points)
#
# BLEU is made of ten whole numbers for each text: its number of words $c$, that of its reference $r$, and for $n = 1, \dots, 4$, how many runs of $n$ words
# it has, $t_n$, and how many of them the reference has too, $m_n$, each counted at most as often as there (*clipped*, 截断). The
# next cell counts them. All ten are added up **over all texts** ($C$, $R$, $M_n$, $T_n$), and only then
#
# $$\text{BLEU} = 100 \cdot \min\big(1,\; e^{1 - R / C}\big) \cdot \Big(\prod_{n=1}^{4} \frac{M_n}{T_n}\Big)^{1/4},
#   \qquad\text{and } 0 \text{ if one of the } M_n \text{ is } 0.$$
#
# Two systems have translated the *same* texts. What is hard for one is hard for the other, and texts of one chapter resemble each other. So the
# **standard error** (标准误) of the difference is: how much would it move with *other chapters* of the same kind, both systems translating the
# same ones? Draw as many chapters again, with replacement (bootstrap, 自助法), at least 300 times, or use a formula or another way for it.
#
# Write both functions:
#
# - `corpus_bleu(counts)`: counts (N, 10), in the order of the next cell, to a number from 0 to 100.
# - `bleu_difference(counts, others, chapters)`: `counts` and `others`, both (N, 10), of two systems, and `chapters` (N,), for each text the number of its
#   chapter (any integers in any order; two chapters or more, of any sizes). Two numbers: the BLEU of `counts` minus that of `others`, and its standard error.


# %%
def counts_of(text, reference):
    """Ten whole numbers: words of both, runs of 1 to 4 words in both, runs of 1 to 4 words."""
    pair = words(text), words(reference)
    runs_of_both = [
        [Counter(zip(*(found[k:] for k in range(n)))) for found in pair] for n in (1, 2, 3, 4)
    ]
    matches = [(runs & other).total() for runs, other in runs_of_both]  # & takes the smaller count
    return [*map(len, pair), *matches, *(runs.total() for runs, _ in runs_of_both)]


print(counts_of("el rey y el rey", "el rey de la tierra"))


# %% solution="bleu_difference"
def corpus_bleu(counts):
    """BLEU, 0 to 100, of N texts together from their counts (N, 10)."""
    ### BEGIN SOLUTION
    sums = np.sum(counts, axis=0)
    if min(sums[2:6]) == 0:
        return 0.0
    brevity = min(1.0, np.exp(1 - sums[1] / sums[0]))
    return 100 * brevity * np.exp(np.mean(np.log(sums[2:6] / sums[6:])))
    ### END SOLUTION


def bleu_difference(counts, others, chapters):
    """(BLEU of `counts` - BLEU of `others`, standard error over chapters), two floats."""
    ### BEGIN SOLUTION
    names, which = np.unique(chapters, return_inverse=True)
    sums = np.zeros((2, len(names), 10))
    for system, rows in zip(sums, (counts, others)):
        np.add.at(system, which, rows)
    rng, draws = np.random.default_rng(0), []
    for _ in range(500):
        drawn = rng.integers(0, len(names), len(names))  # the same chapters for both
        draws.append(corpus_bleu(sums[0, drawn]) - corpus_bleu(sums[1, drawn]))
    return corpus_bleu(counts) - corpus_bleu(others), np.std(draws)
    ### END SOLUTION


# %% tests="bleu_difference" points=1
import numpy as np
from aigc_keras.exercises import expect

# Two texts of 6 and 5 words; their references have 6 and 7.
counts = np.array([[6, 6, 5, 4, 2, 1, 6, 5, 4, 3], [5, 7, 5, 3, 2, 1, 5, 4, 3, 2]])
shares = (10 / 11) * (7 / 9) * (4 / 7) * (2 / 5)
hint = "Add up first; 11 words where the references have 13 are too few; a geometric mean of four."
expect("BLEU of two texts", corpus_bleu(counts), 100 * np.exp(1 - 13 / 11) * shares**0.25, hint)
longer = counts + [[3, 0, 0, 0, 0, 0, 3, 3, 3, 3]] * 2
wanted = 100 * ((10 / 17) * (7 / 15) * (4 / 13) * (2 / 11)) ** 0.25
hint = "Too many words are no merit: the brevity penalty is at most 1."
expect("BLEU of two longer texts", corpus_bleu(longer), wanted, hint)
many = np.concatenate([counts, longer, counts, longer])
other = np.concatenate([longer, longer, counts, counts])
got = bleu_difference(many, other, np.arange(8))
hint = "Two numbers: the first system's BLEU minus the second's, and a standard error."
expect("how many numbers", np.shape(got), (2,), hint)
expect("difference", got[0], corpus_bleu(many) - corpus_bleu(other), hint)
expect("is the standard error a positive number", 0 < float(got[1]) < 100, True, hint)

# %% tests="bleu_difference" points=3
import numpy as np
from aigc_keras.exercises import expect

# More is tested when you hand in: no match, the error, chapters of different sizes in any order.
hint = "No run of four words is right: the product is 0, and so is BLEU."
expect("BLEU without a match", corpus_bleu(np.array([[4, 4, 3, 1, 0, 0, 4, 3, 2, 1]])), 0.0, hint)
### BEGIN HIDDEN TESTS
expect("BLEU of a text of no words", corpus_bleu(np.array([[0, 5] + [0] * 8])), 0.0, hint)
expect("BLEU of the reference", corpus_bleu(np.array([[4, 4, 4, 3, 2, 1, 4, 3, 2, 1]])), 100, "")


def made_up(seed, n_chapters, most):
    """Counts of two systems and the chapters: some are hard for both, some for one of them."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, most, n_chapters)
    chapters = np.repeat(rng.permutation(1000)[:n_chapters] - 500, sizes)
    hard = np.repeat(rng.normal(0, 0.7, n_chapters), sizes)
    apart = np.repeat(rng.normal(0, 0.25, n_chapters), sizes)
    n_words = rng.integers(8, 30, len(chapters))
    tables = []
    for skill in (1.4 + hard + apart, 1.2 + hard):
        p = 1 / (1 + np.exp(-skill))
        runs = n_words[:, None] - np.arange(4)
        matches = rng.binomial(runs, p[:, None] ** np.arange(1, 5))
        tables.append(np.column_stack([n_words, n_words + rng.integers(-1, 3), matches, runs]))
    order = rng.permutation(len(chapters))
    return tables[0][order], tables[1][order], chapters[order]


def bleus(sums):
    """BLEU of sums (..., 10), none of which is 0."""
    brevity = np.minimum(1, np.exp(1 - sums[..., 1] / sums[..., 0]))
    return 100 * brevity * np.exp(np.log(sums[..., 2:6] / sums[..., 6:]).mean(axis=-1))


for seed, n_chapters, most in ((0, 40, 9), (1, 60, 25)):
    counts, others, chapters = made_up(seed, n_chapters, most)
    got = bleu_difference(counts, others, chapters)
    about = f"{len(counts)} texts of {n_chapters} chapters"
    wanted = bleus(counts.sum(axis=0)) - bleus(others.sum(axis=0))
    expect(f"difference, {about}", got[0], wanted, "Of the sums over all texts.", 1e-3)
    sums = np.array(
        [
            [table[chapters == name].sum(axis=0) for name in np.unique(chapters)]
            for table in (counts, others)
        ]
    )
    drawn = np.random.default_rng(5).integers(0, n_chapters, (3000, n_chapters))
    first, second = (bleus(table[drawn].sum(axis=1)) for table in sums)
    hint = "Draw chapters, not texts, and for both systems the same ones."
    expect(f"standard error, {about}", got[1], (first - second).std(), hint, 0.25)
    hint = "With the same chapters there is nothing that could move."
    expect(
        f"a system against itself, {about}",
        bleu_difference(counts, counts, chapters),
        [0, 0],
        hint,
    )
### END HIDDEN TESTS

# %% [markdown]
# What did you measure? Is translation word by word better if the words were counted in 2,000 verses than in 300? With passages of ten verses in
# place of chapters, and the error of the difference beside those that come out if each system is judged alone. (Nothing to do in this cell.)

# %%
few = ak.seq2seq.WordAlignment()
few.fit(english[:300], spanish[:300])
n_judged = pick(40, 300)
tables = [
    [counts_of(model.translate(a), b) for a, b in zip(test_english[:n_judged], test_spanish)]
    for model in (alignment, few)
]
passages = np.arange(n_judged) // 10
difference, its_error = bleu_difference(*map(np.array, tables), passages)
print(
    f"BLEU {corpus_bleu(tables[0]):.2f} - {corpus_bleu(tables[1]):.2f} = {difference:.2f}", end=""
)
print(f" ± {its_error:.2f}")

# %% [markdown]
# ## 5. A word that is aligned wrongly (4 points)
#
# `alignment` is the chapter's IBM model 1, counted in 2,000 verses: `alignment.align(source, target)` gives for each Spanish word (row) the
# probability of each English word (column) to be the one that it comes from; column 0 is *none*. Most rows are right. **Find a verse with a
# Spanish word that is aligned wrongly, and explain how counting came to it.**
#
# You need not know Spanish. Names, numbers and words that stand in many verses give themselves away, `alignment.translations("water")`
# and `alignment.probability("water", "agua")` are a dictionary, and you may use one of paper. Look for short verses, for rare words, and for columns
# that attract more than one row.
#
# Make `finding`, a dict:
#
# - `"pair"`: a list of the two texts of the verse, one of the 2,000, with 6 to 25 English words (`words` counts marks too)
# - `"row"`: the number of the Spanish word, from 0; a word, no mark
# - `"says"`: the number of the column with the largest probability in that row
# - `"should"`: a list of the columns, one or more, that a reader would say (0 if it comes from none)
# - `"map"`: what `align` gives for the pair
#
# The cell after it draws the map, with your word marked. A program checks the dict (1 point). Then **explain** it in 100 to 250 words (3 points, given by a person):
#
# 1. *The picture* (1 point): which word it is, what it means, from which word the model takes it and from which it comes, with the two
#    probabilities; and what else in this map goes the same way, or what is right.
# 2. *The reason* (1 point): with numbers of the table and of the 2,000 verses (in how many does each of the words stand, in how many together?), how
#    expectation and maximisation come to this.
# 3. *The limit* (1 point): what the model leaves out that a reader uses, and what would put this word right: one try that you made, with its
#    number, or one that you describe so exactly that somebody else could make it; and which result would speak against your reason.

# %% solution="finding"
finding = {"pair": ["", ""], "row": 0, "says": 0, "should": [], "map": None}
### BEGIN SOLUTION
verse = next(i for i, text in enumerate(english) if "his wife Eve, because" in text)
pair = [english[verse], spanish[verse]]
source_words, target_words = (words(text) for text in pair)
looks = alignment.align(*pair)
row = target_words.index("vivientes")
finding = {
    "pair": pair,
    "row": row,
    "says": int(looks[row].argmax()),
    "should": [1 + source_words.index("living")],
    "map": looks,
}
sets = [(set(words(a)), set(words(b))) for a, b in zip(english, spanish)]
for word in ("eve", "living"):
    across = [b for a, b in sets if word in a]
    print(
        f"{word}: in {len(across)} verses, {sum('vivientes' in b for b in across)} of them with "
        f"vivientes; t = {alignment.probability(word, 'vivientes'):.3f}; "
        f"makes {len(alignment.translations(word, 10_000))} words, {alignment.translations(word, 3)}"
    )
print(f"vivientes: in {sum('vivientes' in b for _, b in sets)} verses")
more = ak.seq2seq.WordAlignment()
more.fit(*ak.datasets.pairs("verses", pick("train[:2000]", "train[:12000]")))
for name, model in (("2,000 verses", alignment), ("12,000 verses", more)):
    p = model.align(*pair)[row]
    print(f"{name}: eve {p[finding['says']]:.2f}, living {p[finding['should'][0]]:.2f}")
### END SOLUTION

# %%
read, written = (words(text) for text in finding["pair"])
fig, axes = ak.plots.figure(size=(0.34 * len(read) + 2, 0.3 * len(written) + 1.6))
axes[0, 0].imshow(finding["map"], cmap="Greys", vmin=0, vmax=1, aspect="auto")
axes[0, 0].set_xticks(range(len(read) + 1), ["(none)", *read], rotation=60, ha="right", fontsize=12)
axes[0, 0].set_yticks(range(len(written)), written, fontsize=12)
axes[0, 0].grid(visible=False)
axes[0, 0].plot(finding["says"], finding["row"], "x", color=ak.plots.COLORS[1], label="says")
for column in finding["should"]:
    axes[0, 0].plot(
        column, finding["row"], "o", mfc="none", color=ak.plots.COLORS[2], label="should"
    )
axes[0, 0].legend(loc="upper right")
fig

# %% tests="finding" points=1
import numpy as np
from aigc_keras.exercises import expect

pair = list(finding["pair"])
hint = (
    "A list of an English verse and the Spanish one of the same number, as they stand in the lists."
)
expect("is the pair one of the 2,000", pair in [list(x) for x in zip(english, spanish)], True, hint)
read, written = (words(text) for text in pair)
fits = 6 <= len(read) <= 25
expect("are there 6 to 25 English words", fits, True, f"There are {len(read)}, marks included.")
row, says, should = (finding[key] for key in ("row", "says", "should"))
hint = f"The Spanish verse has the words 0 to {len(written) - 1}; marks do not count as words here."
good = 0 <= row < len(written) and written[int(row)].isalpha()
expect("is row the number of a Spanish word", good, True, hint)
hint = "A row for each Spanish word, a column for none and one for each English word."
expect("shape of the map", np.shape(finding["map"]), (len(written), 1 + len(read)), hint)
probabilities = alignment.align(*pair)[int(row)]
hint = "The largest of the row's probabilities; column 0 is none, the first English word is 1."
expect("says", says, probabilities.argmax(), hint)
good = len(should) > 0 and all(0 <= column <= len(read) for column in should)
expect("does should hold columns", good, True, f"A list of one or more, from 0 to {len(read)}.")
hint = "If the model says what a reader would say, it is right."
expect("is the word aligned wrongly", all(column != says for column in should), True, hint)
### BEGIN HIDDEN TESTS
hint = "What alignment.align gives for this pair, unchanged."
expect("map", finding["map"], alignment.align(*pair), hint)
### END HIDDEN TESTS

# %% [markdown] open="finding" points=3
# *vivientes* in Genesis 3:20 means "living" (mother of all living). The model takes it from "eve" ($p$ = 0.62), and from "living" with 0.38 only. It is not
# alone: *nombre* (name, 0.56) and *cuanto* (in "because", 0.54) go to "eve" as well, while *llamó*, *hombre*, *madre* are right.
#
# "eve" stands in 2 of the 2,000 verses, "living" in 17; *vivientes* in 3, once across from "eve", each time across from "living". The M step divides by
# the sum of a *source* word: "eve" has 34 words to share its probability among, so $t$(vivientes | eve) = 0.122. "living" has 194 and gives most to
# *viviente*: $t$ = 0.076. In the E step only the ratio of the two counts, and the next M step gives "eve" even more. A rare word collects what others could have
# explained.
#
# The model does not know that one word seldom makes four, nor where in a verse a word stands, nor that *viviente* and *vivientes* are one
# word. I had expected more verses to put it right, and counted 12,000: then "eve" has 0.98. More verses give "living" more words to share among, and "eve" hardly one.
# I would try the other direction, $t$(English | Spanish), and keep what both say: there "eve" can choose one Spanish word only, which is *eva*. If "living" and *vivientes* were
# not found in that direction, my reason would be wrong.
