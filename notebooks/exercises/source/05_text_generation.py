# %% [markdown]
# # Problem set 05: Text generation (文本生成)
#
# **You need:** chapter 05, above all its sections 4 (attention and its mask), 5 (the objective), 6 (bits and their errors)
# and 10 (how it fails).
#
# | task | points |
# |---|---|
# | 1. A mask for several texts in one row | 4 |
# | 2. Learn the answer, not the question | 4 |
# | 3. Five runs: which is healthy, and what ails the others? | 4 |
# | 4. What is it worth to look further back? | 4 |
# | 5. One word changed (open) | 4 |
#
# The tasks do not need each other: do them in any order. Write where it says `# YOUR CODE HERE`, and delete the line that
# raises `NotImplementedError`.
#
# **How to check yourself.** Run the test cells, or type `make check EX=05`; the last points of a
# task are given by tests that you cannot see. Keep the name of this notebook, and leave the test cells as they are.

# %%
import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import ops

keras.utils.set_random_seed(0)
pick = ak.profile.pick
PADDING = -1  # fills rows up, as in the chapter
english = ak.checkpoints.load("gpt_kjv")
texts = ak.datasets.text("kjv", "train[:40]")
test_texts = ak.datasets.text("kjv", "test[:40]")

# %% [markdown]
# ## 1. A mask for several texts in one row (4 points)
#
# A GPU (and a CPU) likes rows of equal length, and texts are not. So several texts are **packed** (打包) into one row,
# one behind the other. Then the causal mask (因果掩码) of the chapter is not enough: the second text must not look into the
# first. And for very long rows, attention is often given a **sliding window** (滑动窗口): each position looks
# back a fixed distance, so that the work grows with $T$ and not with $T^2$.
#
# Each position $i$ has a text number $s_i$; $-1$ is padding (填充). With a window of $w \ge 1$, position $i$ **may look at** $j$ if
#
# $$j \le i, \qquad i - j < w, \qquad s_i = s_j$$
#
# - Distance is counted in positions of the row, whatever texts lie between.
# - Text numbers are names: any integers $\ge 0$, in any order. A number that comes back later in the row is the same text
#   again, and what lies between is another one.
# - Padding is no text. A position of padding looks at nothing but itself (a softmax over nothing at all would be NaN),
#   and no other position looks at it.
#
# Write `packed_mask(text_numbers, window)`: integers $(B, T)$, a NumPy array, and an integer to booleans $(B, T, T)$. Row $i$, column $j$ of
# each matrix says whether $i$ **may** look at $j$.


# %% solution="packed_mask"
def packed_mask(text_numbers, window):
    """Who may look at whom, bool (B, T, T), for text numbers (B, T); -1 is padding."""
    ### BEGIN SOLUTION
    position = np.arange(text_numbers.shape[1])
    back = position[:, None] - position  # (T, T): how far j lies behind i
    same = text_numbers[:, :, None] == text_numbers[:, None, :]
    text = text_numbers[:, :, None] != PADDING
    return (back == 0) | (same & text & (back >= 0) & (back < window))
    ### END SOLUTION


# %% tests="packed_mask" points=1
from aigc_keras.exercises import expect

got = packed_mask(np.zeros((2, 6), "int32"), 6)
hint = "The result is a condition for each pair of positions, of each row of the batch."
expect("is the mask boolean", np.asarray(got).dtype == bool, True, hint)
hint = (
    "Rows look, columns are looked at; True is what may be seen. What may the first position see?"
)
expect("one text, a window as long as the row", got, [np.tri(6)] * 2, hint)

# Attention over a packed row must give what attention over each text alone gives.
queries, keys, values = np.random.default_rng(0).normal(size=(3, 7, 4))


