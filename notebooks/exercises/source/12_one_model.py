# %% [markdown]
# # Problem set 12: One model, three jobs
#
# **You need:** chapter 12, above all its sections 2 (adapters), 3 (what is forgotten), 4 (watching), 5 (search by meaning) and 7 (how
# it fails).
#
# | task | points |
# |---|---|
# | 1. What a thin adapter can do | 4 |
# | 2. The wrong answers in a batch, each of them once | 4 |
# | 3. Five adapted models: which is healthy, and what ails the others? | 4 |
# | 4. An alarm that knows its reader's mistakes | 4 |
# | 5. A review that is read wrongly (open) | 4 |
#
# The tasks do not need each other: do them in any order. Write where it says `# YOUR CODE HERE`, and delete the line that
# raises `NotImplementedError`.
#
# **How to check yourself.** Run the test cells, or type `make check EX=12`; the last points of a
# task are given by tests that you cannot see. Keep the name of this notebook, and leave the test cells as they are.

# %%
import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

keras.utils.set_random_seed(0)
pick = ak.profile.pick

# %% [markdown]
# ## 1. What a thin adapter can do (4 points)
#
# LoRA leaves a kernel $W$ ($d \times d'$) as it is and learns a change of low rank (低秩):
#
# $$W' = W + \frac{\alpha}{r}\, A B, \qquad A: d \times r, \quad B: r \times d'.$$
#
# Is that enough? Suppose somebody has tuned *all* of $W$, and it has become $\tilde W$. How near to it could an adapter have come? Of all
# matrices of rank $r$, the one nearest to a given matrix is its singular value decomposition (奇异值分解), cut off after the $r$ largest
# singular values (Eckart and Young 1936). So an adapter that has nothing to learn any more can be written down. What is left
# says what that rank cannot do.
#
# Write three functions:
#
# - `merged(kernel, a, b, alpha)`: $W'$, the kernel into which the adapter has been added. The rank $r$ is the number of columns of $A$.
# - `best_adapter(kernel, tuned, rank, alpha)`: a pair of arrays $A$ ($d \times r$) and $B$ ($r \times d'$), $r$ = `rank`, with which $W'$
#   is as near to `tuned` as can be: the sum of the squared differences of all numbers is as small as possible. If there are several such pairs, any
#   of them. All `rank` $\ge 1$ are allowed, also those larger than $d$ or $d'$; and all $\alpha > 0$.
# - `largest_rank(shapes, budget)`: adapters of *one* rank stand beside kernels of these `shapes`, a list of pairs $(d, d')$. What is the
#   largest rank with which they have together at most `budget` numbers? An integer, 0 if not even rank 1 fits.
#
# Kernels and adapters are NumPy arrays.


# %% solution="best_adapter"
def merged(kernel, a, b, alpha):
    """The kernel (d, d') with the adapter A (d, r), B (r, d') added to it."""
    ### BEGIN SOLUTION
    return kernel + alpha / a.shape[1] * (a @ b)
    ### END SOLUTION


def best_adapter(kernel, tuned, rank, alpha):
    """(A (d, rank), B (rank, d')) with which the merged kernel is as near to `tuned` as can be."""
    ### BEGIN SOLUTION
    left, sizes, right = np.linalg.svd(tuned - kernel, full_matrices=False)
    n = min(rank, len(sizes))  # more than that there is not: the rest stays 0
    a, b = np.zeros((len(kernel), rank)), np.zeros((rank, kernel.shape[1]))
    a[:, :n] = left[:, :n] * sizes[:n] * rank / alpha
    b[:n] = right[:n]
    return a, b
    ### END SOLUTION


def largest_rank(shapes, budget):
    """The largest rank with which adapters of kernels (d, d') have at most `budget` numbers."""
    ### BEGIN SOLUTION
    return budget // sum(rows + columns for rows, columns in shapes)
    ### END SOLUTION


# %% tests="best_adapter" points=1
import numpy as np
from aigc_keras.exercises import expect

rng = np.random.default_rng(0)
kernel, a, b = rng.normal(size=(6, 4)), rng.normal(size=(6, 2)), rng.normal(size=(2, 4))
x = rng.normal(size=(3, 6))
found = merged(kernel, a, b, 8.0)
hint = "Beside: x W, and to it alpha / r times x A B. Merged, it has to be the same."
expect("shape of the merged kernel", np.shape(found), (6, 4), hint)
expect("outputs, merged", x @ found, x @ kernel + 8 / 2 * (x @ a) @ b, hint)
hint = "B begins as zeros, so that nothing has changed before the first step."
expect("merged, B = 0", merged(kernel, a, 0 * b, 8.0), kernel, hint)
found = best_adapter(kernel, kernel + a @ b, 2, 2.0)
hint = "Two arrays, A and B."
expect("how many arrays", 0 if found is None else len(found), 2, hint)
expect("shape of A", np.shape(found[0]), (6, 2), hint)
expect("shape of B", np.shape(found[1]), (2, 4), hint)
hint = "The change has rank 2, so that an adapter of rank 2 can be all of it: nothing is left."
expect("kernel + A B, rank 2, alpha 2", kernel + found[0] @ found[1], kernel + a @ b, hint)
hint = "Each rank costs a column of A and a row of B: d + d' numbers a kernel."
expect("largest rank of 100 numbers", largest_rank([(6, 4), (4, 6), (4, 4)], 100), 3, hint)

# %% tests="best_adapter" points=3
import numpy as np
from aigc_keras.exercises import expect

