# %% [markdown]
# # Problem set 07: Little data (小数据)
#
# You need chapter 07: the bound of M2 with and without a label, differentiable augmentation, leaking, the
# discriminator that learns by heart, splits by character.
#
# | task | points |
# |---|---|
# | 1. What is a picture without a label worth? Finish a formula | 4 |
# | 2. A shift that gradients pass through: finish an augmentation | 4 |
# | 3. Four runs: diagnose | 4 |
# | 4. No character on both sides: split | 4 |
# | 5. An augmentation of your own: a picture and an argument | 4 |
#
# The tasks do not need each other's answers. Run the test cells, or type
# `make check EX=07`; the last points of a task are given by tests that you cannot see. This notebook
# keeps its name.

# %%
import base64

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

keras.utils.set_random_seed(0)
test_images, test_labels = ak.datasets.arrays("fashion_mnist", "test")
classes = ak.datasets.class_names("fashion_mnist")

# %% [markdown]
# ## 1. What is a picture without a label worth? (4 points)
#
# The semi-supervised VAE (M2) has for each picture $x$ and each of the $C$ classes $y$ a lower bound
# $b_y \le \log p(x, y)$, which the chapter writes $-\mathcal L(x, y)$. If the label is known, that of its class counts.
# If not, the classifier $q(y|x)$ guesses, and
#
# $$\log p(x) \;\ge\; \sum_{y=1}^C q(y|x)\, b_y + \mathcal H\big(q(y|x)\big), \qquad
#   \mathcal H(q) = -\sum_{y=1}^C q_y \log q_y .$$
#
# Why not add up the classes exactly, $\log p(x) \ge \log \sum_y e^{b_y}$? One could: ten are few. But the classifier would learn
# nothing from it. Write the difference of the two on paper as *one* KL divergence: then you see why the guess can only
# lose, what it loses, and for which $q$ it loses nothing. That $q$ is what pictures without labels teach the classifier.
#
# Write both functions:
#
# - `m2_bound(class_bounds, logits, labels)`: the bound of each picture, shape (B,), in nats. `class_bounds` (B, C) are the $b_y$,
#   float32 between -100,000 and 0. `logits` (B, C), float32 between -1000 and 1000, are the classifier's, $q$ their softmax. `labels`
#   (B,), int32, are classes from 0, or -1: unknown.
# - Training differentiates it, so compute with TensorFlow or `keras.ops`. Value *and* gradients, by the
#   class bounds and by the logits, have to be finite and right. The softmax of such logits holds exact zeros, of which a logarithm is
#   no number; what is $q_y \log q_y$ there?
# - `best_logits(class_bounds)`: logits (B, C) with which the bound of a picture without a label is as large as it can be.


# %% solution="m2_bound"
def m2_bound(class_bounds, logits, labels):
    """M2's lower bound on log p(x, y) where the label is known, otherwise on log p(x), in nats.

    Args:
        class_bounds: (B, C), a bound on log p(x, y) for each class.
        logits: (B, C), q(y|x) is their softmax.
        labels: (B,), 0 to C - 1, or -1 where it is unknown.

    Returns:
        (B,).
    """
    ### BEGIN SOLUTION
    log_q = ops.log_softmax(logits)  # never minus infinity, so that 0 times it is 0
    guessed = ops.sum(ops.exp(log_q) * (class_bounds - log_q), axis=1)
    known = ops.sum(ops.one_hot(labels, class_bounds.shape[1]) * class_bounds, axis=1)
    return ops.where(labels >= 0, known, guessed)
    ### END SOLUTION


def best_logits(class_bounds):
    """Logits (B, C) that make the bound of pictures without labels as large as possible."""
    ### BEGIN SOLUTION
    # The bound is log sum exp(b) - KL(q || softmax(b)).
    return class_bounds
    ### END SOLUTION


# %% tests="m2_bound" points=1
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

class_bounds = np.float32([[-12, -10, -11], [-9, -8.5, -13], [-10, -10, -10], [-7, -8, -7.5]])
logits = np.float32([[0.5, 1, -1], [2, 0, 0], [0, 0, 0], [1, -1, 0.3]])
q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
wanted = [
    class_bounds[0, 2],
    sum(q[1, y] * class_bounds[1, y] - q[1, y] * np.log(q[1, y]) for y in range(3)),
    -10 + np.log(3),
    class_bounds[3, 1],
]
bounds = m2_bound(*map(tf.constant, (class_bounds, logits, np.int32([2, -1, -1, 1]))))
expect(
    "the bounds of four pictures with labels 2, unknown, unknown, 1",
    bounds,
    wanted,
    "a known label: the bound of its class and nothing else. Unknown: the mean over q, plus an entropy, which is never negative.",
)