def attend(rows, mask):
    """Attention as in the chapter, in NumPy, over some of the positions."""
    scores = np.where(mask, queries[rows] @ keys[rows].T / 2, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ values[rows]


first, second = np.arange(3), np.arange(3, 7)
alone = [attend(rows, np.tri(len(rows), dtype=bool)) for rows in (first, second)]
mask = np.asarray(packed_mask(np.array([[8, 8, 8, 5, 5, 5, 5]]), 7))
hint = (
    "A text of 3 and one of 4 positions share the row. Does the second see anything of the first?"
)
expect("shape for one row of 7", mask.shape, (1, 7, 7), hint)
expect(
    "attention over two packed texts", attend(np.arange(7), mask[0]), np.concatenate(alone), hint
)

# %% tests="packed_mask" points=3
from aigc_keras.exercises import expect

got = packed_mask(np.array([[4, 4, 4, 4]]), 1)
# More is tested when you hand in: other windows, numbers that come back, padding, other rows in a batch.
### BEGIN HIDDEN TESTS
hint = "With a window of 1, i - j < 1: what is left?"
expect("window 1", got, np.eye(4)[None], hint)


def slowly(numbers, window):
    mask = np.zeros((len(numbers), len(numbers[0]), len(numbers[0])), bool)
    for b, row in enumerate(numbers):
        for i in range(len(row)):
            mask[b, i, i] = True
            for j in range(max(i - window + 1, 0), i):
                mask[b, i, j] = row[i] == row[j] and row[i] != -1
    return mask


hint = "i - j < window: how many positions does a window of 3 see, itself included?"
numbers = np.array([[7] * 6])
expect("window 3", packed_mask(numbers, 3), slowly(numbers, 3), hint)
hint = "A text number that comes back is the same text; distance is counted in the row."
numbers = np.array([[2, 2, 0, 9, 2, 0, 2]])
for window in (2, 4, 5, 100):
    expect(
        f"numbers come back, window {window}",
        packed_mask(numbers, window),
        slowly(numbers, window),
        hint,
    )
hint = "Padding looks at itself only, and nothing else looks at it."
numbers = np.array([[3, 3, -1, 3, -1, -1]])
expect("padding", packed_mask(numbers, 6), slowly(numbers, 6), hint)
expect("only padding", packed_mask(np.full((2, 5), -1), 5), [np.eye(5)] * 2, hint)
expect(
    "T = 1", packed_mask(np.array([[0], [-1]]), 3), np.ones((2, 1, 1)), "One position sees itself."
)
hint = "Each row of a batch has texts of its own."
rng = np.random.default_rng(1)
for _ in range(5):
    numbers = rng.integers(-1, 3, (4, 9)) * 1_000_003
    numbers[numbers < 0] = -1
    window = int(rng.integers(1, 12))
    expect(f"a batch, window {window}", packed_mask(numbers, window), slowly(numbers, window), hint)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Learn the answer, not the question (4 points)
#
# A model that shall answer is shown rows "prompt, answer" (**fine-tuning**, 微调). The prompt will be given to it, so there is no use in
# learning to write prompts: the model *reads* the whole row, but only the answer's tokens count in the loss.
#
# A batch is `tokens, start`: tokens $x$ $(B, T)$, int32, filled up on the right with $-1$ (padding); and the position
# at which each row's answer begins, $(B,)$, int32. Positions are counted from 0. Token $t$ of row $b$ **counts** if it belongs to the answer, is no
# padding, and has a token before it:
#
# $$c_{bt} = 1 \;\text{ if }\; t \ge 1,\; t \ge \text{start}_b,\; x_{bt} \ne -1, \;\text{ otherwise } 0, \qquad
# L = \frac{\sum_{b,t} c_{bt} \left(-\log p(x_{bt} \mid x_{b,0}, \dots, x_{b,t-1})\right)}{\max\left(1, \sum_{b,t} c_{bt}\right)}$$
#
# So every *counted token* of the batch weighs the same, in whichever row it is. The first token of the answer counts: it
# is predicted from the prompt. A row may have nothing that counts, and so may a whole batch: then the loss is 0, and SGD leaves the weights as they are.
#
# Complete `train_step`:
#
# - `self.network`, a causal model, turns tokens $(B, T)$ into logits $(B, T, V)$: those at position $t$ are for the token *after* it.
#   Call it with `training=True`. $-1$ is no token: a cross-entropy has no such class, and NaN times 0 is NaN.
# - One update of `self.network.trainable_variables` by `self.optimizer`, with the gradient of $L$.
# - Return `{"loss": ..., "accuracy": ...}`, the results of the two trackers: the means **over all tokens counted in this epoch so far** of $-\log p$ and of
#   "the likeliest token was the right one". The batches have different numbers of counted tokens.


# %% solution="AnswerModel"
class AnswerModel(keras.Model):
    """A language model that is trained on answers only."""

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self.built = True

    @property
    def metrics(self):
        return [self.loss_tracker, self.accuracy_tracker]  # Keras resets them at each epoch

    def train_step(self, data):
        """One update from (tokens (B, T), start (B,)): a dict with the epoch's loss and accuracy."""
        tokens, start = data
        ### BEGIN SOLUTION
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        position = ops.arange(1, ops.shape(tokens)[1], dtype="int32")  # that of each target
        counted = (position >= ops.cast(start, "int32")[:, None]) & (targets != PADDING)
        counted = ops.cast(counted, "float32")
        count = ops.sum(counted)
        targets = ops.maximum(targets, 0)
        with tf.GradientTape() as tape:
            logits = self.network(ops.maximum(inputs, 0), training=True)
            nats = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
            loss = ops.sum(nats * counted) / ops.maximum(count, 1.0)
        weights = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        right = ops.cast(ops.argmax(logits, axis=-1), targets.dtype) == targets
        right = ops.sum(ops.cast(right, "float32") * counted) / ops.maximum(count, 1.0)
        self.loss_tracker.update_state(loss, sample_weight=count)
        self.accuracy_tracker.update_state(right, sample_weight=count)
        return {"loss": self.loss_tracker.result(), "accuracy": self.accuracy_tracker.result()}
        ### END SOLUTION


# %% tests="AnswerModel" points=1
from aigc_keras.exercises import expect

# The smallest network: a table. Row a holds the logits of what follows token a.
table = np.random.default_rng(0).normal(size=(6, 6)).astype("float32")
network = keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(6, 6)])
network.set_weights([table])
model = AnswerModel(network)
model.compile(keras.optimizers.SGD(0.5), jit_compile=False)
tokens = np.array([[1, 2, 3, 4, 3, -1, -1], [2, 1, 1, 2, 4, 3, 4]], "int32")
batch = tokens, np.array([2, 4], "int32")
logs = model.fit(tf.data.Dataset.from_tensors(batch), shuffle=False, verbose=0).history