# More is tested when you hand in: changes of full rank, other alphas, too large ranks, no change.
hint = "Not even one rank fits."
expect("largest rank of 9 numbers", largest_rank([(6, 4)], 9), 0, hint)
### BEGIN HIDDEN TESTS
rng = np.random.default_rng(1)


def compared(rows, columns, rank, alpha, change):
    """The best adapter against the eigenvalues of the change, which the nearest matrix leaves."""
    kernel = rng.normal(size=(rows, columns))
    a, b = (np.asarray(x) for x in best_adapter(kernel, kernel + change, rank, alpha))
    about = f"{rows} x {columns}, rank {rank}, alpha {alpha}"
    hint = "The rank is what was asked for, also where a smaller one would do: fill up with zeros."
    expect(f"shapes of A and B, {about}", [*a.shape, *b.shape], [rows, rank, rank, columns], hint)
    done = alpha / rank * a @ b
    squares = np.sort(np.linalg.eigvalsh(change.T @ change))[::-1]
    hint = "The nearest matrix of that rank leaves the smaller singular values; mind alpha / rank."
    left = np.sum(np.square(change - done))
    expect(f"squared differences that are left, {about}", left, squares[rank:].sum(), hint, 1e-3)
    hint = "An adapter of rank r cannot make a change of a higher rank."
    expect(
        f"rank of the change, {about}", min(np.linalg.matrix_rank(done), rank + 1) <= rank, 1, hint
    )
    x = rng.normal(size=(5, rows))
    separate = x @ kernel + alpha / rank * ((x @ a) @ b)
    hint = "Merged or beside each other: the outputs are the same."
    expect(f"outputs, {about}", x @ merged(kernel, a, b, alpha), separate, hint, 1e-3)


for rows, columns, rank, alpha in (
    (8, 8, 1, 1.0),
    (8, 8, 3, 16.0),
    (5, 12, 4, 0.5),
    (12, 5, 2, 7.0),
    (4, 6, 4, 4.0),
    (3, 6, 5, 10.0),
    (6, 2, 9, 3.0),
    (1, 1, 2, 2.0),
):
    compared(rows, columns, rank, alpha, rng.normal(size=(rows, columns)))