# %% tests="m2_bound" points=3
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

# More is tested when you hand in: other shapes, class 0, sure classifiers, gradients, the best guess.
one = tf.constant([[-3.0]])
expect(
    "the bound if there is but one class",
    m2_bound(one, one, tf.constant([-1])),
    [-3.0],
    "who has no choice knows the label.",
)


### BEGIN HIDDEN TESTS
def compared(class_bounds, logits, labels):
    """Bounds and gradients of their sum against float64, where 0 log 0 is 0."""
    b, rows = class_bounds.astype("float64"), logits.astype("float64")
    log_q = rows - rows.max(axis=1, keepdims=True)
    log_q -= np.log(np.exp(log_q).sum(axis=1, keepdims=True))
    q, unknown = np.exp(log_q), (labels < 0)[:, None]
    guessed = (q * (b - log_q)).sum(axis=1, keepdims=True)
    chosen = np.eye(b.shape[1])[labels] * ~unknown
    bounds = np.where(unknown, guessed, (chosen * b).sum(axis=1, keepdims=True))[:, 0]
    given = tf.constant(class_bounds), tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = m2_bound(*given, tf.constant(labels))
    by_bounds, by_logits = tape.gradient(found, given, unconnected_gradients="zero")
    about = f"{len(labels)} pictures, {b.shape[1]} classes, logits up to {np.abs(rows).max():.0f}"
    hint = "take the logarithm of q from the logits, not from q, and look at label 0."
    expect(f"bounds, {about}", found, bounds, hint)
    hint = "is everything a tensor's operation, and finite before it is multiplied by 0?"
    expect(
        f"gradient by class_bounds, {about}", by_bounds, np.where(unknown, q, chosen), hint, 1e-3
    )
    slope = np.where(unknown, q * (b - log_q - guessed), 0)
    expect(f"gradient by the logits, {about}", by_logits, slope, hint, 1e-3, 1e-3)


rng = np.random.default_rng(0)
for n, n_classes, largest in ((1, 4, 1), (7, 2, 3), (6, 10, 3), (5, 5, 1000)):
    some = -rng.uniform(1, 30, (n, n_classes)).astype("float32")
    guesses = rng.uniform(-largest, largest, (n, n_classes)).astype("float32")
    compared(some, guesses, np.arange(n, dtype="int32") % (n_classes + 1) - 1)