# What counts here: (token before, token) of the two answers, "3 4 3" and "4 3 4".
pairs = [(2, 3), (3, 4), (4, 3), (2, 4), (4, 3), (3, 4)]
log_p = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
hint = "Which six pairs (token before, token) count? The first token of an answer does, padding does not."
expect("loss", logs["loss"][-1], -np.mean([log_p[pair] for pair in pairs]), hint)
right = np.mean([table[before].argmax() == token for before, token in pairs])
expect(
    "accuracy", logs["accuracy"][-1], right, "Of the same six tokens: was the likeliest one right?"
)
moved = np.abs(network.get_weights()[0] - table).max(axis=1) > 1e-6
hint = (
    "Rows 2, 3 and 4 of the table predict the answers; rows 0, 1 and 5 predict nothing that counts."
)
expect("rows of the table that one update moved", moved, [0, 0, 1, 1, 1, 0], hint)

# %% tests="AnswerModel" points=3
from aigc_keras.exercises import expect

model = AnswerModel(network)
model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
logs = model.train_step((tf.constant([[1, 2, 3]]), tf.constant([1])))
expect("keys of the result", sorted(logs) == ["accuracy", "loss"], True, "Return a dict of two.")
# More is tested when you hand in: the gradient, answers of different length, rows and batches where nothing counts, an epoch.
### BEGIN HIDDEN TESTS


def by_hand(table, tokens, start):
    """(sum of -log p, right ones, counted ones, gradient of the mean), pair by pair."""
    nats, right, count, gradient = 0.0, 0, 0, np.zeros_like(table)
    for row, first in zip(tokens, start):
        for t in range(max(int(first), 1), len(row)):
            if row[t] == -1:
                continue
            p = np.exp(table[row[t - 1]] - table[row[t - 1]].max())
            p /= p.sum()
            nats, right, count = nats - np.log(p[row[t]]), right + (p.argmax() == row[t]), count + 1
            gradient[row[t - 1]] += p
            gradient[row[t - 1], row[t]] -= 1
    return nats, right, count, gradient / max(count, 1)


def fresh(table, rate, *layers):
    inside = [keras.Input((None,), dtype="int32"), keras.layers.Embedding(*table.shape), *layers]
    network = keras.Sequential(inside)
    network.set_weights([table])
    model = AnswerModel(network)
    model.compile(keras.optimizers.SGD(rate), run_eagerly=True)
    return model