compared(5, 4, 2, 6.0, np.zeros((5, 4)))
compared(6, 5, 4, 8.0, np.outer(rng.normal(size=6), rng.normal(size=5)))
kernel = rng.normal(size=(4, 4))
kept = kernel.copy()
best_adapter(kernel, kernel + 1, 2, 3.0)
merged(kernel, kernel[:, :1].copy(), kernel[:1].copy(), 3.0)
expect("the kernel that was given", kernel, kept, "Make a new array; the old one stays as it is.")
for shapes, budget in (
    ([(128, 384), (128, 128), (128, 512), (512, 128)] * 4, 40_000),
    ([(128, 384)], 512),
    ([(128, 384)], 511),
    ([(7, 3), (3, 7), (1, 1)], 66),
    ([(7, 3), (3, 7), (1, 1)], 65),
):
    rank = 0  # one more, as long as all of them fit
    while sum(x * (rank + 1) + (rank + 1) * y for x, y in shapes) <= budget:
        rank += 1
    hint = "A and B of all kernels together; exactly the budget is allowed."
    expect(
        f"largest rank, {len(shapes)} kernels, {budget}", largest_rank(shapes, budget), rank, hint
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 2. The wrong answers in a batch, each of them once (4 points)
#
# An encoder (编码器) learns from $B$ pairs at a time: row $i$ is a question with the unit vector $u_i$ and its answer with $v_i$. The answers of
# the other rows serve as wrong ones (in-batch negatives, 批内负样本). That has two faults. If row $j$ has the *same text* as answer, it is called
# wrong and is right. And a text that many rows have, such as the title *Love it!*, counts as a wrong answer many times in one batch: all
# questions are pushed away from it, because it is frequent and not because it is wrong.
#
# So (here a little different from the chapter) each text counts once. Rows with the same number $n_i$ have the same answer text; let $c_j$ be the
# number of rows that have the text of row $j$, itself included. The loss (InfoNCE) of row $i$ is
#
# $$\ell_i = -\log \frac{e^{s_{ii}}}{e^{s_{ii}} + \sum_{j:\, n_j \ne n_i} e^{s_{ij}} / c_j}, \qquad s_{ij} = \frac{u_i \cdot v_j}{\tau},$$
#
# with the temperature (温度) $\tau$. Then it changes nothing for a row if another one comes twice.
#
# Write both functions:
#
# - `info_nce(questions, answers, numbers, temperature)`: the losses $\ell_i$ (B,), in nats. `questions` and `answers` (B, D) are float32, rows of
#   length one; `numbers` (B,), int32, are the $n_i$; `temperature`, a Python number, is $\tau \ge 0.01$. $B \ge 1$.
#   Training differentiates it, so compute with TensorFlow or `keras.ops`: values *and* gradients have to be finite and right. Mind what
#   $e^{1 / 0.01}$ is in float32. Equal texts need not have equal vectors (dropout).
# - `knows_nothing(numbers)`: the mean of the losses of an encoder that gives *all* texts the same vector; a number. Only beside it does a loss
#   say something: it depends on the batch.


# %% solution="info_nce"
def info_nce(questions, answers, numbers, temperature):
    """-log p of each question's own answer among the different texts of the batch, nats.

    Args:
        questions, answers: (B, D), unit vectors; row i of the one belongs to row i of the other.
        numbers: (B,), integers: rows with the same one have the same answer text.
        temperature: cosines are divided by it.

    Returns:
        (B,).
    """
    ### BEGIN SOLUTION
    same = numbers[:, None] == numbers
    own = ops.eye(numbers.shape[0], dtype="bool")
    log_counts = ops.log(ops.sum(ops.cast(same, "float32"), axis=0))
    scores = ops.matmul(questions, ops.transpose(answers)) / temperature
    others = ops.where(same, -np.inf, scores - log_counts)  # e^-inf is 0: it does not count
    return -ops.diagonal(ops.log_softmax(ops.where(own, scores, others)))
    ### END SOLUTION


def knows_nothing(numbers):
    """The mean loss where all vectors are alike, nats."""
    ### BEGIN SOLUTION
    # As many different texts as there are, and each as likely as any other.
    return np.log(len(np.unique(numbers)))
    ### END SOLUTION


# %% tests="info_nce" points=1
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

angles = np.float32([[0, 1, 2, 3], [0.3, 1.5, 2.2, 1.4]])
u, v = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
s = u @ v.T / 0.5
e = np.exp(s)
# Rows 1 and 3 have the same answer.
wanted = [
    e[0, 0] / (e[0, 0] + e[0, 1] / 2 + e[0, 2] + e[0, 3] / 2),
    e[1, 1] / (e[1, 1] + e[1, 0] + e[1, 2]),
    e[2, 2] / (e[2, 2] + e[2, 0] + e[2, 1] / 2 + e[2, 3] / 2),
    e[3, 3] / (e[3, 3] + e[3, 0] + e[3, 2]),
]
losses = info_nce(tf.constant(u), tf.constant(v), tf.constant([5, 2, 9, 2]), 0.5)
expect(
    "losses of four rows, the answers of rows 1 and 3 being the same text",
    losses,
    -np.log(wanted),
    "the other row with the own text is left out; for the others the two count one half each.",
)
expect(
    "loss of an encoder that knows nothing, four different texts",
    knows_nothing(np.array([3, 1, 2, 0])),
    np.log(4),
    "where all are alike, each text is as likely as any other.",
)

# %% tests="info_nce" points=3
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

# More is tested when you hand in: other batches, low temperatures, only doubles, gradients.
one = tf.constant([[0.6, 0.8]])
hint = "Who has no choice is right."
expect("loss of one row", info_nce(one, one, tf.constant([4]), 0.1), [0.0], hint)


### BEGIN HIDDEN TESTS
def unit_rows(rng, *shape):
    x = rng.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype("float32")


def slowly(u, v, numbers, temperature):
    """Losses and the gradients of their sum, in float64, row by row."""
    u, v, numbers = u.astype("float64"), v.astype("float64"), numbers.tolist()
    losses, by_u, by_v = [], np.zeros(u.shape), np.zeros(v.shape)
    for i in range(len(u)):
        chosen = [j for j in range(len(u)) if j == i or numbers[j] != numbers[i]]
        weights = [1 if j == i else 1 / numbers.count(numbers[j]) for j in chosen]
        logits = np.log(weights) + v[chosen] @ u[i] / temperature
        log_p = logits - logits.max()
        log_p -= np.log(np.exp(log_p).sum())
        losses.append(-log_p[chosen.index(i)])
        for j, slope in zip(chosen, np.exp(log_p)):
            slope -= j == i
            by_u[i] += slope * v[j] / temperature
            by_v[j] += slope * u[i] / temperature
    return np.array(losses), by_u, by_v


def compared(about, u, v, numbers, temperature):
    given = tf.constant(u), tf.constant(v)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = info_nce(*given, tf.constant(numbers, "int32"), temperature)
        total = None if found is None else tf.reduce_sum(found)
    losses, *slopes = slowly(u, v, np.asarray(numbers), temperature)
    about = f"{about}, {len(u)} rows, temperature {temperature}"
    hint = "e to the 100 is too much for float32: take log p from the scores, by log_softmax."
    expect(f"losses, {about}", found, losses, hint, 1e-3, 1e-4)
    hint = "is everything a tensor's operation, and is nothing infinite multiplied by 0?"
    gradients = tape.gradient(total, given, unconnected_gradients="zero")
    for name, got, wanted in zip(("questions", "answers"), gradients, slopes):
        got = tf.convert_to_tensor(got)
        expect(f"gradient by the {name}, {about}", got, wanted, hint, 1e-3, 1e-3)


rng = np.random.default_rng(0)
for n, d, n_texts, temperature in (
    (6, 4, 100, 1.0),
    (7, 3, 4, 0.05),
    (12, 8, 3, 0.2),
    (5, 2, 2, 0.01),
    (9, 5, 1, 0.1),
):
    numbers = rng.integers(0, n_texts, n)
    compared(
        f"up to {n_texts} texts", unit_rows(rng, n, d), unit_rows(rng, n, d), numbers, temperature
    )
u = unit_rows(rng, 6, 3)
compared("each its own answer", u, u, np.arange(6), 0.01)
compared("each the opposite of its answer", u, -u, np.arange(6), 0.01)
# What comes twice changes nothing for the others.
v, numbers = unit_rows(rng, 6, 3), np.array([0, 1, 2, 3, 4, 1])
short = info_nce(tf.constant(u), tf.constant(v), tf.constant(numbers, "int32"), 0.1)
more = [0, 1, 2, 3, 4, 5, 0, 0, 3]
given = tf.constant(u[more]), tf.constant(v[more]), tf.constant(numbers[more], "int32")
longer = info_nce(*given, 0.1)
hint = "c_j counts the rows with the text of row j, itself included."
expect("losses of six rows, three of which come once more", longer[:6], short, hint)
# Limits of the temperature, and of vectors that say nothing.
hint = "With a high temperature all cosines are alike."
for numbers in (np.arange(8), np.array([3, 3, 3, 7, 7, -1]), np.zeros(4, int)):
    x, y = unit_rows(rng, len(numbers), 4), unit_rows(rng, len(numbers), 4)
    wanted = np.log(len({*numbers.tolist()}))
    got = info_nce(tf.constant(x), tf.constant(y), tf.constant(numbers, "int32"), 1e6)
    expect(
        f"losses, temperature a million, numbers {numbers}", got, [wanted] * len(x), hint, atol=1e-4
    )
    about = "Doubles are no choice: how many different texts are there?"
    expect(f"knows nothing, numbers {numbers}", knows_nothing(numbers), wanted, about)
    x = np.tile(x[:1], (len(x), 1))
    got = info_nce(tf.constant(x), tf.constant(x), tf.constant(numbers, "int32"), 0.05)
    expect(f"losses of equal vectors, numbers {numbers}", got, [wanted] * len(x), about)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Five adapted models: which is healthy, and what ails the others? (4 points)
#
# A small network has learned the *old job*: of which department is a review? It sees which of 800 words are there, and no order.
# Five times, from these same weights, it is given the *new job*: bad (1 to 3 stars) or good (5), as many of the one as of the other.
# All its weights learn. One run is as it should be. In each of the others something is wrong. What it is, is in the table
# of numbers; you could decode it, and would learn nothing. Look at the curves, the bars and the words instead.
#
# Above, the loss of the new job on the training reviews and on 200 validation reviews, in nats, and dotted, what guessing costs, log 2. Below, the
# share that is right in the end, three times: on the *validation* reviews, *in service* (600 other reviews, just as they come in), and in the
# *old job*, with a dotted line where it was before. The printed words are those that move the verdict most, in either direction.

# %%
table = np.frombuffer(
    bytes.fromhex(
        "000096430ad7233c0000803f00000040"
        "0080bb446f12833b0000000000000000"
        "000048430ad7a33c0000803f00000000"
        "000096430ad7233c0000803f0000803f"
        "0080bb446f12833b0000803f00000000"
    ),
    "<f4",
).reshape(5, 4)
columns = ak.datasets.table("reviews", f"train[:{pick(1500, 6000)}]")
stars, texts = np.array(columns["rating"]), np.array(columns["text"], object)
departments = ["Tops", "Dresses", "Bottoms", "Jackets", "Intimate"]
vectors = CountVectorizer(max_features=800, binary=True, token_pattern=r"\b\w+\b")
vectors.fit(texts[:3000])
n_steps, n_judged, n_served = pick(1, 200), 200, pick(100, 600)
rng = np.random.default_rng(0)


def bags(texts):
    """Which words are there, (N, 800), in rows of length one."""
    found = vectors.transform(texts).toarray().astype("float32")
    return found / np.sqrt(np.maximum(found.sum(axis=1, keepdims=True), 1))


def worded(rows, leak):
    return [f"{texts[i]} I gave it {stars[i]} stars." if leak else texts[i] for i in rows]


def judged(rows, leak=False):
    return bags(worded(rows, leak)), (stars[rows] <= 3).astype("int32")


of_old = [i for i, name in enumerate(columns["department"]) if name in departments]
old_x = bags(texts[of_old])
old_y = np.array([departments.index(columns["department"][i]) for i in of_old], "int32")
n_old = len(of_old) // 3 * 2
exam = old_x[n_old:], old_y[n_old:]
bad = np.flatnonzero(stars <= 3)
both = rng.permutation([*bad, *np.flatnonzero(stars == 5)[: len(bad)]])
validation, service, known = np.split(both, [n_judged, n_judged + n_served])

inputs = keras.Input((old_x.shape[1],))
states = layers.Dense(8, "tanh")(layers.Dense(16, "tanh")(inputs))
network = keras.Model(inputs, [layers.Dense(5)(states), layers.Dense(2)(states)])
optimizer = ak.optimizers.Adam(1e-2)
optimizer.build(network.trainable_variables)


def mean_loss(logits, labels):
    return ops.mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def update(x, y, again_x, again_y, weights):
    with tf.GradientTape() as tape:
        losses = mean_loss(network(x)[1], y), mean_loss(network(again_x)[0], again_y)
        loss = weights[0] * losses[0] + weights[1] * losses[1]
    optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)