compared(np.float32([[-1e5, -5, -6]]), np.float32([[-1000, 1000, 999]]), np.int32([-1]))
for scale in (1, 30, 1e4):
    some = (scale * rng.uniform(-8, 0, (4, 6))).astype("float32")
    best = best_logits(tf.constant(some))
    top = some.max(axis=1, keepdims=True).astype("float64")
    expect(
        f"the bound with the best guess, class bounds down to {some.min():.0f}",
        m2_bound(tf.constant(some), tf.cast(best, "float32"), tf.fill([4], -1)),
        (top + np.log(np.exp(some - top).sum(axis=1, keepdims=True)))[:, 0],
        "with the best q nothing is lost against log sum exp: which KL divergence is then 0?",
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 2. A shift that gradients pass through (4 points)
#
# What the discriminator sees is augmented, real and drawn pictures alike, and the generator learns *through* the augmentation. The
# library moves pictures by products with matrices; write your own shift, in any way that you like:
#
# - `images` (B, H, W, C), float32. `rows` and `columns`, both (B,), int32: picture $i$ moves by `rows[i]` pixels
#   **down** and by `columns[i]` to the **right**; negative numbers move it up and to the left. Each picture has its own.
# - What comes in is `fill`, a number. Nothing comes back on the other side, and a picture that moves further than its size is
#   nothing but `fill`.
# - The result has the shape of `images`. Its gradient by `images` is that of the place to which a pixel has gone, and 0 for a pixel that
#   has left the picture.
# - It runs in a graph (`tf.function`) in which B is unknown while it is built; H, W and C are known. So: TensorFlow or `keras.ops`, and
#   no loop over `range(B)`.


# %% solution="shifted"
def shifted(images, rows, columns, fill):
    """Each picture moved down by its number of `rows` and right by its number of `columns`.

    Args:
        images: (B, H, W, C), float32.
        rows, columns: (B,), int32, also negative.
        fill: the number that comes in.

    Returns:
        (B, H, W, C).
    """
    ### BEGIN SOLUTION
    height, width = images.shape[1:3]
    row = ops.arange(height) - rows[:, None]  # (B, H): where each place takes its pixel from
    column = ops.arange(width) - columns[:, None]
    inside_rows = (row >= 0) & (row < height)
    inside = inside_rows[:, :, None] & ((column >= 0) & (column < width))[:, None]
    moved = tf.gather(images, ops.clip(row, 0, height - 1), axis=1, batch_dims=1)
    moved = tf.gather(moved, ops.clip(column, 0, width - 1), axis=2, batch_dims=1)
    return ops.where(inside[..., None], moved, fill)
    ### END SOLUTION


# %% tests="shifted" points=1
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

letters = np.arange(1, 25, dtype="float32").reshape(2, 3, 4, 1)
pictures = tf.constant(letters)
with tf.GradientTape() as tape:
    tape.watch(pictures)
    moved = shifted(pictures, tf.constant([1, 0]), tf.constant([0, -2]), 0.0)
    total = None if moved is None else tf.reduce_sum(moved * letters)
wanted = np.zeros((2, 3, 4, 1))
wanted[0, 1:] = letters[0, :-1]
wanted[1, :, :2] = letters[1, :, 2:]
expect(
    "two pictures, the first moved down by 1, the second left by 2, fill 0",
    moved,
    wanted,
    "each picture moves by its own numbers; what leaves does not come back on the other side.",
)
slope = np.zeros((2, 3, 4, 1))
slope[0, :-1] = letters[0, 1:]
slope[1, :, 2:] = letters[1, :, :2]
expect(
    "the gradient of a weighted sum of the moved pictures, by the pictures",
    tape.gradient(total, pictures),
    slope,
    "NumPy cuts the gradient off. The weight of a pixel is that of the place where it is now.",
)

# %% tests="shifted" points=3
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

# More is tested when you hand in: other shapes and fills, far moves, one picture, a graph, gradients.
still = np.ones((1, 2, 2, 3), "float32")
expect(
    "a picture that does not move",
    shifted(tf.constant(still), tf.constant([0]), tf.constant([0]), 0.0),
    still,
    "moved by 0 and 0, it is what it was.",
)


### BEGIN HIDDEN TESTS
def moved_by_hand(images, rows, columns, fill):
    """(moved pictures, where each pixel went or None), pixel by pixel."""
    n, height, width, _ = images.shape
    moved, went = np.full(images.shape, fill, "float64"), {}
    for i, row, column in np.ndindex(n, height, width):
        to = row + rows[i], column + columns[i]
        if 0 <= to[0] < height and 0 <= to[1] < width:
            moved[i, to[0], to[1]] = images[i, row, column]
            went[i, row, column] = i, *to
    return moved, went


rng = np.random.default_rng(1)
for n, height, width, channels, furthest, fill in (
    (5, 4, 6, 1, 2, -1.0),
    (1, 3, 3, 3, 1, 0.5),
    (6, 5, 2, 2, 12, -1.0),
):
    images = rng.normal(size=(n, height, width, channels)).astype("float32")
    rows, columns = rng.integers(-furthest, furthest + 1, (2, n)).astype("int32")
    weights = rng.normal(size=images.shape).astype("float32")
    given = tf.constant(images)
    in_graph = tf.function(
        lambda x, down, right, fill=fill: shifted(x, down, right, fill),
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, height, width, channels]),
            tf.TensorSpec([None], "int32"),
            tf.TensorSpec([None], "int32"),
        ],
    )
    with tf.GradientTape() as tape:
        tape.watch(given)
        moved = in_graph(given, tf.constant(rows), tf.constant(columns))
        total = tf.reduce_sum(moved * weights)
    wanted, went = moved_by_hand(images, rows, columns, fill)
    about = f"{images.shape}, rows {rows.tolist()}, columns {columns.tolist()}"
    expect(
        f"pictures {about}, fill {fill}",
        moved,
        wanted,
        "rows first, then columns; `fill` wherever nothing comes from, however far it moves.",
    )
    slope = np.zeros(images.shape)
    for here, there in went.items():
        slope[here] = weights[there]
    expect(
        f"the gradient by the pictures {about}",
        tape.gradient(total, given),
        slope,
        "a pixel that has left the picture changes nothing any more.",
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Four runs (4 points)
#
# Four small GANs draw ankle boots of seven by seven pixels: the same networks, optimizers and steps, and the same first weights, with which
# boots stand on their heads. All boots of the data stand upright. The augmentation are quarter turns: with probability $p$ a picture that the
# discriminator is shown, real or drawn, is turned by none, one, two or three quarters. The runs differ in the settings below only. For each,
# A to D, find what it is:
#
# | answer | what happened |
# |---|---|
# | `"healthy"` | the adaptive rule, with enough pictures |
# | `"learns by heart"` | far too few pictures, and no augmentation |
# | `"leaks"` | a fixed $p$, so large that the discriminator cannot know which way is up |
# | `"reversed rule"` | the adaptive rule with the wrong sign: less where there should be more |
# | `"turned data"` | the training pictures were turned at random beforehand; no augmentation |
# | `"idle discriminator"` | the discriminator learns nothing at all, and nothing is drawn that looks like a boot |
#
# A name may fit several runs or none. The settings are packed so that nobody reads the answers by accident;
# unpacking them teaches nothing. The figure shows, from above:
#
# 1. the discriminator's mean logit on training pictures, on 200 unseen ones and on drawn ones, none of them turned;
# 2. $p$, the probability of a turn;
# 3. which way up 400 drawn boots are in the end: as in the data, or turned by one to three quarters;
# 4. some of them.
#
# One panel is never enough: for each run ask whom the discriminator is sure of, whether that asks for more augmentation or for less, and
# whether $p$ explains what was drawn. Write one of the names for each run: 4 points; 3 with one wrong name, 2 with two, else none.

# %%
n_parts, n_steps = ak.profile.pick(4, 20), ak.profile.pick(2, 100)  # curves have n_parts points
packed = "AABIRAAAAABvEgO7AABIRAAAAABvEgM7AABIRAAAgD8AAAAAAACAQQAAAAAAAAAA"
all_settings = np.frombuffer(base64.b64decode(packed), "<f4").reshape(4, 3)
boots = test_images[test_labels == classes.index("Ankle boot")]
boots = boots.reshape(-1, 7, 4, 7, 4, 1).mean(axis=(2, 4))
boots, unseen_boots = boots[:800], boots[800:]
generator = keras.Sequential(
    [
        keras.Input((8,)),
        layers.Dense(64, "relu"),
        layers.Dense(64, "relu"),
        layers.Dense(49, "tanh"),
        layers.Reshape((7, 7, 1)),
    ]
)
discriminator = keras.Sequential(
    [
        keras.Input((7, 7, 1)),
        layers.Flatten(),
        layers.Dense(128, "leaky_relu"),
        layers.Dense(128, "leaky_relu"),
        layers.Dense(1),
    ]
)
players = [(net, ak.optimizers.Adam(2e-3, beta_1=0.5)) for net in (generator, discriminator)]
players[1][1].learning_rate.assign(3e-3)
upside_down = boots.mean(axis=0)[::-1, ::-1]
generator.layers[2].bias.assign(np.arctanh(0.9 * upside_down.ravel()))
for net, optimizer in players:
    optimizer.build(net.trainable_variables)
p = tf.Variable(0.0)
states = [x for net, optimizer in players for x in (*net.variables, *optimizer.variables)]
states = [(state, state.numpy()) for state in states]


def step(given):
    real, noise, numbers, b = given
    with tf.GradientTape(persistent=True) as tape:
        real = ak.augmentation.augment(real, p, ("rotation",), numbers[0])
        drawn = ak.augmentation.augment(generator(noise), p, ("rotation",), numbers[1])
        real_logits, drawn_logits = discriminator(real), discriminator(drawn)
        losses = (
            ops.mean(ops.softplus(-drawn_logits)),
            ops.mean(ops.softplus(-real_logits)) + ops.mean(ops.softplus(drawn_logits)),
        )
    for (net, optimizer), loss in zip(players, losses):
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply(gradients, net.trainable_variables)
    sure = ops.mean(ops.sign(real_logits)) - ak.gan.SIGN_TARGET
    p.assign(ops.clip(p + b * ops.sign(sure), 0.0, 1.0))
    return losses[0]


@tf.function(autograph=False)  # one graph for many steps is much faster
def train(*given):
    return tf.map_fn(step, given, fn_output_signature=tf.float32, parallel_iterations=1)


def training(settings):
    """One run from the first weights: its curves and what it draws in the end."""
    a, start, b = settings
    for state, beginning in states:
        state.assign(beginning)
    p.assign(start)
    rng, curves = np.random.default_rng(0), []
    noise = np.random.default_rng(1).normal(size=(400, 8)).astype("float32")
    for part in range(1, n_parts + 1):
        train(
            boots[rng.integers(0, int(a), (n_steps, 32))],
            rng.normal(size=(n_steps, 32, 8)).astype("float32"),
            rng.random((n_steps, 2, 32, 1, 4), "float32"),
            np.full(n_steps, b),
        )
        groups = (boots[: int(a)], unseen_boots, generator(noise))
        logits = [np.mean(discriminator(group)) for group in groups]
        curves.append([part * n_steps, p.numpy(), *logits])
    return np.array(curves), generator(noise).numpy()


def orientations(images):
    """Shares of pictures nearest to the mean boot turned by 0, 1, 2 or 3 quarters."""
    mean_boots = np.stack([np.rot90(boots.mean(axis=0), quarters) for quarters in range(4)])
    distances = np.square(images[:, None] - mean_boots).sum(axis=(2, 3, 4))
    return np.bincount(distances.argmin(axis=1), minlength=4) / len(images)


runs = dict(zip("ABCD", (training(settings) for settings in all_settings)))
print(f"unseen boots that stand upright: {orientations(unseen_boots)[0]:.0%}")

# %%
fig, axes = ak.plots.figure(columns=4, rows=4, size=(4.0, 2.3), height_ratios=(5, 3, 3, 3))
for column, (name, (curves, drawn)) in enumerate(runs.items()):
    steps, strength, *logits = curves.T
    for values, label in zip(logits, ("training", "unseen", "drawn")):
        axes[0, column].plot(steps, values, label=label)
    axes[0, column].set(title=f"Run {name}", ylim=(-8, 12))
    axes[1, column].plot(steps, strength, color=ak.plots.COLORS[3])
    axes[1, column].set(xlabel="steps", ylim=(-0.05, 1.05))
    axes[2, column].bar(range(4), orientations(drawn), color=ak.plots.COLORS[4])
    axes[2, column].set(ylim=(0, 1), xlabel="quarter turns")
    axes[2, column].set_xticks(range(4))
    axes[3, column].imshow(ak.plots.tile(drawn[:30], columns=10))
    axes[3, column].grid(False)
    axes[3, column].set(xticks=[], yticks=[])
axes[0, 0].legend()
for axis, label in zip(axes[:, 0], ("mean logit", "p", "share", "drawn")):
    axis.set_ylabel(label)
fig

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": ""}
### BEGIN SOLUTION
diagnosis = {
    # p climbs to 1 while the discriminator is sure of nothing: the rule would be to let it fall. (By then the
    # generator had learned which way is up, and nothing made it forget.)
    "A": "reversed rule",
    # p rises as long as real pictures are known too well, and falls back to 0. Three curves together.
    "B": "healthy",
    # p = 1 from the beginning: nobody ever told the generator that its boots stand on their heads.
    "C": "leaks",
    # Only training pictures are taken for real: unseen real ones no more than drawn ones.
    "D": "learns by heart",
}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

answers = (
    "healthy",
    "learns by heart",
    "leaks",
    "reversed rule",
    "turned data",
    "idle discriminator",
)
for name in "ABCD":
    expect_one_of(f"run {name}", diagnosis.get(name), answers)

# %% tests="diagnosis" points=4
from aigc_keras.exercises import wrong_names

# Whether the names are right is tested when you hand in.
assert any(diagnosis.values()), "diagnosis: nothing came.\nHint: look at the curves first."
### BEGIN HIDDEN TESTS
truth = {
    "A": ("reversed rule", "p climbs while nobody is sure of anything"),
    "B": ("healthy", "p rises and falls as it should, no gap between training and unseen"),
    "C": ("leaks", "p is one all the time, and the boots still stand on their heads"),
    "D": ("learns by heart", "training pictures alone are taken for real"),
}
wrong = wrong_names("diagnosis", diagnosis, {run: truth[run][0] for run in truth})
for run in wrong:
    print(f"run {run}: {truth[run][1]}")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. No character on both sides (4 points)
#
# A set of drawn faces shows each character several times: in other skin tones, in other moods. Split by picture, the test contains
# brothers of training pictures, and measures memory. The next cell makes up such a set, small enough to know the truth: 40 characters, five
# pictures of each, and a label that **no** picture says anything about, a coin for each character. Whoever predicts it better than a
# coin has recognised the character.
#
# Write `split_by_character(characters, seed)`:
#
# - `characters`: a list of texts; picture $i$ shows `characters[i]`. A character may have any number of pictures, in any places of the list, and there
#   are two characters or more.
# - The result is `(train_rows, test_rows)`, two arrays of whole numbers: each row of the list stands in one of the two, once, and
#   no character in both.
# - Put the characters into a random order. The first $k$ of them are for testing, $k \ge 1$, with that $k$ which brings the number of
#   test **pictures** nearest to a tenth of all.
# - The same seed chooses the same characters, also if the pictures stand in another order in the list (a folder lists its files as it likes).
#   Another seed chooses others.

# %%
rng = np.random.default_rng(0)
album = [f"character {k}" for k in range(40) for _ in range(5)]
coins = np.repeat(rng.integers(0, 2, 40), 5)  # a label for each character
looks = np.repeat(rng.normal(size=(40, 8)), 5, axis=0) + 0.2 * rng.normal(size=(200, 8))


def nearest_says(train_rows, test_rows):
    """Share of the test pictures whose nearest training picture has the same coin."""
    distances = np.linalg.norm(looks[test_rows][:, None] - looks[train_rows], axis=2)
    return np.mean(coins[train_rows][distances.argmin(axis=1)] == coins[test_rows])


by_picture = [np.split(np.random.default_rng(seed).permutation(200), [180]) for seed in range(50)]
print(f"split by picture: {np.mean([nearest_says(*rows) for rows in by_picture]):.0%} right")


# %% solution="split_by_character"
def split_by_character(characters, seed):
    """Rows for training and for testing, so that no character stands on both sides.

    Args:
        characters: a list of n texts, the character of each picture.
        seed: an integer.

    Returns:
        (train_rows, test_rows): together 0 to n - 1, test as near to a tenth as k allows.
    """
    ### BEGIN SOLUTION
    names, which, counts = np.unique(characters, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    pictures = np.cumsum(counts[order])  # of the first 1, 2, ... characters
    k = 1 + np.argmin(np.abs(pictures - len(characters) / 10))
    testing = np.isin(which, order[:k])
    return np.flatnonzero(~testing), np.flatnonzero(testing)
    ### END SOLUTION


# %% tests="split_by_character" points=1
import numpy as np
from aigc_keras.exercises import expect

split = split_by_character(album, seed=0)
expect(
    "how many arrays came back",
    0 if split is None else len(split),
    2,
    "training and testing: is there a `return`?",
)
train_rows, test_rows = split
expect(
    "all rows, sorted",
    np.sort(np.concatenate([train_rows, test_rows])),
    np.arange(200),
    "each row stands in one of the two, once.",
)
expect(
    "characters on both sides",
    len({album[i] for i in train_rows} & {album[i] for i in test_rows}),
    0,
    "all pictures of a character go the same way.",
)
expect("test pictures of 200", len(test_rows), 20, "a tenth of the pictures.")
honest = [nearest_says(*split_by_character(album, seed)) for seed in range(50)]
print(f"split by character: {np.mean(honest):.0%} right, and a coin is right in half of all cases")

# %% tests="split_by_character" points=3
import numpy as np
from aigc_keras.exercises import expect

# More is tested when you hand in: other lists, characters of unequal size, other orders, other seeds.
expect(
    "rows for training and testing of two characters",
    [len(rows) for rows in split_by_character(["a", "b"], seed=1)],
    [1, 1],
    "one for each side.",
)
### BEGIN HIDDEN TESTS


def chosen(characters, seed):
    """The characters for testing, sorted, once the split as such is right."""
    train_rows, test_rows = (np.asarray(rows) for rows in split_by_character(characters, seed))
    about = f"{len(characters)} pictures, {len(set(characters))} characters, seed {seed}"
    expect(
        f"all rows, sorted ({about})",
        np.sort(np.concatenate([train_rows, test_rows])),
        np.arange(len(characters)),
        "each row stands in one of the two, once.",
    )
    training, testing = ({characters[i] for i in rows} for rows in (train_rows, test_rows))
    expect(f"characters on both sides ({about})", len(training & testing), 0, "by character.")
    expect(
        f"whether training and testing have a character ({about})",
        [bool(training), bool(testing)],
        [True, True],
        "at least one on either side, also if it is a large one.",
    )
    # Nearest means: without its last character one side would not be nearer. It may be any of them.
    over = len(test_rows) - len(characters) / 10
    shrinks = testing if over > 0 else training
    if len(shrinks) > 1:
        half = max(characters.count(name) for name in shrinks) / 2
        expect(
            f"how far {len(test_rows)} test pictures are from a tenth, if further than necessary ({about})",
            abs(over) if abs(over) > half else 0,
            0,
            "pictures are counted, not characters, and the nearest number may be above or below a tenth.",
        )
    return sorted(testing)


rng = np.random.default_rng(3)
uneven = [f"face {k}" for k in range(30) for _ in range(1 + (k * k) % 9)]
giants = [f"face {k}" for k in range(60) for _ in range(1 if k % 6 else 14)]
lists = [uneven, giants, [f"face {k}" for k in range(10)], ["a"] * 7 + ["b"], ["a", "b", "b", "c"]]
for characters in lists:
    found = []
    for seed in range(200):
        mixed = [characters[i] for i in rng.permutation(len(characters))]
        found.append(chosen(mixed, seed))
        if seed < 5:
            expect(
                "whether the same seed chooses the same characters in another order of pictures",
                chosen(characters, seed) == found[-1],
                True,
                "sort the names before they are mixed; take random numbers from the seed alone.",
            )
    expect(
        f"how many of {len({*characters})} characters are for testing with one of 200 seeds",
        len({name for names in found for name in names}),
        len({*characters}),
        "the order is random: each character may come first.",
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 5. An augmentation of your own (4 points)
#
# Somebody has a few hundred garments like those of Fashion-MNIST and wants to train a GAN on them. Which change $T$ of a picture, *other than the
# library's* (colour, translation, cutout, quarter turns), would you show its discriminator, and what if it leaks?
#
# **The program.** Write `my_augmentation(images, numbers)`: `images` (B, 28, 28, 1) in [-1, 1] and `numbers` (B, 4), uniform in [0, 1), both float32,
# to changed pictures of the same shape in [-1, 1]. All randomness comes from `numbers`, picture by picture: row $i$ of the result depends on
# `images[i]` and `numbers[i]` only. At least a tenth of the pictures change; and gradients reach each picture (TensorFlow or `keras.ops`).
#
# **The argument.** Three points are given by a person, one each:
#
# 1. **Idea.** You say which kind of picture your change makes out of a garment, why that is still a garment or why it is not, and what drawn
#    pictures would look like if it leaked. The picture below shows it.
# 2. **Evidence.** A number that you computed, with something to compare with. For example: how many of some hundred test pictures does
#    `garments.extract(images)`, features (N, 128) and probabilities (N, 10) of the course's classifier, still recognise,
#    before and after, and after the library's cutout?
# 3. **Verdict.** You say whether equal views imply equal pictures: could a generator draw something else, and the discriminator would
#    see the same? With how much of it would you train, and what would you measure to find a leak?
#
# About 100 to 200 words. The other point is the program's: it checks the function.

# %%
garments = ak.metrics.fashion_features()


# %% solution="my_augmentation"
def my_augmentation(images, numbers):
    """Changed pictures (B, 28, 28, 1) in [-1, 1]; `numbers` (B, 4) in [0, 1) say how."""
    ### BEGIN SOLUTION
    # Mirrored, left and right, one picture in four.
    chosen = numbers[:, 0, None, None, None] < 0.25
    return ops.where(chosen, images[:, :, ::-1], images)


n = ak.profile.pick(100, 1000)
some, wanted = test_images[:n], test_labels[:n]
numbers = np.random.default_rng(0).random((n, 4), "float32")
views = {"as they are": some, "mirrored": some[:, :, ::-1]}
views["cutout"] = ak.augmentation.augment(some, 1.0, ("cutout",), numbers[:, None])
for name, view in views.items():
    _, probabilities = garments.extract(view)
    right = probabilities.argmax(axis=1) == wanted
    shoes = np.isin(wanted, (5, 7, 9))
    print(f"{name}: {right.mean():.0%} recognised, shoes {right[shoes].mean():.0%}")
boots_seen = some[wanted == 9]
to_mean, to_mirrored = (
    np.square(boots_seen - mean).sum(axis=(1, 2, 3))
    for mean in (boots_seen.mean(axis=0), boots_seen.mean(axis=0)[:, ::-1])
)
print(f"{np.mean(to_mean < to_mirrored):.0%} of the ankle boots point the same way")
### END SOLUTION

# %%
rng = np.random.default_rng(1)
shown = np.repeat(test_images[[0, 1, 2, 8, 11, 18]], 8, axis=0)
my_views = my_augmentation(tf.constant(shown), tf.constant(rng.random((48, 4), "float32")))
my_views = np.asarray(my_views).reshape(6, 8, 28, 28, 1)
rows = np.concatenate([shown.reshape(6, 8, 28, 28, 1)[:, :1], my_views], axis=1)
ak.plots.grid(rows.reshape(-1, 28, 28, 1), columns=9, column_labels=["original", *[""] * 8])

# %% tests="my_augmentation" points=1
import aigc_keras as ak
import numpy as np
import tensorflow as tf
from aigc_keras.exercises import expect

some, _ = ak.datasets.arrays("fashion_mnist", "test[:40]")
some = tf.constant(some)
numbers = tf.constant(np.random.default_rng(2).random((40, 4), "float32"))
with tf.GradientTape() as tape:
    tape.watch(some)
    changed = my_augmentation(some, numbers)
    total = None if changed is None else tf.reduce_sum(tf.sin(3.0 * tf.cast(changed, "float32")))
values = np.zeros(0) if changed is None else np.asarray(changed)
expect("the shape of 40 changed pictures", values.shape, (40, 28, 28, 1), "one for each picture.")
expect(
    "the changed pictures, kept in [-1, 1]",
    values,
    np.clip(np.nan_to_num(values), -1, 1),
    "in the course, -1 is black and 1 is white; and is every number finite?",
)
share = np.mean(np.abs(values - some).max(axis=(1, 2, 3)) > 0.01)
expect("share of pictures that change", share, max(share, 0.1), "a tenth or more.")
slope = tape.gradient(total, some)
expect(
    "pictures that a gradient reaches",
    0 if slope is None else np.sum(np.abs(slope).max(axis=(1, 2, 3)) > 0),
    40,
    "the generator learns through the change: no NumPy, and not all of a picture hidden.",
)
expect(
    "the same numbers once more", my_augmentation(some, numbers), values, "draw none of your own."
)
### BEGIN HIDDEN TESTS
for i in (0, 7, 39):
    expect(
        f"picture {i} in a batch of its own",
        my_augmentation(some[i : i + 1], numbers[i : i + 1]),
        values[i : i + 1],
        "row i of the result depends on images[i] and numbers[i] only.",
        atol=1e-3,
    )
others = np.asarray(my_augmentation(some, numbers[::-1]))
expect(
    "whether other numbers change pictures in another way",
    np.abs(others - values).max() > 0.01,
    True,
    "what is the same for all numbers is no random change.",
)
### END HIDDEN TESTS

# %% [markdown] open="my_augmentation" points=3
# **Idea.** I mirror one picture in four. A mirrored garment is one that somebody could wear, so that nothing comes in which is none. But
# in the data all shoes point to the left (rows 3 and 4 of the picture). If it leaked, some of the drawn ones would point to the right.
#
# **Evidence.** Of 1,000 test pictures the classifier recognises 92 % as they are, and 92 % when all are mirrored; of shoes 95 % both times.
# After the library's cutout it is 81 %, and 84 % of shoes. So mirroring hides nothing that tells the classes apart. By the distance to the
# mean ankle boot and to its mirror image, 100 % of the boots point the same way: a leak could be seen.
#
# **Verdict.** Let a generator turn a share $s$ of its boots to the right, and let $f$ be the share that is mirrored. The discriminator sees
# $s(1-f) + (1-s)f = f + s(1-2f)$ of them point to the right. At $f = 1/4$ equal views imply $s = 0$, at $f = 1/2$ nobody can tell: there it leaks. I
# would train with $f = 1/4$ and cutout beside it, for mirroring alone makes two views of a picture, and of a T-shirt two that hardly
# differ. Then I would count boots that point to the right among a thousand drawn ones; the data have none. Whether it helps I do not know without training.