rng = np.random.default_rng(2)
table = rng.normal(size=(8, 8)).astype("float32") * 2
lengths = np.array([9, 4, 6, 7, 2])
tokens = rng.integers(0, 8, (5, 9)).astype("int32")
tokens[np.arange(9) >= lengths[:, None]] = -1
start = np.array([6, 1, 6, 0, 1], "int32")  # the third row has no answer, the fourth no prompt
nats, right, count, gradient = by_hand(table, tokens, start)
model = fresh(table, 0.7)
logs = model.train_step((tf.constant(tokens), tf.constant(start)))
hint = "All counted tokens of the batch weigh the same, whatever row they are in; one row has none."
expect("loss of answers of different length", logs["loss"], nats / count, hint)
expect("their accuracy", logs["accuracy"], right / count, hint)
hint = "One SGD update with the gradient of L, which is divided by the number of counted tokens."
expect(
    "weights after the update", model.network.get_weights()[0], table - 0.7 * gradient, hint, 1e-3
)

hint = "Where nothing counts, the loss is 0 and so is its gradient."
model = fresh(table, 0.7)
logs = model.train_step((tf.constant(tokens[:, :3]), tf.fill([5], 3)))
expect("loss of a batch where nothing counts", logs["loss"], 0.0, hint)
expect("weights after it", model.network.get_weights()[0], table, hint)

hint = "The epoch's mean is over its tokens, not over its batches; Keras resets the trackers."
model = fresh(table, 0.0)
parts = [slice(0, 1), slice(1, 3), slice(3, 5)]
for _ in range(2):
    model.reset_metrics()
    for part in parts:
        logs = model.train_step((tf.constant(tokens[part]), tf.constant(start[part])))
    expect("loss of an epoch", logs["loss"], nats / count, hint)
    expect("accuracy of an epoch", logs["accuracy"], right / count, hint)

hint = "Dropout is at work only with training=True."
model = fresh(table, 0.0, keras.layers.Dropout(0.9, seed=0))
logs = model.train_step((tf.constant(tokens), tf.constant(start)))
expect("does dropout change the loss", abs(float(logs["loss"]) - nats / count) > 1e-3, True, hint)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Five runs: which is healthy, and what ails the others? (4 points)
#
# Five times the same small GPT, from the same first weights, learns to write the King James Bible character by character. One
# run is as it should be. In each of the others one thing is different. What it is, is in the table of numbers; you
# could decode it, and would learn nothing. Look at the curves and at what the runs write instead.
#
# Left to right, the five runs: the loss on what it is trained on and on unseen chapters (both in the same way, in nats a character), and
# dotted, what a model would have that knows nothing. Below, what each writes after the last characters of an unseen text. In
# writing there is only what has been written so far.

# %%
table = np.frombuffer(
    bytes.fromhex(
        "000000420000803f007c12486f12833b"
        "000000000000803f007c12486f12833b"
        "000000000000803f007c12489a99993e"
        "0000000000000000007c12486f12833b"
        "000000000000803f00007a446f12833b"
    ),
    "<f4",
).reshape(5, 4)
length, n_steps, n_written = 32, pick(1, 200), pick(2, 56)
tokenizer = ak.text.CharTokenizer.train([*texts, *test_texts])
known, unseen = (tokenizer.encode("\n".join(part)) for part in (texts, test_texts[:10]))
first_knob = tf.Variable(0)


class Attention(ak.text.CausalSelfAttention):
    def mask(self, positions, n):
        return ops.arange(n) > positions[:, None] + first_knob


keras.utils.set_random_seed(0)
gpt = ak.text.GPT(tokenizer, context_length=length, width=64, num_layers=1, num_heads=2)
gpt.blocks[0].attention.__class__ = Attention
optimizer = keras.optimizers.Adam(beta_2=0.98, global_clipnorm=1.0)
optimizer.build(gpt.trainable_variables)
first_weights = gpt.get_weights()


def loss_of(inputs, targets):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, gpt(inputs)))


def update(inputs, targets):
    with tf.GradientTape() as tape:
        loss = loss_of(inputs, targets)
    optimizer.apply(tape.gradient(loss, gpt.trainable_variables), gpt.trainable_variables)
    return loss


def last_logits(inputs):
    return gpt(inputs)[:, -1]


def graph(function):  # one for all runs; for a few steps it is not worth it
    fast = ak.profile.name() == "fast"
    return function if fast else tf.function(function, jit_compile=True, autograph=False)


training_step, held_out_loss, next_logits = map(graph, (update, loss_of, last_logits))


def rows(stream, n, second_knob, rng):
    at = rng.integers(0, len(stream) - length - 1, n)[:, None] + np.arange(length)
    return tf.constant(stream[at]), tf.constant(stream[at + second_knob])