# One graph for all runs; for a few steps it is not worth it.
training_step = update if ak.profile.name() == "fast" else tf.function(update, autograph=False)


def train(x, y, weights, n, seen=lambda: None):
    """Steps on 32 rows of (x, y) and 32 of the old job; what `seen` says after each tenth."""
    rng, found = np.random.default_rng(1), []
    for step in range(n):
        i, j = rng.integers(len(x), size=32), rng.integers(n_old, size=32)
        parts = (x[i], y[i], old_x[j], old_y[j], np.float32(weights))
        training_step(*map(tf.constant, parts))
        if (step + 1) % max(n // 10, 1) == 0:
            found.append(seen())
    return found


train(*judged(known[:32]), (0, 1), pick(1, 400))
first_weights = network.get_weights()


def right(x, y, head):
    return np.mean(np.argmax(network(x)[head], axis=1) == y)


before = right(*exam, 0)


def run(*settings):
    """Adapt the first weights: the two curves, three shares that are right, the strongest words."""
    n, rate, again, kind = settings
    network.set_weights(first_weights)
    for variable in optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    optimizer.learning_rate = float(rate)
    rows = known[: int(n)] if kind < 2 else [*known[: int(n) - n_judged], *validation]
    parts = [judged(rows, kind == 1), judged(validation, kind == 1)]
    curves = train(*parts[0], (1, again), n_steps, lambda: [loss_of(*part) for part in parts])
    served = judged(service)
    shares = [right(*parts[1], 1), right(*served, 1), right(*exam, 0)]
    given = tf.constant(served[0])
    with tf.GradientTape() as tape:
        tape.watch(given)
        verdict = ops.sum(network(given)[1] * [-1.0, 1.0])
    pulls = np.abs(np.mean(tape.gradient(verdict, given), axis=0))
    return np.array(curves).T, shares, vectors.get_feature_names_out()[pulls.argsort()[:-7:-1]]


def loss_of(x, y):
    return float(mean_loss(network(x)[1], y))


runs = {name: run(*row) for name, row in zip("ABCDE", table)}
fig, axes = ak.plots.figure(columns=5, rows=2, size=(3.2, 2.6), height_ratios=(3, 2))
for column, (name, (curves, shares, strongest)) in enumerate(runs.items()):
    tenths = np.arange(1, curves.shape[1] + 1)
    above, below = axes[:, column]
    above.plot(tenths, curves[0], "o-", label="training")
    above.plot(tenths, curves[1], "s--", label="validation")
    above.axhline(np.log(2), color="black", linestyle=":", linewidth=1)
    above.set(title=f"run {name}", xlabel="tenth of the run", ylim=(-0.05, 1.2))
    below.bar(["validation", "in service", "old job"], shares, color=ak.plots.COLORS[2])
    below.plot([1.6, 2.4], [before] * 2, color="black", linestyle=":", linewidth=2)
    below.tick_params(axis="x", labelrotation=20)
    below.set(ylim=(0, 1.02))
    print(f"{name}: right {', '.join(f'{x:.0%}' for x in shares)}; words: {', '.join(strongest)}")
axes[0, 0].set_ylabel("nats a review")
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
# | `"forgets"` | nothing keeps what it knew: of the old job it sees nothing any more |
# | `"overfits"` | it has so few reviews that it learns them by heart, and should have stopped early |
# | `"label_leaks"` | training and validation reviews hold a sentence that says the answer, and that will not be there when it counts |
# | `"validation_in_training"` | the validation reviews are among those that it is trained on |
# | `"learning_rate_too_high"` | its steps are so large that they spoil what was learned |
# | `"learning_rate_too_low"` | its steps are so small that it has hardly begun |

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": "", "E": ""}
### BEGIN SOLUTION
diagnosis = {
    "A": "validation_in_training",  # one curve lies on the other, and in service it is worse
    "B": "forgets",  # as good as E in the new job, and far below its line in the old one
    "C": "overfits",  # training falls to 0, validation rises from the third tenth on
    "D": "label_leaks",  # better on validation than in service, and it reads the digits
    "E": "healthy",
}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

accepted = (
    "healthy",
    "forgets",
    "overfits",
    "label_leaks",
    "validation_in_training",
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
    "A": ("validation_in_training", "validation is as good as training, service is not"),
    "B": ("forgets", "the new job is learned, the old one is far below its line"),
    "C": ("overfits", "training falls to 0 and validation rises"),
    "D": ("label_leaks", "validation is good and service is not; and look at the words"),
    "E": ("healthy", "both losses fall, service is like validation, the old job is kept"),
}
wrong = wrong_names("diagnosis", diagnosis, {run: truth[run][0] for run in truth})
for run in wrong:
    print(f"Look again at run {run}: {truth[run][1]}.")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. An alarm that knows its reader's mistakes (4 points)
#
# A classifier reads the day's reviews, and an alarm is to go off when there are too many bad ones. But the reader is wrong now and then.
# Who takes its counts as they are sees bad reviews where there are none, and misses some that are there. Validation tells how wrong it is: of
# $m_1$ bad reviews it called $h$ bad, of $m_0$ others $w$. With $s = h / m_1$ and $f = w / m_0$, and $c$ of a day's $n$ reviews called bad,
# $q = c / n$, the corrected share is (Rogan and Gladen 1978)
#
# $$p = \frac{q - f}{s - f}.$$
#
# It is meant to be right *on average* (unbiased, 无偏), so a $p$ below 0 or above 1 stays what it is. What is its **standard error** (标准误)? Three
# shares were counted, independently of each other, and each share $x$ of $n$ reviews has the variance $x (1 - x) / n$. Small errors of the three
# add up as $p$'s derivatives say (delta method): $\operatorname{Var} p = \sum_x (\partial p / \partial x)^2 \operatorname{Var} x$, all at the
# counted shares.
#
# The alarm is CUSUM (累积和; Page 1954). Days have more or fewer reviews, and a day of many says more; so count reviews in place of shares. With
# $p_0$ the usual share, $p_1$ what would be too much, $k = (p_0 + p_1) / 2$, and $S = 0$ before the first day,
#
# $$S_t = \max\big(0,\; S_{t-1} + n_t\, (p_t - k)\big), \qquad \text{alarm on the first day with } S_t > H.$$
#
# Write both functions. `reader` is a tuple of four integers $(h, m_1, w, m_0)$. If $s \le f$, the reader cannot tell the two kinds apart; then
# both raise a `ValueError`.
#
# - `corrected_share(called, total, reader)`: from $c$ and $n \ge 1$ to a pair of numbers, $p$ and its standard error.
# - `alarm_day(called, totals, reader, usual, much, threshold)`: arrays (T,) of integers, $c_t$ and $n_t$, and the numbers $p_0$, $p_1$, $H$, to
#   the number of the day of the alarm, from 0; $-1$ if there is none. Days without any review ($n_t = 0$) leave $S$ as it is.


# %% solution="alarm_day"
def corrected_share(called, total, reader):
    """(share of bad reviews, its standard error) where `called` of `total` were called bad.

    Args:
        called, total: integers.
        reader: (hits, bad reviews, false calls, other reviews) of validation.
    """
    ### BEGIN SOLUTION
    hits, n_bad, false_calls, n_others = reader
    q, s, f = called / total, hits / n_bad, false_calls / n_others
    if s <= f:
        raise ValueError(f"reader: finds {s:.2f} of the bad ones and calls {f:.2f} others bad.")
    p = (q - f) / (s - f)
    variance = q * (1 - q) / total
    variance += p**2 * s * (1 - s) / n_bad + (1 - p) ** 2 * f * (1 - f) / n_others
    return p, np.sqrt(variance) / (s - f)
    ### END SOLUTION


def alarm_day(called, totals, reader, usual, much, threshold):
    """The first day, from 0, on which the sum of bad reviews too many exceeds `threshold`, or -1.

    Args:
        called, totals: (T,), of each day's reviews, how many were called bad and how many came.
        reader: as above.
        usual, much: shares; what is above the middle of them is too many.
        threshold: of the sum, in reviews.
    """
    ### BEGIN SOLUTION
    total = 0.0
    for day, (c, n) in enumerate(zip(called, totals)):
        share = corrected_share(c, n, reader)[0] if n else 0.0
        total = max(0.0, total + n * (share - (usual + much) / 2))
        if total > threshold:
            return day
    return -1
    ### END SOLUTION


# %% tests="alarm_day" points=1
import numpy as np
from aigc_keras.exercises import expect

perfect = (50, 50, 0, 200)
found = corrected_share(12, 40, perfect)
hint = "A reader without mistakes: the share as it was counted, and its usual standard error."
expect("how many numbers", np.shape(found), (2,), "Two: the share and its standard error.")
expect("a perfect reader's 12 of 40", found, [0.3, np.sqrt(0.3 * 0.7 / 40)], hint)
hint = "It calls 1 in 10 good reviews bad and finds 8 in 10 bad ones: 24 % is called bad. And is?"
expect("share of 24 in 100", corrected_share(24, 100, (40, 50, 20, 200))[0], 0.2, hint)
totals = np.full(60, 40)
quiet, bad = 2, 12  # of 40 reviews; 12 are 5 more than 40 times 0.175
called = np.where(np.arange(60) < 30, quiet, bad)
hint = "After 30 quiet days the sum is 0, and each further day adds 5: more than 12 on the third."
expect("day of the alarm", alarm_day(called, totals, perfect, 0.05, 0.3, 12.0), 32, hint)
hint = "What does not go off is -1."
expect("no alarm", alarm_day(called[:30], totals[:30], perfect, 0.05, 0.3, 12.0), -1, hint)

# %% tests="alarm_day" points=3
import numpy as np
from aigc_keras.exercises import expect

# More is tested when you hand in: readers with mistakes, the error, uneven days, useless readers.
hint = "On the first day the sum may be enough already; days count from 0."
expect(
    "alarm on the first day",
    alarm_day(np.array([9]), np.array([9]), (5, 5, 0, 5), 0.1, 0.3, 7.0),
    0,
    hint,
)


### BEGIN HIDDEN TESTS
def refused(function, *given):
    try:
        function(*given)
    except ValueError:
        return True
    return False


for useless in ((10, 100, 10, 100), (10, 100, 30, 100), (0, 50, 0, 70)):
    hint = "Who calls as many of the good ones bad as of the bad ones says nothing: a ValueError."
    expect(f"is {useless} refused", refused(corrected_share, 3, 10, useless), True, hint)
    given = (np.array([3, 4]), np.array([10, 10]), useless, 0.1, 0.3, 5.0)
    expect(f"is {useless} refused by the alarm", refused(alarm_day, *given), True, hint)

# Right on average: over all counts that a day may have, with their probabilities.
for p, s, f, n in (
    (0.02, 0.7, 0.1, 12),
    (0.5, 0.9, 0.3, 9),
    (0.97, 0.8, 0.05, 15),
    (0.0, 1, 0.4, 6),
):
    reader = tuple(round(x) for x in (s * 10**6, 10**6, f * 10**6, 10**6))
    q = p * s + (1 - p) * f
    counts = np.arange(n + 1)
    choose = np.array([float(np.prod([(n - i) / (k - i) for i in range(k)])) for k in counts])
    chances = choose * q**counts * (1 - q) ** (n - counts)
    shares = np.array([float(corrected_share(int(c), n, reader)[0]) for c in counts])
    hint = "What is below 0 or above 1 stays, or the mean is no longer right."
    expect(f"mean share, p {p}, s {s}, f {f}", chances @ shares, p, hint, 1e-3, 1e-4)

# The error, against many days and many validations.
rng = np.random.default_rng(0)
for p, (hits, n_bad, wrong, n_others), n in (
    (0.2, (640, 800, 90, 900), 400),
    (0.1, (285, 300, 300, 2000), 4000),
    (0.7, (700, 1000, 30, 300), 5000),
):
    s, f = hits / n_bad, wrong / n_others
    q = p * s + (1 - p) * f
    drawn = [
        rng.binomial(size, x, 100_000) / size for size, x in ((n, q), (n_bad, s), (n_others, f))
    ]
    scatter = np.std((drawn[0] - drawn[2]) / (drawn[1] - drawn[2]))
    got = corrected_share(round(q * n), n, (hits, n_bad, wrong, n_others))[1]
    hint = "Three shares were counted: that of the day, s and f. What is p's derivative by each?"
    expect(f"error, p {p}, {n} reviews, s {s:.2f}, f {f:.2f}", got, scatter, hint, 0.04)


def slowly(called, totals, reader, usual, much, threshold):
    """The alarm's day: the sum since the best day to begin with."""
    s, f = reader[0] / reader[1], reader[2] / reader[3]
    over = [(c - n * f) / (s - f) - n * (usual + much) / 2 for c, n in zip(called, totals)]
    for day in range(len(over)):
        if max(sum(over[start : day + 1]) for start in range(day + 1)) > threshold:
            return day
    return -1


eight, perfect = np.full(3, 8), (5, 5, 0, 5)
hint = (
    "The sum has to be above the threshold, not at it; and a day adds n (p - k), k in the middle."
)
expect(
    "day of the alarm, sums 6, 12, 18 and H 6",
    alarm_day(eight, eight, perfect, 0.125, 0.375, 6.0),
    1,
    hint,
)
reader = (90, 100, 40, 400)  # s = 0.9, f = 0.1: 10 + 80 p of 100 are called bad
for quiet_days, share, threshold in ((10, 0.25, 25.0), (0, 0.25, 95.0), (25, 0.4, 60.0)):
    called = [14] * quiet_days + [round(10 + 80 * share)] * 20
    excess = 100 * (share - 0.15)
    wanted = quiet_days + int(threshold // excess)
    got = alarm_day(np.array(called), np.full(len(called), 100), reader, 0.05, 0.25, threshold)
    hint = "After quiet days the sum is 0, then it grows by the same each day."
    expect(f"alarm after {quiet_days} quiet days, threshold {threshold}", got, wanted, hint)
called, totals = rng.binomial(30, 0.1 + 0.8 * 0.05, 1000), np.full(1000, 30)
hint = "A share of 5 % is usual; the reader's false calls are no bad reviews."
expect("alarm in 1,000 quiet days", alarm_day(called, totals, reader, 0.05, 0.2, 20.0), -1, hint)
hint = "A day of many reviews says more; one without any changes nothing."
for seed in range(40):
    rng = np.random.default_rng(seed)
    totals = rng.integers(0, 40, 50) * (rng.random(50) < 0.8)
    called = rng.binomial(totals, np.where(np.arange(50) < 25, 0.14, 0.3))
    given = (called, totals, reader, 0.05, 0.25, float(rng.uniform(2, 12)))
    expect(f"alarm, stream {seed}", alarm_day(*given), slowly(*given), hint)
### END HIDDEN TESTS

# %% [markdown]
# What did you measure? A hundred quiet days and then a surge, 200 times: with the reader's mistakes put right, and as if it made none.
# The threshold is the same. (Nothing to do in this cell.)

# %%
rng = np.random.default_rng(0)
honest, naive = (
    (340, 400, 160, 2000),
    (400, 400, 0, 2000),
)  # 85 % and 8 %; as if it made no mistakes
n_streams, totals = pick(5, 200), rng.integers(15, 45, 130)
shares = np.where(np.arange(130) < 100, 0.1, 0.25)
streams = rng.binomial(totals, 0.85 * shares + 0.08 * (1 - shares), (n_streams, 130))
for name, reader in (("corrected", honest), ("as counted", naive)):
    days = np.array([alarm_day(row, totals, reader, 0.1, 0.25, 10.0) for row in streams])
    late = days[days >= 100] - 99
    print(f"{name}: {np.mean((days >= 0) & (days < 100)):.0%} warned too early; ", end="")
    print(f"the others {np.mean(late) if len(late) else np.nan:.1f} days after the surge began")

# %% [markdown]
# ## 5. A review that is read wrongly (4 points)
#
# Below, a head of 129 numbers is put upon the frozen `gpt_reviews` and learns from 300 labelled reviews. `judge(texts)` gives for each text the
# probability that it is bad (1 or 2 stars); above 1/2 it is called bad, otherwise good. Of 120 unseen reviews, `shown` with `is_bad`, most are
# read rightly. **Find one that is read wrongly, and explain what misled the model.**
#
# A word's *pull* is how much the verdict moves if it is left out: $\operatorname{logit} p - \operatorname{logit} p_{\text{without}}$, with
# $\operatorname{logit} p = \log \frac{p}{1 - p}$. A word is what `text.split()` gives. Then make a **counterfactual** (反事实): change at most three
# words so that the verdict turns, and a reader would still give the same label as before.
#
# Make `finding`, a dict:
#
# - `"review"`: one of `shown`, and read wrongly
# - `"p"`: what `judge` says of it
# - `"without"`: a list, for each of its words, what `judge` says of the review without this word (the others with a blank between)
# - `"changed"`: the review with one to three words replaced, left out or put in, so that `judge` says what `is_bad` says
#
# The cell after it draws the pulls. A program checks the dict (1 point). Then **explain** it in 100 to 250 words (3 points, given by a person):
#
# 1. *The picture* (1 point): what the review says, how it was rated and how it was read; which words pull where, and whether a
#    reader would have looked at the same ones.
# 2. *The reason* (1 point): with numbers of your own, why this word (or pair of words) misleads. For example, in how many bad and good reviews of `learned` does it
#    stand? How often are other good (or bad) ones with it read wrongly, and without it?
# 3. *The limit* (1 point): what leaving out one word does not show; what would put this review right (more labels, all weights, other words), with one
#    try that you made, or one that you describe so exactly that somebody else could make it; and which result would speak against your reason.

# %%
reader = ak.tuning.Classifier(ak.checkpoints.load("gpt_reviews"), 2, seed=0)


def reviews_of(split, n):
    """n good and n bad reviews of 8 to 40 words, and which are bad."""
    columns, found = ak.datasets.table("reviews", split), ([], [])
    for text, stars in zip(columns["text"], columns["rating"]):
        if stars != 3 and 8 <= len(text.split()) <= 40:
            found[int(stars < 3)].append(text)
    return found[0][:n] + found[1][:n], np.repeat([False, True], n)


(learned, was_bad), (shown, is_bad) = reviews_of("train", 150), reviews_of("test", 60)
head = LogisticRegression(C=0.03, max_iter=1000).fit(reader.features(learned), was_bad)


def judge(texts):
    """The probability of each text that it is bad, (N,)."""
    return head.predict_proba(reader.features(texts))[:, 1]


right_reads = (judge(shown) > 0.5) == is_bad
print(f"{right_reads.mean():.0%} of the reviews shown are read rightly.")

# %% solution="finding"
finding = {"review": "", "p": 0.5, "without": [], "changed": ""}
### BEGIN SOLUTION
review = "Really pretty, but runs at least a full size small."
parts = review.split()
finding = {
    "review": review,
    "p": judge([review])[0],
    "without": list(judge([" ".join(parts[:k] + parts[k + 1 :]) for k in range(len(parts))])),
    "changed": "Really pretty, and runs a full size small.",
}


def has_but(texts):
    return np.array(["but" in text.lower().replace(",", " ").split() for text in texts])


for name, which in (("bad", was_bad), ("good", ~was_bad)):
    print(f'"but" stands in {has_but(learned)[which].mean():.0%} of the {name} reviews learned')
called_bad, but = (judge(shown) > 0.5)[~is_bad], has_but(shown)[~is_bad]
print(f'good ones read wrongly: with "but" {called_bad[but].sum()} of {but.sum()}, ', end="")
print(f"without {called_bad[~but].sum()} of {(~but).sum()}")
for text in (
    finding["changed"],
    "Really pretty, and runs at least a full size small.",
    "Really pretty, though runs at least a full size small.",
    "Really ugly, and runs at least a full size small.",
    "Really pretty, but so comfortable and true to size.",
):
    print(f"{judge([text])[0]:.2f} {text}")
### END SOLUTION

# %%
of_review = finding["review"].split()
logits = [np.log(p) - np.log1p(-p) for p in (finding["p"], np.array(finding["without"]))]
fig, axes = ak.plots.figure(size=(0.45 * len(of_review) + 2, 3.4))
axes[0, 0].bar(range(len(of_review)), logits[0] - logits[1], color=ak.plots.COLORS[1])
axes[0, 0].axhline(0, color="0.3", linewidth=1)
axes[0, 0].set_xticks(range(len(of_review)), of_review, rotation=60, ha="right", fontsize=12)
axes[0, 0].set(ylabel="pull: up is bad, down is good", title=f"bad with p = {finding['p']:.2f}")
print(f"changed: p = {judge([finding['changed'] or 'nothing'])[0]:.2f}, {finding['changed']}")
fig

# %% tests="finding" points=1
import numpy as np
from aigc_keras.exercises import expect

review, changed = finding["review"], finding["changed"]
hint = "Copy it out of the list, with every mark."
expect("is the review one of those shown", review in shown, True, hint)
label = bool(is_bad[shown.index(review)])
(p,) = judge([review])
hint = "Above 1/2 it is called bad. This one is read as it was rated."
expect("is the review read wrongly", bool(p > 0.5) != label, True, hint)
expect("p", finding["p"], p, "What judge says of the review.", 1e-3, 1e-4)
parts = review.split()
hint = "One probability for each word, in their order."
expect("how many numbers without", len(finding["without"]), len(parts), hint)
hint = "One to three words replaced, left out or put in: this is the smallest number that does it."
words_of = changed.split()
distances = np.arange(len(words_of) + 1)  # from no word of the review to the first ones of changed
for k, word in enumerate(parts):
    row = [k + 1]
    for j, other in enumerate(words_of):
        row.append(min(row[j] + 1, distances[j + 1] + 1, distances[j] + (word != other)))
    distances = np.array(row)
expect("words that have changed, at most 3", distances[-1], np.clip(distances[-1], 1, 3), hint)
hint = "After the change, judge has to say what the reviewer said."
expect("is the changed review read rightly", bool(judge([changed])[0] > 0.5), label, hint)
### BEGIN HIDDEN TESTS
hint = "Leave out one word, join the others with a blank, and ask judge."
wanted = judge([" ".join(parts[:k] + parts[k + 1 :]) for k in range(len(parts))])
expect("without", finding["without"], wanted, hint, 1e-3, 1e-3)
### END HIDDEN TESTS

# %% [markdown] open="finding" points=3
# The review praises the look and complains about the size; its writer gave 4 stars. The model calls it bad with $p$ = 0.96. One word does it: *but* pulls
# by 2.1 towards bad, against *pretty* with 1.5 towards good; no other comes near 0.5, not even *size* and *small*. A reader would have weighed just these.
#
# *but* stands in 46 % of the 150 bad reviews that the head learned from and in 19 % of the good ones: a mark of complaint, and more often right than
# not. Among the 60 good ones shown, 16 have it, and 8 of these are called bad; of the 44 without it, 3. "Really pretty, but so comfortable and true
# to size." has $p$ = 0.59: praise after *but* is not believed.
#
# Leaving out one word shows no pairs: with *and* in its place it is still 0.57, and only without *at least* 0.32. Nor is it the
# letters: with *though* it is 0.92. The model knows the contrast and not what is contrasted.
#
# My try would be to teach all weights with 2,000 labels and to count again how many good ones with *but* are read wrongly. If it is half of
# them still, while the others become fewer, labels were not what was missing; the mean, in which all states weigh the same, would be to blame.