def run(a, b, c, d):
    """Train from the first weights; the curves, and what is written in the end."""
    gpt.set_weights(first_weights)
    for variable in optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    first_knob.assign(int(a))
    optimizer.learning_rate = float(d)
    rng, every = np.random.default_rng(1), max(n_steps // 10, 1)
    held_out = rows(unseen, pick(4, 64), int(b), np.random.default_rng(2))
    training, validation = [], []
    for step in range(n_steps):
        training.append(float(training_step(*rows(known[: int(c)], pick(4, 16), int(b), rng))))
        if (step + 1) % every == 0:
            validation.append(float(held_out_loss(*held_out)))
    tokens = unseen[:length]
    for _ in range(
        n_written
    ):  # the model reads the last `length` characters, and nothing after them
        logits = np.array(next_logits(tokens[None, -length:]))[0]
        p = np.exp(logits.astype("float64") - logits.max())
        tokens = np.append(tokens, rng.choice(len(p), p=p / p.sum())).astype("int32")
    return np.reshape(training, (-1, every)).mean(axis=1), validation, tokenizer.decode(tokens)


runs = {name: run(*row) for name, row in zip("ABCDE", table)}
fig, axes = ak.plots.figure(columns=5, size=(3.2, 3.8), sharey=True)
for axis, (name, (training, validation, text)) in zip(axes[0], runs.items()):
    tenths = np.arange(1, len(training) + 1)
    axis.plot(tenths, training, "o-", label="training")
    axis.plot(tenths, validation, "s--", label="unseen")
    axis.axhline(np.log(tokenizer.vocab_size), color="black", linestyle=":", linewidth=1)
    axis.set(title=f"run {name}", xlabel="tenth of the run", ylim=(-0.15, 7))
    print(f"{name}: ...{text[length - 12 : length]!r} -> {text[length:]!r}")
axes[0, 0].set_ylabel("nats a character")
axes[0, 0].legend()
fig

# %% [markdown]
# Give each run one of these names. A name may be right for several runs, or for none. 4 points; 3 with one wrong
# name, 2 with two, else none.
#
# | name | what it means |
# |---|---|
# | `"healthy"` | all is as it should be: with more steps it would go on in this way |
# | `"looks_ahead"` | its mask lets it see tokens that come later |
# | `"memorises"` | it has so little text that it learns it by heart |
# | `"targets_not_shifted"` | the target of a position is the token at this position, not the next |
# | `"learning_rate_too_high"` | its steps are so large that they spoil what was learned |
# | `"learning_rate_too_low"` | its steps are so small that it has hardly begun |

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": "", "E": ""}
### BEGIN SOLUTION
diagnosis = {
    "A": "looks_ahead",  # no model knows unseen text so well; and it cannot write
    "B": "healthy",  # both fall together, and words begin to form
    "C": "learning_rate_too_high",  # above the dotted line, then no better than letter frequencies
    "D": "targets_not_shifted",  # loss 0 at once, and it says the last character again
    "E": "memorises",  # the two part, and it recites Genesis 1
}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

accepted = (
    "healthy",
    "looks_ahead",
    "memorises",
    "targets_not_shifted",
    "learning_rate_too_high",
    "learning_rate_too_low",
)
for name in "ABCDE":
    expect_one_of(f"run {name}", diagnosis.get(name), accepted)

# %% tests="diagnosis" points=4
from aigc_keras.exercises import wrong_names

# Whether the names are right is tested when you hand in.
assert any(diagnosis.values()), "diagnosis: nothing came.\nHint: look at the curves first."
### BEGIN HIDDEN TESTS
truth = {
    "A": ("looks_ahead", "no model knows unseen text so well, and this one cannot write"),
    "B": ("healthy", "both losses fall together, and pieces of words appear"),
    "C": (
        "learning_rate_too_high",
        "first far above knowing nothing, then stuck at letter frequencies",
    ),
    "D": ("targets_not_shifted", "loss 0 at once, and it says again what it has just read"),
    "E": ("memorises", "the two losses part, and it writes what it was trained on"),
}
wrong = wrong_names("diagnosis", diagnosis, {run: truth[run][0] for run in truth})
for run in wrong:
    print(f"Look again at run {run}: {truth[run][1]}.")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. What is it worth to look further back? (4 points)
#
# Attention can look up anything in its context. How much does a token from far back help? Measure it: predict the *same* tokens
# once from the `short` tokens before each, and once from the `long` tokens before each, and see how many bits are saved.
#
# For chapters given as tokens (a list of integer arrays), the targets are the tokens at the positions
# `first`, `first` + `every`, `first` + 2 `every`, ... of each chapter, with `first` $\ge$ `long` > `short`. For target $t$ of chapter $c$,
#
# $$g_{ct} = \log_2 p(x_t \mid x_{t-\text{long}}, \dots, x_{t-1}) - \log_2 p(x_t \mid x_{t-\text{short}}, \dots, x_{t-1})$$
#
# Write `context_gain(model, chapters, short, long, first, every)`. It returns two numbers, in bits a token:
#
# - the **gain**, the mean of $g_{ct}$ over all targets of all chapters, each target weighing the same. A chapter too short for a
#   target has none, and does not matter.
# - its **standard error** (标准误), how much the gain would move with *other chapters* of the same kind. The tokens of one chapter (a list of names, a song)
#   resemble each other, so tokens are not independent draws, but chapters are. Draw whole chapters with replacement (bootstrap, 自助法), at least 300
#   times, or use a formula for it, as in section 6 of the chapter.
#
# `model(rows)` turns tokens $(N, k)$, int32, into logits $(N, k, V)$: those at a position are for the token after it. No END is put before a row:
# the model was trained on rows that begin anywhere. All rows of one length can go through the model at once.


# %% solution="context_gain"
def context_gain(model, chapters, short, long, first, every):
    """(gain, standard error), two floats in bits a token, of `long` over `short` tokens of context."""
    ### BEGIN SOLUTION
    targets = [(c, t) for c, x in enumerate(chapters) for t in range(first, len(x), every)]
    right = np.array([chapters[c][t] for c, t in targets])

    def log2_p(k):
        rows = np.array([chapters[c][t - k : t] for c, t in targets], "int32")
        log_p = np.array(ops.log_softmax(model(rows)[:, -1]))
        return log_p[np.arange(len(right)), right] / np.log(2)

    gains, owner = log2_p(long) - log2_p(short), [c for c, _ in targets]
    sums = np.bincount(owner, gains, len(chapters))
    counts = np.bincount(owner, minlength=len(chapters))
    sums, counts = sums[counts > 0], counts[counts > 0]
    gain = sums.sum() / counts.sum()
    # As in the chapter: the standard error of a ratio of sums over chapters drawn at random.
    error = (sums - gain * counts).std(ddof=1) / (np.sqrt(len(counts)) * counts.mean())
    return gain, error
    ### END SOLUTION


# %% tests="context_gain" points=1
from aigc_keras.exercises import expect


def looks_back(distance, certainty=0.9, vocab_size=16):
    """A model that knows one thing: a token is that `distance` back, plus 1 (after 15 comes 0)."""
    wrong = (1 - certainty) / (vocab_size - 1)

    def model(rows):
        rows = np.asarray(rows)
        p = np.full((*rows.shape, vocab_size), 1 / vocab_size)
        for t in range(distance - 1, rows.shape[1]):
            p[:, t] = wrong
            p[np.arange(len(rows)), t, (rows[:, t - distance + 1] + 1) % vocab_size] = certainty
        return tf.constant(np.log(p), tf.float32)

    return model


chapters = [np.arange(50) // 3 % 16, np.zeros(50, "int64")]  # it is right in the first one only
saved, lost = np.log2(16 * 0.9), np.log2(16 * 0.1 / 15)
got = context_gain(looks_back(3), chapters, 2, 3, 10, 5)
hint = "Two numbers: the gain and its standard error, which cannot be negative or 0 here."
expect("how many numbers", np.shape(got), (2,), hint)
expect("is the standard error a positive number", 0 < float(got[1]) < 100, True, hint)
hint = "The mean over all targets; this model sees with 3 tokens what it cannot see with 2. Bits?"
expect("gain", got[0], (saved + lost) / 2, hint)
hint = "Both contexts show it the token 3 back. Are they the last tokens before the target?"
expect("gain where there is none", context_gain(looks_back(3), chapters, 3, 7, 10, 5)[0], 0.0, hint)

# %% tests="context_gain" points=3
from aigc_keras.exercises import expect

some = [english.tokenizer.encode(text) for text in test_texts[-pick(2, 6) :]]
got = context_gain(english, some, 3, 24, 40, 48)
# More is tested when you hand in: chapters of different length, the standard error, the real model on other chapters.
### BEGIN HIDDEN TESTS


def by_library(chapters, short, long, first, every):
    """The same by the library's losses, whose last one is the target's."""
    rows = [x[t - long : t + 1] for x in chapters for t in range(first, len(x), every)]
    rows = np.array(rows, "int32")
    nats = [np.array(english.token_losses(rows[:, -k - 1 :]))[:, -1] for k in (short, long)]
    return float(np.mean(nats[0] - nats[1]) / np.log(2))


hint = "The same targets both times, each weighing the same; log p of the target itself, in bits."
expect("gain of the real model", got[0], by_library(some, 3, 24, 40, 48), hint, 1e-3, 1e-3)

rng = np.random.default_rng(3)
chapters, owner, values = [], [], []
for c in range(40):
    known = rng.random() < 0.4
    n = int(rng.integers(60, 90) if known else rng.integers(20, 40))
    chapters.append(np.arange(n) // 4 % 16 if known else np.full(n, 5))
    owner += [c] * len(range(12, n, 2))
    values += [np.log2(16 * 0.8) if known else np.log2(16 * 0.2 / 15)] * len(range(12, n, 2))
gain, error = context_gain(looks_back(4, 0.8), chapters, 3, 12, 12, 2)
hint = "Chapters of different length: each target weighs the same, not each chapter."
expect("gain, chapters of different length", gain, np.mean(values), hint, 1e-3)
sums, counts = np.bincount(owner, values), np.bincount(owner)
resampled = rng.integers(0, 40, (4000, 40))
wanted = (sums[resampled].sum(axis=1) / counts[resampled].sum(axis=1)).std()
hint = "Here all tokens of a chapter are alike: how many independent draws are there?"
expect("standard error", error, wanted, hint, 0.25)
again = context_gain(
    looks_back(4, 0.8), [np.zeros(12, "int64"), *chapters, np.ones(3, "int64")], 3, 12, 12, 2
)
hint = "Two chapters more that have no target: nothing changes."
expect("gain with chapters that are too short", again[0], np.mean(values), hint, 1e-3)
expect("standard error with them", again[1], wanted, hint, 0.25)
### END HIDDEN TESTS

# %% [markdown]
# What did you measure? The gain of `gpt_kjv` over one token of context, on unseen chapters, with error bars. (Nothing to do in this cell.)

# %%
some = [english.tokenizer.encode(text) for text in test_texts[: pick(2, 10)]]
contexts = pick((4,), (2, 4, 8, 16, 32))
gains = [context_gain(english, some, 1, long, 64, pick(96, 32)) for long in contexts]
fig, axes = ak.plots.figure(size=(6.4, 3.8))
axes[0, 0].errorbar(contexts, *np.transpose(gains), fmt="o-", capsize=5)
axes[0, 0].set(xlabel="tokens of context", ylabel="bits a token saved", xscale="log")
axes[0, 0].set_xticks(contexts, contexts)
axes[0, 0].set_xticks([], minor=True)
axes[0, 0].set_title("against one token of context")
fig

# %% [markdown]
# ## 5. One word changed (4 points)
#
# Write a short text, and the same text once more with **one word changed**. Ask a checkpoint of the course for the surprisal (惊异度) of each token of both, $-\log_2 p$ in bits,
# and draw them one above the other. Up to the change, both are alike: the model cannot look ahead. At and after it, they tell what the model had looked up. Choose text and
# word so that there is something to see, and *predict it before you look*. Ideas: a name that is said twice; a number that a list
# has led to; who speaks; a rhyme word.
#
# - `"gpt_kjv"`: a text in the English of the King James Bible, 20 to 120 tokens; a word is what stands between spaces, with its comma.
# - Or `"gpt_tang"`: a quatrain (绝句) in simplified characters with its punctuation, 20 to 34 tokens; a word is one character.
#
# The text is your own, not one from the Bible or a poet; a model may have written its beginning if you say so. The change comes at least 5 tokens before the end. Make
# `experiment`, a dict:
#
# - `"checkpoint"`: one of the two names
# - `"texts"`: a list of the two strings, as many words in both, exactly one different
# - `"bits"`: a list of two float arrays, one number a token, in bits
#
# and end the cell with a figure of `ak.plots.tokens` that shows both texts **on one scale** (a piece that is `"\n"` begins a new line).
# A program checks the dict (1 point).
#
# Then **explain** it in 100 to 250 words (3 points, graded by a person):
#
# 1. *The picture* (1 point): both texts can be read and compared on one scale; you say which word you changed, and what you had
#    expected to see before you looked.
# 2. *Three tokens* (1 point): one dark, one light, and one behind the change whose surprisal is another one because of it, each with its number of
#    bits and a reason that fits what a model can know: what it has counted in training, and what stands before in this text.
# 3. *The limit* (1 point): what this one picture does not prove, what else could explain it, and which further text or measurement would tell.

# %% solution="experiment"
experiment = {"checkpoint": "", "texts": [], "bits": []}
### BEGIN SOLUTION
text = (
    "And the king of the city had a servant, whose name was {}. And the king said unto Tobiah, "
    "Go down to the river, and see."
)
versions = [text.format(name) for name in ("Tobiah", "Gideon")]
pieces, bits = zip(*(english.surprisal(version) for version in versions))
experiment = {"checkpoint": "gpt_kjv", "texts": versions, "bits": list(bits)}
ak.plots.tokens(
    [*pieces[0], "\n", *pieces[1]], [*bits[0], 0, *bits[1]], "bits", title="another name first"
)
### END SOLUTION

# %% tests="experiment" points=1
from aigc_keras.exercises import expect, expect_one_of

expect_one_of("checkpoint", experiment.get("checkpoint"), ("gpt_kjv", "gpt_tang"))
poem = experiment["checkpoint"] == "gpt_tang"
two = experiment["texts"]
hint = "A list of two strings, and beside it a list of two arrays."
expect("texts and bits", [len(two), len(experiment["bits"])], [2, 2], hint)
words = [list(text) if poem else text.split() for text in two]
hint = "The same words, but for one. (A comma belongs to its word.)"
expect("words of the second text", len(words[1]), len(words[0]), hint)
expect("words that differ", sum(a != b for a, b in zip(*words)), 1, hint)
judge = ak.checkpoints.load("gpt_tang") if poem else english
rows = [judge.encode_prompt(text) for text in two]
most = 34 if poem else 120
for name, row, bits in zip(("first", "second"), rows, experiment["bits"]):
    fits = 20 <= len(row) - 1 <= most
    expect(
        f"are there 20 to {most} tokens in the {name} text", fits, True, f"It has {len(row) - 1}."
    )
    hint = (
        "One number for each token of the text; END, with which the model begins, is none of them."
    )
    expect(f"shape of the {name} bits", np.shape(bits), (len(row) - 1,), hint)
    finite = bool(np.isfinite(bits).all() and np.min(bits) > -1e-3)
    expect(f"are the {name} bits numbers >= 0", finite, True, "-log2 p, and p is at most 1.")
alike = 0
while rows[0][-1 - alike] == rows[1][-1 - alike]:
    alike += 1
expect("are there 5 tokens after the change", alike >= 5, True, f"There are {alike}.")
### BEGIN HIDDEN TESTS
for name, row, bits in zip(("first", "second"), rows, experiment["bits"]):
    logits = np.array(judge(row[None, :-1]))[0].astype("float64")
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    wanted = -log_p[np.arange(len(row) - 1), row[1:]] / np.log(2)
    hint = "-log2 of what the checkpoint gives each token after those before it. Are they bits?"
    expect(f"bits of the {name} text", bits, wanted, hint, 1e-2, 1e-2)
### END HIDDEN TESTS

# %% [markdown] open="experiment" points=3
# I changed the name at its first mention, Tobiah to Gideon; the "Tobiah" of the second sentence is the same in both. I expected
# all of it to be lighter where it had been said before.
#
# - *Dark*: " T", with which it begins, has about 11 bits in both texts (10.9 and 10.3). After "said unto" some person must come, and the Bible has
#   hundreds. I had not expected this: a servant of that name did not help the model to guess who is spoken to.
# - *Light*: " was" after "whose name" has 0.0 bits. Hardly anything else ever follows in the training text.
# - *Behind the change*: "ob" has 0.9 bits (p = 0.54) where Tobiah was named before, and 3.0 bits (p = 0.12) after Gideon. Once "T" is
#   there, the model can look up what followed the last "T" of this text. Gideon gives it nothing to look up, and it must choose among all names in T.
#
# One picture of one name does not prove that. "ob" costs 3.8 bits at the first mention but 3.0 after Gideon, so something else makes it cheaper as well,
# perhaps "said unto". I would repeat it with 50 pairs of names, give
# the mean difference with its error, and look in `english.attention` for a head that goes from " T" back to "ob".
