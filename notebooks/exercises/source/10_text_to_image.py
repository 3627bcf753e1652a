# %% [markdown]
# # Problem set 10: From text to picture
#
# **You need:** chapter 10, above all its sections 2 (one space), 4 (guidance), 5 (the number) and 6 (how it fails).
#
# | task | points |
# |---|---|
# | 1. Where guidance leads | 4 |
# | 2. A large batch in small pieces | 4 |
# | 3. Five machines that draw what they are told: which is healthy, and what ails the others? | 4 |
# | 4. The best of many | 4 |
# | 5. A picture that is read wrongly (open) | 4 |
#
# The tasks do not need each other: do them in any order. Write where it says `# YOUR CODE HERE`, and delete the line that
# raises `NotImplementedError`.
#
# **How to check yourself.** Run the test cells, or type `make check EX=10`; the last points of a
# task are given by tests that you cannot see. Keep the name of this notebook, and leave the test cells as they are.

# %%
import itertools
import math
import warnings

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

keras.utils.set_random_seed(0)
pick = ak.profile.pick

# %% [markdown]
# ## 1. Where guidance leads (4 points)
#
# Guidance (引导) computes with predictions. With $\hat\varepsilon_+$ for the prompt and $\hat\varepsilon_-$ for the negative prompt
# (反向提示词), a sampler follows
#
# $$\hat\varepsilon = \hat\varepsilon_- + w\, (\hat\varepsilon_+ - \hat\varepsilon_-).$$
#
# What is drawn then? For networks nobody knows. For a world of Gaussians everything can be written down: what fits the prompt be
# $x_0 \sim N(m_+, d_+^2)$, what fits the negative prompt $N(m_-, d_-^2)$. With noise, $x = \alpha x_0 + \sigma \varepsilon$, and a perfect
# network predicts the mean of $\varepsilon$ of all that can have become this $x$, $\mathbb E[\varepsilon \mid x]$.
#
# One often reads that guidance draws from a *sharpened* density, proportional to $p_+(x)^w\, p_-(x)^{1 - w}$. The predictions are indeed those
# of this density where there is next to no noise. But a sampler begins with much. In the limit of many small steps DDIM moves
# $y = x / \alpha$ along
#
# $$\frac{dy}{dt} = \hat\varepsilon, \qquad t = \sigma / \alpha \text{ from } \infty \text{ down to } 0,$$
#
# and what it starts from is nothing but noise: $y$ has a deviation of $t$ there.
#
# Write three functions. `wanted` and `negative` are pairs $(m, d)$ with $d > 0$, and `scale` is $w \ge 0$. Numbers may as well
# be arrays (D,): then this holds for each of the D numbers of a picture on its own.
#
# - `guided_noise(x, signal, noise, wanted, negative, scale)`: $\hat\varepsilon$ at `x` (N,) or (N, D), with $\alpha$ = `signal` $> 0$ and
#   $\sigma$ = `noise` $> 0$.
# - `sharpened(wanted, negative, scale)`: mean and deviation of the density proportional to $p_+^w\, p_-^{1 - w}$, which is a Gaussian again. Or it is no
#   density at all, since what is proportional to it has an infinite integral: then raise a `ValueError` (also if that is so for only one of the D numbers).
# - `drawn_deviation(wanted, negative, scale)`: the deviation of what the sampler draws. Follow the difference of two $y$, and see by which
#   factor it shrinks; remember $\int \frac{t}{d^2 + t^2}\, dt = \frac12 \log(d^2 + t^2)$. There is always one.


# %% solution="guided_noise"
def guided_noise(x, signal, noise, wanted, negative, scale):
    """The noise that guidance predicts in x = signal * data + noise * epsilon.

    Args:
        x: (N,) or (N, D).
        wanted, negative: (mean, deviation) of the data with the prompt, and with the negative one.
        scale: 0: as the negative prompt says; 1: as the prompt says.
    """

    ### BEGIN SOLUTION
    def prediction(mean, deviation):
        # Both are Gaussian: the mean of epsilon is its covariance with x over the variance of x.
        return noise * (x - signal * mean) / (signal**2 * deviation**2 + noise**2)

    away = prediction(*negative)
    return away + scale * (prediction(*wanted) - away)
    ### END SOLUTION


def sharpened(wanted, negative, scale):
    """(mean, deviation) of the density proportional to p_wanted^scale p_negative^(1 - scale)."""
    ### BEGIN SOLUTION
    weights = scale / np.square(wanted[1]), (1 - scale) / np.square(negative[1])
    precision = weights[0] + weights[1]
    if np.any(precision <= 0):
        raise ValueError(f"scale: {scale} leaves no density.")
    mean = (weights[0] * wanted[0] + weights[1] * negative[0]) / precision
    return mean, 1 / np.sqrt(precision)
    ### END SOLUTION


def drawn_deviation(wanted, negative, scale):
    """The deviation of what a sampler with many small steps draws."""
    ### BEGIN SOLUTION
    # The difference follows the product of (d^2 + t^2)^(weight / 2), which is t where t is large.
    return wanted[1] ** scale * negative[1] ** (1 - scale)
    ### END SOLUTION


# %% tests="guided_noise" points=1
import numpy as np
from aigc_keras.exercises import expect

x, wanted, negative = np.array([-1.0, 0.5, 2.0]), (1.0, 0.5), (-0.5, 0.5)
hint = "With a deviation of nearly 0 all data are m, so that the noise is (x - signal m) / noise."
found = guided_noise(x, 0.8, 0.6, (1.0, 1e-9), negative, 1.0)
expect("noise, the prompt says 1 and nothing else", found, (x - 0.8) / 0.6, hint)
hint = "The mean of epsilon, when x is known: how do epsilon and x vary together, and how does x?"
found = guided_noise(x, 0.8, 0.6, wanted, negative, 0.0)
expect("noise, scale 0", found, 0.6 * (x + 0.4) / 0.52, hint)
hint = "Equal deviations: nothing but the mean changes, and from that of the negative prompt on."
found = sharpened(wanted, negative, 3.0)
expect("how many numbers", 0 if found is None else len(found), 2, "Two: mean and deviation.")
expect("sharpened, equal deviations, scale 3", found, [4.0, 0.5], hint)
found = drawn_deviation(wanted, negative, 3.0)
expect("deviation of what is drawn, equal deviations, scale 3", found, 0.5, hint)

# %% tests="guided_noise" points=3
import numpy as np
from aigc_keras.exercises import expect

# More is tested when you hand in: unequal deviations, other scales, arrays, what is no density.
hint = "Scale 1 is what the prompt says, whatever the negative one is."
found = drawn_deviation((1.0, 0.5), (0.0, 2.0), 1.0)
expect("deviation of what is drawn, scale 1", found, 0.5, hint)
### BEGIN HIDDEN TESTS
points = np.linspace(-60, 60, 40_001)


def mean_noise(x, signal, noise, mean, deviation):
    """E[epsilon | x] as a sum over the data that it may have been."""
    epsilon = (x - signal * points) / noise
    log_p = -0.5 * epsilon**2 - 0.5 * ((points - mean) / deviation) ** 2
    p = np.exp(log_p - log_p.max())
    return p @ epsilon / p.sum()


PAIRS = [((1.0, 0.5), (0.0, 1.5)), ((-2.0, 1.2), (0.5, 1.0)), ((0.3, 2.0), (0.3, 0.7))]
for wanted, negative in PAIRS:
    for signal, noise in ((0.99, 0.1), (0.6, 0.8), (0.05, 1.3)):
        for scale in (0.0, 0.4, 1.0, 5.0):
            x = np.array([-1.7, 0.2, 3.1])
            plus, minus = (
                np.array([mean_noise(each, signal, noise, *pair) for each in x])
                for pair in (wanted, negative)
            )
            got = guided_noise(x, signal, noise, wanted, negative, scale)
            hint = "Each prediction has its own deviation: the data's, times signal, and the noise."
            about = f"noise, {wanted} against {negative}, signal {signal}, scale {scale}"
            expect(about, got, minus + scale * (plus - minus), hint, 1e-3, 1e-4)


def refused(*given):
    try:
        sharpened(*given)
    except ValueError:
        return True
    return False


def moments(wanted, negative, scale):
    """Mean and deviation of the density, as sums."""
    log_p = -0.5 * scale * ((points - wanted[0]) / wanted[1]) ** 2
    log_p -= 0.5 * (1 - scale) * ((points - negative[0]) / negative[1]) ** 2
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    return p @ points, np.sqrt(p @ (points - p @ points) ** 2)


for (wanted, negative), scales in zip(PAIRS, ((0, 0.5, 1, 4), (0, 0.7, 1, 2.5), (0, 0.2, 1))):
    for scale in scales:
        hint = "The logarithms add up, and with them the precisions 1 / d^2, each with its weight."
        about = f"sharpened, {wanted} against {negative}, scale {scale}"
        expect(about, sharpened(wanted, negative, scale), moments(wanted, negative, scale), hint)
hint = "A precision that is not above 0 belongs to no density."
for wanted, negative, scale in (
    ((1.0, 1.0), (0.0, 0.5), 2.0),
    ((0.0, 2.0), (0.0, 1.0), 4 / 3 + 1e-6),
    ((0.0, np.array([0.5, 2.0])), (np.zeros(2), 1.0), 3.0),
):
    about = f"is {wanted} against {negative}, scale {scale:.2f}, refused"
    expect(about, refused(wanted, negative, scale), True, hint)
    about = f"is {wanted} against {negative}, scale 1, refused"
    expect(about, refused(wanted, negative, 1.0), False, hint)

# The difference of two ways, step by step in log t.
edges = np.linspace(np.log(1e-7), np.log(1e5), 20_001)
t = np.exp((edges[1:] + edges[:-1]) / 2)
for wanted, negative in PAIRS:
    for scale in (0.0, 0.3, 1.0, 2.0, 6.0):
        rates = scale * t / (wanted[1] ** 2 + t**2) + (1 - scale) * t / (negative[1] ** 2 + t**2)
        shrinks = np.exp(-np.sum(rates * t) * (edges[1] - edges[0]))
        hint = "By which factor does a difference shrink? At the beginning it is t, without end."
        about = f"deviation of what is drawn, {wanted} against {negative}, scale {scale}"
        expect(about, drawn_deviation(wanted, negative, scale), 1e5 * shrinks, hint, 1e-3)

# A picture of three numbers is three worlds.
wanted = (np.array([1.0, 0.0, -1.0]), np.array([0.5, 1.0, 0.2]))
negative = (np.array([0.0, 0.5, 2.0]), np.array([1.5, 1.0, 0.4]))
x = np.random.default_rng(0).normal(size=(4, 3))
each = [((m, d), (n, e)) for m, d, n, e in zip(*wanted, *negative)]
hint = "Number by number, as if the others were not there."
got = guided_noise(x, 0.7, 0.5, wanted, negative, 2.0)
alone = [guided_noise(x[:, k], 0.7, 0.5, *pair, 2.0) for k, pair in enumerate(each)]
expect("noise of (4, 3) numbers", got, np.stack(alone, axis=1), hint)
alone = np.transpose([sharpened(*pair, 2.0) for pair in each])
expect("sharpened, three numbers", sharpened(wanted, negative, 2.0), alone, hint)
alone = [drawn_deviation(*pair, 2.0) for pair in each]
expect(
    "deviations of what is drawn, three numbers",
    drawn_deviation(wanted, negative, 2.0),
    alone,
    hint,
)
### END HIDDEN TESTS

# %% [markdown]
# A narrow prompt against a wide negative one, which is what the empty text is; and the other way round. Your predictions, followed by
# DDIM. (Nothing to do in this cell.)

# %%
n_drawn, n_steps = pick(100, 5000), pick(20, 300)
for wanted, negative in (((1.0, 0.5), (0.0, 1.5)), ((1.0, 1.0), (0.0, 0.8))):
    print(f"prompt N({wanted[0]}, {wanted[1]}²), negative prompt N({negative[0]}, {negative[1]}²)")
    for scale in (0, 1, 2, 4):
        x = np.random.default_rng(0).normal(size=n_drawn)
        angles = np.linspace(np.pi / 2 - 1e-3, 0, n_steps + 1)
        for now, then in itertools.pairwise(angles):
            noise = guided_noise(x, np.cos(now), np.sin(now), wanted, negative, scale)
            data = (x - np.sin(now) * noise) / np.cos(now)
            x = np.cos(then) * data + np.sin(then) * noise
        try:
            said = "mean {:.2f}, deviation {:.2f}".format(*sharpened(wanted, negative, scale))
        except ValueError:
            said = "no density"
        print(f"  scale {scale}: drawn: mean {x.mean():.2f}, deviation {x.std():.2f}", end="")
        print(f" (expected {drawn_deviation(wanted, negative, scale):.2f}); sharpened: {said}")

# %% [markdown]
# ## 2. A large batch in small pieces (4 points)
#
# Contrastive training (对比学习) wants large batches: the wrong answers of a row are the other rows. CLIP had 32,768 in one, and
# a memory holds, say, 64 with all that a gradient needs. For a usual loss one would add up the gradients of pieces. Here this is *another* loss,
# since then a row sees the wrong answers of its own piece only.
#
# But the loss needs nothing of a row but its two vectors, and these are small. So the chain rule can be cut in two (GradCache, Gao et al. 2021):
# with the vectors $v_1 \dots v_{2B}$ of all pictures and texts of the batch and the weights $\theta$,
#
# $$\frac{\partial L}{\partial \theta} = \sum_i \Big(\frac{\partial v_i}{\partial \theta}\Big)^{\!\top} \frac{\partial L}{\partial v_i}
# \;+\; \text{what } L \text{ depends on } \theta \text{ without the vectors.}$$
#
# First all vectors, piece by piece, without gradients; from them the loss and its gradients $\partial L / \partial v_i$;
# then, piece by piece once more, the sum.
#
# Write `gradients_in_pieces(model, images, tokens, size)`. `model` is an `ak.contrastive.TextImageModel`, `images` and `tokens` are
# tensors, a batch of $B \ge 1$ rows. It returns the pair of
#
# - the mean loss of the *whole* batch, a scalar: that of `model.contrastive_loss(image_vectors, text_vectors, same)`, where `same` (B, B) says
#   which rows have equal tokens,
# - a list of its gradients, one for each of `model.trainable_variables`, in their order.
#
# You have `model.embed_images(images)` and `model.embed_tokens(tokens)`, the vectors of so many rows; they draw no random numbers. No encoder (编码器) may
# get more than `size` $\ge 1$ rows at a time, nor any row more than twice. The last piece may be smaller. One variable, `model.log_scale`, is in no
# encoder; and two encoders may share weights. What is not connected has the gradient `None`; with `unconnected_gradients="zero"` it is 0, for which
# TensorFlow wants its own variables, `variable.value`.


# %% solution="gradients_in_pieces"
def gradients_in_pieces(model, images, tokens, size):
    """(loss, gradients) of a whole batch of pairs, of which an encoder gets `size` at a time."""
    ### BEGIN SOLUTION
    parts = [slice(k, k + size) for k in range(0, len(images), size)]

    def embed(part):
        return model.embed_images(images[part]), model.embed_tokens(tokens[part])

    vectors = [ops.concatenate(pieces) for pieces in zip(*map(embed, parts))]
    same = ops.all(tokens[:, None] == tokens, axis=-1)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = ops.mean(model.contrastive_loss(*vectors, same))
    variables = [variable.value for variable in model.trainable_variables]
    zero = {"unconnected_gradients": "zero"}
    slopes = tape.gradient(loss, vectors + variables, **zero)
    by_vectors, total = slopes[:2], slopes[2:]
    for part in parts:
        with tf.GradientTape() as tape:
            found = embed(part)
        slopes = [slope[part] for slope in by_vectors]
        more = tape.gradient(found, variables, slopes, **zero)
        total = [x + tf.convert_to_tensor(y) for x, y in zip(total, more)]
    return loss, total
    ### END SOLUTION


# %% tests="gradients_in_pieces" points=1
import numpy as np
import tensorflow as tf
from aigc_keras import contrastive, text
from aigc_keras.exercises import expect
from keras import Input, Model, layers, utils

utils.set_random_seed(0)
pictures, words = Input((4, 4, 1)), Input((6,), dtype="int32")
model = contrastive.TextImageModel(
    text.CharTokenizer.train(["abcd"]),
    (4, 4, 1),
    4,
    6,
    image_encoder=Model(pictures, layers.Dense(4)(layers.Flatten()(pictures))),
    text_encoder=Model(words, layers.Embedding(9, 4)(words)),
)
rng = np.random.default_rng(0)
images = tf.constant(rng.normal(size=(4, 4, 4, 1)), "float32")
tokens = tf.constant(rng.integers(3, 7, (4, 6)), "int32")
found = gradients_in_pieces(model, images, tokens, 4)
expect("how many things", 0 if found is None else len(found), 2, "Two: the loss, the gradients.")
with tf.GradientTape() as tape:
    vectors = model.embed_images(images), model.embed_tokens(tokens)
    loss = tf.reduce_mean(model.contrastive_loss(*vectors))
variables = model.trainable_variables
hint = "One piece is the whole batch: this is the usual gradient."
expect("loss of 4 rows, pieces of 4", found[0], loss, hint)
expect("how many gradients", len(found[1]), len(variables), "One for each trainable variable.")
for variable, got, wanted in zip(variables, found[1], tape.gradient(loss, variables)):
    about = f"gradient by {variable.path}, 4 rows, pieces of 4"
    expect(about, tf.convert_to_tensor(got), tf.convert_to_tensor(wanted), hint, 1e-3)

# %% tests="gradients_in_pieces" points=3
import numpy as np
import tensorflow as tf
from aigc_keras import contrastive, text
from aigc_keras.exercises import expect
from keras import Input, Model, layers, utils


class Watched(layers.Layer):
    """Writes down how many rows come."""

    def build(self, shape):
        self.seen = []

    def call(self, x):
        self.seen.append(x.shape[0])
        return x


def watched_model(seed, shared=False):
    """A tiny model, and what watches its two encoders."""
    utils.set_random_seed(seed)
    pictures, words = Input((4, 4, 1)), Input((6,), dtype="int32")
    watched, common = (Watched(), Watched()), layers.Dense(4, "tanh")
    x = layers.Dense(4, "tanh")(watched[0](layers.Flatten()(pictures)))
    y = watched[1](layers.Embedding(9, 4)(words))
    x, y = (common(x), common(y)) if shared else (layers.Dense(4)(x), layers.Dense(4, "tanh")(y))
    model = contrastive.TextImageModel(
        text.CharTokenizer.train(["abcd"]),
        (4, 4, 1),
        4,
        6,
        image_encoder=Model(pictures, x),
        text_encoder=Model(words, y),
    )
    return model, watched


# More is tested when you hand in: pieces, equal texts, shared weights, who gets how many rows.
images, tokens = tf.zeros((1, 4, 4, 1)), tf.constant([[3, 4, 5, 3, 3, 3]])
found = gradients_in_pieces(watched_model(0)[0], images, tokens, 3)
expect("loss of one row", found and found[0], 0.0, "Who has no choice is right.")


### BEGIN HIDDEN TESTS
def compared(about, n, size, n_texts=1000, **kwargs):
    model, watched = watched_model(n, **kwargs)
    rng = np.random.default_rng(n)
    images = tf.constant(rng.normal(size=(n, 4, 4, 1)), "float32")
    tokens = tf.constant(rng.integers(3, 7, (n_texts, 6))[rng.integers(n_texts, size=n)], "int32")
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        vectors = model.embed_images(images), model.embed_tokens(tokens)
        same = tf.reduce_all(tokens[:, None] == tokens, axis=-1)
        loss = tf.reduce_mean(model.contrastive_loss(*vectors, same))
    slopes = tape.gradient(loss, variables)
    for each in watched:
        each.seen.clear()
    before = [np.array(variable) for variable in variables]
    found, gradients = gradients_in_pieces(model, images, tokens, size)
    about = f"{about}, {n} rows, pieces of {size}"
    hint = "All rows are wrong answers to each other, but for those with equal tokens."
    expect(f"loss, {about}", found, loss, hint, 1e-3)
    hint = "The gradient by all vectors at once, and then the sum over pieces, of both encoders."
    for variable, got, wanted in zip(variables, gradients, slopes, strict=True):
        got, wanted = tf.convert_to_tensor(got), tf.convert_to_tensor(wanted)
        expect(f"gradient by {variable.path}, {about}", got, wanted, hint, 1e-3, 1e-4)
    for name, each in zip(("pictures", "texts"), watched):
        hint = "No encoder gets more than `size` rows at a time."
        most = max(each.seen)
        expect(f"most {name} at a time, {about}", max(most, min(n, size)), min(n, size), hint)
        hint = "Once without gradients, once with: no row goes through an encoder more often."
        rows = sum(each.seen)
        expect(f"{name} that were encoded, {about}", max(rows, 2 * n), 2 * n, hint)
    hint = "Only gradients: no weight changes."
    for value, variable in zip(before, variables):
        expect(f"{variable.path} after it, {about}", variable, value, hint)


compared("different texts", 6, 3)
compared("a last piece of two", 8, 3)
compared("row by row", 5, 1)
compared("one piece", 5, 9)
compared("equal texts", 12, 4, n_texts=4)
compared("shared weights", 9, 4, shared=True)
### END HIDDEN TESTS

# %% [markdown]
# How much does it matter? Emoji and captions, encoders that have learned nothing yet: the loss and the gradient of a batch, and the means over its
# pieces, each a batch of its own. The cosine says whether both gradients have the same direction. (Nothing to do in this cell.)

# %%
emoji = ak.datasets.captioned("emoji", "train", 32)
n_rows = pick(8, 64)
rows = np.random.default_rng(0).permutation(len(emoji.images))[:n_rows]
short = [caption[:30] for caption in emoji.captions[rows, 0]]
encoders = ak.contrastive.TextImageModel(
    ak.text.CharTokenizer.train(short), (32, 32, 3), 16, 32, width=4, hidden=32, num_layers=1
)
batch = tf.constant(emoji.images[rows]), tf.constant(encoders.tokens(short))


def flat(gradients):
    return np.concatenate([np.ravel(tf.convert_to_tensor(x)) for x in gradients])


whole, slopes = gradients_in_pieces(encoders, *batch, 16)
print(
    f"one batch of {n_rows}: loss {float(whole):.2f}, an encoder that guesses {math.log(n_rows):.2f}"
)
for size in pick((4,), (4, 16)):
    parts = [
        gradients_in_pieces(encoders, batch[0][k : k + size], batch[1][k : k + size], size)
        for k in range(0, n_rows, size)
    ]
    a, b = flat(slopes), np.mean([flat(part[1]) for part in parts], axis=0)
    print(f"means over batches of {size}: loss {np.mean([part[0] for part in parts]):.2f}", end="")
    print(f", guessing {math.log(size):.2f}; cosine {a @ b / np.sqrt(a @ a * (b @ b)):.2f}")

# %% [markdown]
# ## 3. Five machines that draw what they are told: which is healthy, and what ails the others? (4 points)
#
# A small world: pictures of 8 x 8 pixels show one of four shapes in one of four colours, and a caption is two words. A small flow (chapter 04), told
# by the two words, learns to draw them; each word is a vector that stays as it is. Of the 16 combinations (组合) four are *held out*: no training picture is
# to show them, and in the end they are asked for as well. A **judge**, which knows 600 other real pictures, of all 16 combinations, says which
# colour and which shape a drawn picture has: those of the one that is nearest to it.
#
# Five times the same; one machine is as it should be. In each of the others something is wrong. What it is, is in the table of numbers; you could decode
# it, and would learn nothing. Look at pictures and bars instead.
#
# Above, three drawings for each of eight captions; those with a star are held out. Below, the share of drawings whose colour, shape, and both
# are those of the caption, as the judge says: with combinations of the training, and with those held out.

# %%
warnings.simplefilter("ignore", ConvergenceWarning)
table = np.frombuffer(
    bytes.fromhex(
        "000000000000000000000000000000000000803f0000803f"
        "00000000000000000000803f00000000000000000000803f"
        "00000000000000000000000000000000000000000000803f"
        "000000000000803f0000000000000000000000000000803f"
        "0000803f000000000000000000000000000000000000803f"
    ),
    "<f4",
).reshape(5, 6)
COLOURS = {"red": (1, -0.6, -0.6), "green": (-0.6, 0.7, -0.6), "blue": (-0.5, -0.3, 1)}
COLOURS["yellow"] = (1, 0.9, -0.6)
SHAPES = {
    "square": "###### ###### ###### ###### ###### ######",
    "cross": "..##.. ..##.. ###### ###### ..##.. ..##..",
    "ring": "###### ##..## #....# #....# ##..## ######",
    "wedge": "#..... ##.... ###... ####.. #####. ######",
}
MASKS = np.array([[list(row) for row in shape.split()] for shape in SHAPES.values()]) == "#"
HELD_OUT = [(0, 1), (1, 2), (2, 3), (3, 0)]  # number of the colour, number of the shape
ALL = [(colour, shape) for colour in range(4) for shape in range(4)]
SEEN = [pair for pair in ALL if pair not in HELD_OUT]
word_vectors = np.random.default_rng(0).normal(size=(8, 24))  # colours, then shapes


def real_pictures(said, rng):
    """Pictures (N, 192) of (N, 2) colours and shapes; the shade varies."""
    found = np.ones((len(said), 8, 8, 3))
    for picture, (colour, shape) in zip(found, said):
        shade = list(COLOURS.values())[colour] + rng.normal(0, 0.15, 3)
        picture[1:7, 1:7][MASKS[shape]] = shade
    return (found + rng.normal(0, 0.03, found.shape)).reshape(-1, 192)


def drawn_lots(pairs, n, rng):
    return np.array(pairs)[rng.integers(len(pairs), size=n)]


# As in latent diffusion, 12 numbers stand for a picture: here by principal components.
first = real_pictures(drawn_lots(ALL, 1000, np.random.default_rng(0)), np.random.default_rng(1))
middle = first.mean(axis=0)
components = np.linalg.svd(first - middle, full_matrices=False)[2][:12]
size_of_all = np.std((first - middle) @ components.T)


def encode(pictures):
    return (pictures - middle) @ components.T / size_of_all


def told(said, words):
    """The sum of the words' vectors, (N, 24), of those of the two `words` that it is told."""
    return sum(word_vectors[4 * k + said[:, k]] for k in words)


def seen_by_flow(x, t, told):
    return np.concatenate([x, t, np.sin(3 * t), np.cos(6 * t), told], axis=1)


def learn(said, captions, words):
    """A flow that has learned from pictures of `said` with the captions `captions`."""
    rng, n = np.random.default_rng(1), pick(400, 8000)
    i = rng.integers(len(said), size=n)
    t, noise = rng.random((n, 1)), rng.normal(size=(n, 12))
    data = encode(real_pictures(said, rng))[i]
    # In a tenth of the rows no caption is told, for guidance.
    with_caption = told(captions[i], words) * (rng.random((n, 1)) > 0.1)
    flow = MLPRegressor(hidden_layer_sizes=(64, 64), learning_rate_init=3e-3, batch_size=128)
    flow.set_params(max_iter=pick(1, 20), tol=0, random_state=0)
    return flow.fit(seen_by_flow((1 - t) * data + t * noise, t, with_caption), noise - data)


def draw(flow, said, words, scale, seed):
    """A picture (N, 192) of each caption."""
    x, captions = np.random.default_rng(seed).normal(size=(len(said), 12)), told(said, words)
    n_steps = pick(2, 20)
    for step in range(n_steps):
        t = np.full((len(said), 1), 1 - step / n_steps)
        empty, full = (flow.predict(seen_by_flow(x, t, c)) for c in (0 * captions, captions))
        x = x - (empty + scale * (full - empty)) / n_steps
    return x * size_of_all @ components + middle


def run(*settings):
    """What a machine draws, and the shares of it that are right."""
    more, wrong, short, diagonal, own, scale = settings
    rng = np.random.default_rng(9)
    said = drawn_lots(ALL if more else SEEN, 600, rng)
    if diagonal:
        said = said[said[:, 0] == said[:, 1]]
    captions = rng.permutation(said) if wrong else said
    words = (1,) if short else (0, 1)
    flow = learn(said, captions, words)
    asked = [np.repeat(pairs, 240 // len(pairs), axis=0) for pairs in (SEEN, HELD_OUT)]
    drawings = [draw(flow, each, words, scale, seed=2) for each in asked]
    if own:
        known = np.concatenate(asked)
        x = draw(flow, known, words, scale, seed=3)
    else:
        known = drawn_lots(ALL, 600, rng)
        x = real_pictures(known, rng)
    judge = NearestNeighbors(n_neighbors=1).fit(encode(x))

    def right(pictures, said):
        found = known[judge.kneighbors(encode(pictures))[1][:, 0]] == said
        return [*found.mean(axis=0), found.all(axis=1).mean()]

    shares = [right(*pair) for pair in zip(drawings, asked)]
    shown = np.stack([x[k : k + 3] for x in drawings for k in (0, 60, 120, 180)])
    return shown, shares


def caption_of(pair):
    return f"{list(COLOURS)[pair[0]]} {list(SHAPES)[pair[1]]}"


with threadpool_limits(1):  # networks so small are slower with more threads
    runs = {name: run(*row) for name, row in zip("ABCDE", table)}
fig, axes = ak.plots.figure(columns=5, rows=2, size=(2.6, 4.2), height_ratios=(5, 2))
lines = [caption_of(SEEN[k]) for k in (0, 3, 6, 9)] + [f"{caption_of(x)} *" for x in HELD_OUT]
for column, (name, (shown, shares)) in enumerate(runs.items()):
    above, below = axes[:, column]
    # A white frame around each of the 8 x 3 pictures.
    framed = np.ones((8, 3, 10, 10, 3))
    framed[:, :, 1:9, 1:9] = shown.reshape(8, 3, 8, 8, 3)
    above.imshow(framed.swapaxes(1, 2).reshape(80, 30, 3).clip(-1, 1) / 2 + 0.5)
    above.set(title=f"machine {name}", xticks=[], yticks=[])
    for k, share in enumerate(shares):
        below.bar(np.arange(3) + 0.4 * k, share, 0.4, label=("training", "held out")[k])
    below.set_xticks(np.arange(3) + 0.2, ["colour", "shape", "both"])
    below.tick_params(axis="x", labelrotation=30)
    below.set(ylim=(0, 1.05))
axes[0, 0].set_yticks(np.arange(8) * 10 + 4.5, lines)
axes[1, 0].set_ylabel("share right")
axes[1, 3].legend(loc="upper right")
fig

# %% [markdown]
# Give each machine one of these names. A name may be right for several, or for none. 4 points; 3 with one wrong
# name, 2 with two, else none.
#
# | name | what it means |
# |---|---|
# | `"healthy"` | all is as it should be, also where it is not perfect |
# | `"captions_shuffled"` | each training picture has the caption of another one |
# | `"word_cut_off"` | captions are cut to one word, in training and when it draws: the colour is not read |
# | `"colour_follows_shape"` | in the training pictures each shape has one colour only |
# | `"combinations_leak"` | the combinations that should be held out are among the training pictures |
# | `"judge_learned_from_it"` | what the judge knows are pictures that this machine drew, with the captions it was asked for |
# | `"guidance_too_strong"` | the predictions are pulled so far that colours leave what real pictures have |

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": "", "E": ""}
### BEGIN SOLUTION
diagnosis = {
    "A": "judge_learned_from_it",  # the pictures of C, and a judge that finds no fault in them
    "B": "word_cut_off",  # shapes are right, colours are guessed
    "C": "healthy",  # all that was trained is right; of what was held out, some is not
    "D": "captions_shuffled",  # clear pictures of anything, in colour and shape by chance
    "E": "combinations_leak",  # what was never seen is as good as what was seen
}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

accepted = (
    "healthy",
    "captions_shuffled",
    "word_cut_off",
    "colour_follows_shape",
    "combinations_leak",
    "judge_learned_from_it",
    "guidance_too_strong",
)
for name in "ABCDE":
    expect_one_of(f"machine {name}", diagnosis.get(name), accepted)

# %% tests="diagnosis" points=4
from aigc_keras.exercises import wrong_names

# Whether the names are right is tested when you hand in.
assert any(diagnosis.values()), "diagnosis: nothing came.\nHint: look at the pictures first."
### BEGIN HIDDEN TESTS
truth = {
    "A": ("judge_learned_from_it", "look at the starred pictures yourself; what says its judge?"),
    "B": ("word_cut_off", "shapes are right, colours are guessed, also of what was trained"),
    "C": ("healthy", "what was trained is right, and the bars say what one sees"),
    "D": ("captions_shuffled", "clear pictures, and both words by chance"),
    "E": ("combinations_leak", "what was held out is as good as what was trained; who else's is?"),
}
wrong = wrong_names("diagnosis", diagnosis, {run: truth[run][0] for run in truth})
for run in wrong:
    print(f"Look again at machine {run}: {truth[run][1]}.")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. The best of many (4 points)
#
# Who wants *one* good picture draws many and lets a model of pictures and texts choose the one that fits the caption best (reranking, 重排序; DALL-E took
# the best of 512). How often does the best of $n$ show what was said? One could draw $n$ pictures, choose, draw again. But whoever
# has $m \ge n$ pictures of a caption has many sets of $n$: all $\binom{m}{n}$ subsets. The mean over all of them is right on average
# (unbiased, 无偏), needs no random numbers, and can be written down: in how many subsets is a picture the best one?
#
# Of each of $C$ captions there are $m$ pictures. Picture $j$ of caption $i$ has the score $s_{ij}$ of whoever chooses, and $h_{ij}$, 1 if it shows what was
# said, else 0 (or a share, if several people were asked). Write both functions:
#
# - `best_of(scores, shows, n)`: two arrays (C, m), with $C \ge 2$, and $1 \le n \le m$, to a pair of numbers. The first is the mean over the captions of
#   the mean, over all subsets of $n$ of its pictures, of $h$ of the picture with the highest score. If several pictures of a subset have this score, each of them is
#   chosen equally often. The second is the first one's **standard error** (标准误). Pictures of one caption are not independent, as some captions are harder
#   than others; the captions are independent draws from all captions. $m$ may be 2,000.
# - `needed(chances, share)`: how many pictures does one have to draw, if the chooser never errs? Caption $i$ is shown by each picture with the
#   probability $p_i$, `chances` (C,), independently. The smallest $n \ge 1$ with which on average at least the share `share` of the captions, $0 < $ `share` $< 1$,
#   is shown by at least one of $n$ pictures; an integer, or $-1$ if no $n$ is enough. $n$ may be a million, so do not count up to it.


# %% solution="best_of"
def best_of(scores, shows, n):
    """(share of captions shown by the best of n pictures, its standard error).

    Args:
        scores: (C, m), of whoever chooses; higher is better.
        shows: (C, m), 1 where the picture shows what was said, else 0; or shares.
        n: so many pictures are drawn, one of them is chosen.
    """
    ### BEGIN SOLUTION
    scores, shows = np.asarray(scores), np.asarray(shows, "float64")
    m = scores.shape[1]
    # The picture of rank k, the lowest being 0, is the best of all subsets with n - 1 of the k.
    weights = np.array([math.comb(k, n - 1) / math.comb(m, n) for k in range(m)])
    found = []
    for s, h in zip(scores, shows):
        # Equal scores: whichever stands first, on average each has the mean of their weights.
        _, which, counts = np.unique(s, return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        of_group = [weights[end - k : end].mean() for end, k in zip(ends, counts)]
        found.append(np.array(of_group)[which] @ h)
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))
    ### END SOLUTION


def needed(chances, share):
    """The smallest number of pictures of which one shows what was said, for `share` of captions."""

    ### BEGIN SOLUTION
    def enough(n):
        return np.mean(1 - (1 - np.asarray(chances)) ** float(n)) >= share

    if np.mean(np.asarray(chances) > 0) <= share < 1 and not enough(1):
        return -1  # the others are never shown
    high = 1
    while not enough(high):
        high *= 2
    low = high // 2  # not enough, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
    ### END SOLUTION


# %% tests="best_of" points=1
import numpy as np
from aigc_keras.exercises import expect

scores = np.array([[0.1, 0.7, 0.3, 0.5], [0.9, 0.2, 0.4, 0.6]])
shows = np.array([[0, 1, 0, 0], [0, 0, 1, 1]])
found = best_of(scores, shows, 1)
expect("how many numbers", np.shape(found), (2,), "Two: the share and its standard error.")
hint = "The best of one is any: the share of all pictures; and the error is that of two captions."
expect("best of 1 of 4", found, [0.375, 0.125], hint)
hint = "The best of all: only the pictures with scores 0.7 and 0.9 count."
expect("best of 4 of 4", best_of(scores, shows, 4), [0.5, 0.5], hint)
hint = "Three of the six pairs have the picture of 0.7; 0.6 and then 0.4 win 2 and 1 of the others."
expect("share, best of 2 of 4", best_of(scores, shows, 2)[0], 0.5, hint)
hint = "1 - 0.5^n is 0.875 with 3, and 0.9375 with 4."
expect("needed, chance 1/2, share 0.9", needed(np.array([0.5, 0.5]), 0.9), 4, hint)

# %% tests="best_of" points=3
import itertools
import math

import numpy as np
from aigc_keras.exercises import expect

# More is tested when you hand in: equal scores, errors, many pictures, captions that never work.
hint = "Already the first picture shows it surely."
expect("needed, chance 1, share 0.9", needed(np.array([1.0]), 0.9), 1, hint)


### BEGIN HIDDEN TESTS
def slowly(scores, shows, n):
    """Of each caption, the mean over all subsets."""
    found = []
    for s, h in zip(scores, shows):
        subsets = [list(subset) for subset in itertools.combinations(range(len(s)), n)]
        found.append(np.mean([np.mean(h[x][s[x] == s[x].max()]) for x in subsets]))
    return np.array(found)


rng = np.random.default_rng(0)
for n_captions, m, kinds in ((3, 5, 100), (6, 7, 3), (4, 6, 1), (10, 8, 2)):
    scores = rng.integers(0, kinds, (n_captions, m)) - 0.5
    if kinds == 100:
        scores = rng.normal(size=(n_captions, m))
    shows = rng.integers(0, 2, (n_captions, m))
    for n in range(1, m + 1):
        means = slowly(scores, shows, n)
        error = np.sqrt(np.sum((means - np.mean(means)) ** 2) / (n_captions - 1) / n_captions)
        about = f"best of {n} of {m}, {n_captions} captions, scores of at most {kinds} kinds"
        got, of_error = best_of(scores, shows, n)
        hint = "In how many subsets is it the best? Equal scores share what they win together."
        expect(f"share, {about}", got, np.mean(means), hint)
        hint = "How much do the captions' means differ, and how many captions are there?"
        expect(f"error, {about}", of_error, error, hint)
shows = rng.random((5, 6))
scores = rng.permuted(np.tile(np.arange(6.0), (5, 1)), axis=1)
means = slowly(scores, shows, 3)
hint = "h may be any share."
expect("share, best of 3 of 6, several people", best_of(scores, shows, 3)[0], np.mean(means), hint)
# Many pictures: only the best tenth shows it, so that a subset fails if all are of the rest.
m, scores = 2000, rng.permuted(np.tile(np.arange(2000), (3, 1)), axis=1)
for n in (1, 10, 700):
    fails = np.prod([(1800 - k) / (m - k) for k in range(n)])
    hint = (
        "The numbers of subsets are too large for floats: let Python's integers or logarithms do."
    )
    expect(f"best of {n} of {m}", best_of(scores, scores >= 1800, n), [1 - fails, 0], hint, 1e-3)

hint = "The mean over captions of 1 - (1 - p)^n; not the same with the mean p."
for chances, share in (
    ([0.5], 0.5),
    ([0.25, 0.75, 0.1], 0.8),
    ([0.9, 0.01], 0.7),
    ([0.9, 0.01], 0.3),
    ([0, 0.3, 0.6, 1], 0.7),
    ([0, 0, 1], 0.3),
):
    n = 1
    while np.mean(1 - (1 - np.array(chances)) ** n) < share:
        n += 1
    expect(f"needed, chances {chances}, share {share}", needed(np.array(chances), share), n, hint)
hint = "Who is never shown is not shown by a thousand pictures either."
for chances, share in (([0, 0], 0.1), ([0, 0.3, 0.6, 1], 0.8), ([0, 1], 0.51)):
    expect(f"needed, chances {chances}, share {share}", needed(np.array(chances), share), -1, hint)
for p, share in ((3e-6, 0.9), (2e-7, 0.5)):
    n = math.ceil(math.log1p(-share) / math.log1p(-p))
    hint = (
        "Double until it is enough, then halve what is left between; the error may be 1 in 10,000."
    )
    expect(f"needed, chance {p}", needed(np.array([p]), share), n, hint)
### END HIDDEN TESTS

# %% [markdown]
# And if the one who chooses is also the one who judges? Two hundred captions, some harder than others, 64 pictures each; two networks look at them, each with
# errors of its own. One of them chooses the best of $n$. Whether it shows what was said is then asked of: people, the other network, and the chooser itself.
# (Nothing to do in this cell.)

# %%
rng, n_captions = np.random.default_rng(0), pick(20, 200)
truth = rng.random((n_captions, 64)) < rng.beta(1, 4, (n_captions, 1))
chooser, other = (truth + rng.normal(0, 0.5, truth.shape) for _ in range(2))
for n in pick((1, 64), (1, 2, 4, 16, 64)):
    parts = []
    for name, shows in (
        ("people", truth),
        ("other network", other > 0.5),
        ("itself", chooser > 0.5),
    ):
        parts.append("{}: {:.0%} ± {:.0%}".format(name, *best_of(chooser, shows, n)))
    print(f"best of {n}: {'; '.join(parts)}")

# %% [markdown]
# ## 5. A picture that is read wrongly (4 points)
#
# Below, two small encoders learn one space for the emoji of people: a picture of 32 x 32 pixels, and a caption such as
# *judge, woman, medium skin tone*. The encoder of texts is the mean of the vectors of its tokens. Then each of `held_images` is compared with *all* captions that can
# be made, 580 of them. These pictures show a role, a gender and a skin tone that training had, but never all three together. Many are read
# wrongly. **Find one, and explain which part of the caption failed, and why this one.**
#
# *Where does it look?* Make a square of 4 x 4 pixels white, and see what that changes (occlusion, 遮挡; Zeiler and Fergus 2014). The **margin** is the cosine of the
# picture with the right caption minus its cosine with the caption that it is taken for. It is below 0; where a white square raises it, the square held what misled.
#
# Make `finding`, a dict:
#
# - `"picture"`: the number of one of `held_images` that is read wrongly
# - `"read"`: a tuple of three integers, numbers of role, gender and tone as in `held_said`: of the caption with the highest cosine
# - `"margin"`: the margin of the whole picture
# - `"covered"`: (8, 8), the margin when the square in this row, from the top, and this column is white (1 in all three channels) and all else as it was
#
# The cell after it draws picture, margins and the cosines with captions that differ in one part. A program checks the dict (1 point). Then **explain** it in
# 100 to 250 words (3 points, given by a person):
#
# 1. *The picture* (1 point): what is shown, what it is taken for, by how much; which of the three parts failed; which squares decide, and whether you
#    would have looked there.
# 2. *The reason* (1 point): with numbers of your own, why this part and not the others. For example, how often does each part fail in all
#    held-out pictures, and in those of the training? Which wrong captions did a picture have to be told apart from in its batches, and how often was that one
#    among them? What did training have of the two captions' parts?
# 3. *The limit* (1 point): what a white square does not show; what would put this picture right, with one try that you made (`learn` takes other
#    orders of the pictures), or one that you describe so exactly that somebody else could make it; and which result would speak against your reason.

# %%
GENDERS = ("woman", "man")


def people(split):
    """Pictures of one person or several of one gender, and (role, gender, tone) of each."""
    data = ak.datasets.captioned("emoji", split, 32)
    said = np.stack([data.labels[part] for part in ("role", "gender", "skin_tone")], axis=1)
    adult = data.names["role"].index("adult")
    rows = (said.min(axis=1) >= 0) & (said[:, 1] < 2) & (said[:, 0] != adult)
    rows &= data.labels["hair"] < 0
    return data.images[rows], said[rows], data.names


images, said, names = people("train")
held_images, held_said, _ = people("held_out")
in_training = np.unique(said[:, 0])
roles = [names["role"][k] for k in in_training]
for each in (said, held_said):
    each[:, 0] = np.searchsorted(in_training, each[:, 0])


def say(role, gender, tone):
    return f"{roles[role]}, {GENDERS[gender]}, {names['skin_tone'][tone]} skin tone"


sizes = (len(roles), 2, 5)
captions = [say(*parts) for parts in np.ndindex(sizes)]
tokenizer = ak.text.BPETokenizer.train(captions, 500)


def learn(order, n_epochs=12, seed=0):
    """Two encoders; order(rng) gives the numbers of an epoch's pictures, 64 of them a batch."""
    keras.utils.set_random_seed(seed)
    words = keras.Input((16,), dtype="int32")
    vectors = layers.Embedding(tokenizer.vocab_size, 32)(ops.maximum(words, 0))
    model = ak.contrastive.TextImageModel(
        tokenizer, (32, 32, 3), 32, 16, width=8, hidden=64, text_encoder=keras.Model(words, vectors)
    )
    tokens, rng = model.tokens([say(*parts) for parts in said]), np.random.default_rng(0)
    rows = np.concatenate([order(rng)[:512] for _ in range(n_epochs)])
    batches = tf.data.Dataset.from_tensor_slices((images[rows], tokens[rows])).batch(64)
    model.compile()
    model.fit(batches, verbose=0)
    return model


def cosines(model, images):
    """Of pictures with all captions, (N, roles, 2 genders, 5 tones)."""
    return model.similarity(images, captions).reshape(-1, *sizes)


def read(model, images):
    """(role, gender, tone) of the caption that is nearest to each picture, (N, 3)."""
    nearest = cosines(model, images).reshape(len(images), -1).argmax(axis=1)
    return np.stack(np.unravel_index(nearest, sizes), axis=1)


def at_random(rng):
    return rng.permutation(len(said))


encoders = learn(at_random, pick(4, 12))
right = read(encoders, held_images) == held_said
print(f"{len(images)} pictures of the training, {len(held_images)} held out; read rightly:", end="")
print(f" role {right[:, 0].mean():.0%}, gender {right[:, 1].mean():.0%}, tone", end="")
print(f" {right[:, 2].mean():.0%}, all three {right.all(axis=1).mean():.0%}")

# %% solution="finding"
finding = {"picture": 0, "read": (0, 0, 0), "margin": 0.0, "covered": np.zeros((8, 8))}
### BEGIN SOLUTION
taken_for = read(encoders, held_images)
only_tone = (taken_for[:, :2] == held_said[:, :2]).all(axis=1) & (taken_for != held_said)[:, 2]
number = int(np.flatnonzero(only_tone if only_tone.any() else ~right.all(axis=1))[0])
is_right, is_read = tuple(held_said[number]), tuple(int(k) for k in taken_for[number])


def margins(pictures):
    found = cosines(encoders, pictures)
    return found[(slice(None), *is_right)] - found[(slice(None), *is_read)]


covered = np.repeat(held_images[number][None], 64, axis=0)
for k, picture in enumerate(covered):
    i, j = 4 * (k // 8), 4 * (k % 8)
    picture[i : i + 4, j : j + 4] = 1
finding = {
    "picture": number,
    "read": is_read,
    "margin": margins(held_images[[number]])[0],
    "covered": margins(covered).reshape(8, 8),
}

# How often was this role, with this gender, in a batch in another tone?
rng, kinds = np.random.default_rng(0), said[:, 0] * 2 + said[:, 1]
rows = np.concatenate([at_random(rng)[:512] for _ in range(12)]).reshape(-1, 64)
others = [np.sum(kinds[batch] == kind) - 1 for batch in rows for kind in kinds[batch]]
print(f"in a batch, others that differ in nothing but the tone: {np.mean(others):.2f} of 63")


def by_kind(rng):
    """Those that differ in nothing but the tone stand together."""
    return np.argsort(rng.random(kinds.max() + 1)[kinds], kind="stable")


for name, models in (
    ("at random", [encoders]),
    ("by kind", [learn(by_kind, pick(1, 12), seed) for seed in pick((0,), (0, 1))]),
):
    for model in models:
        share = (read(model, held_images) == held_said).mean(axis=0)
        mine = cosines(model, held_images[[number]])[0]
        print(f"{name}: right role, gender, tone {np.round(share, 2)}", end="")
        print(f", this picture's margin {mine[is_right] - mine[is_read]:.3f}")
shares = (read(encoders, images) == said).mean(axis=0)
print(f"training pictures: right role, gender, tone {np.round(shares, 2)}")
steps = np.abs(taken_for - held_said)[:, 2]
print(f"wrong tones: {np.sum(steps > 0)}, of which next to the right one: {np.sum(steps == 1)}")
### END SOLUTION

# %%
number = finding["picture"]
one, truly = cosines(encoders, held_images[[number]])[0], tuple(held_said[number])
fig, axes = ak.plots.figure(columns=3, size=(3.6, 3.4))
axes[0, 0].imshow(held_images[number] / 2 + 0.5)
axes[0, 0].set_title(say(*truly).replace(", ", "\n"), fontsize=10)
change = np.array(finding["covered"]) - finding["margin"]
largest = np.abs(change).max() + 1e-6
axes[0, 1].imshow(change, cmap="coolwarm", vmin=-largest, vmax=largest)
axes[0, 1].set_title("change of the margin;\nred: it misled", fontsize=10)
for axis in axes[0, :2]:
    axis.set(xticks=[], yticks=[])
lines = [say(truly[0], gender, tone) for gender in range(2) for tone in range(5)]
colors = [ak.plots.COLORS[int(line == say(*truly))] for line in lines]
axes[0, 2].barh([x.partition(", ")[2] for x in lines], one[truly[0]].ravel(), color=colors)
axes[0, 2].tick_params(axis="y", labelsize=7)
axes[0, 2].set_title("cosines, same role", fontsize=10)
others = np.argsort(-one[:, truly[1], truly[2]])[:4]
for role in others:
    print(f"{one[role, truly[1], truly[2]]:.2f} {say(role, *truly[1:])}")
print(f"read: {say(*finding['read'])}; margin {finding['margin']:.3f}")
fig

# %% tests="finding" points=1
import numpy as np
from aigc_keras.exercises import expect

number, shape = finding["picture"], (len(roles), 2, 5)
hint = "An integer, from 0: which of held_images?"
expect("is that a picture", number in range(len(held_images)), True, hint)
picture, truly = held_images[number].copy(), tuple(held_said[number].tolist())
whole = encoders.similarity(picture[None], captions).reshape(shape)
taken_for = np.unravel_index(whole.argmax(), shape)
hint = "The caption with the highest cosine is the right one."
expect("is the picture read wrongly", [int(k) for k in taken_for] == list(truly), False, hint)
hint = "Numbers of role, gender and tone of the caption with the highest cosine."
expect("read", finding["read"], taken_for, hint)
hint = "The cosine with the right caption, minus that with the one that it is taken for."
expect("margin", finding["margin"], whole[truly] - whole[taken_for], hint, 1e-3, 1e-4)
expect("shape of covered", np.shape(finding["covered"]), (8, 8), "8 x 8 squares of 4 x 4 pixels.")
### BEGIN HIDDEN TESTS
white = np.repeat(picture[None], 64, axis=0)
for k in range(64):
    i, j = divmod(k, 8)
    white[k, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = 1
found = encoders.similarity(white, captions).reshape(64, *shape)
wanted = (found[(slice(None), *truly)] - found[(slice(None), *taken_for)]).reshape(8, 8)
hint = "Row i and column j: only pixels 4 i to 4 i + 3 and 4 j to 4 j + 3 are white."
expect("covered", finding["covered"], wanted, hint, 1e-3, 1e-3)
### END HIDDEN TESTS

# %% [markdown] open="finding" points=3
# A man of medium-light skin is surfing; he is taken for one of light skin, by a margin of -0.024. Role and gender are safe: the next role has a
# cosine of 0.50, his own 0.82. The square of the head misled most: white, it turns the margin to +0.057. Chest and legs speak for the right tone. I
# would have looked there.
#
# The tone fails in 25 of 59 held-out pictures, 24 times for the one next to it; role and gender fail once each. Of the training pictures 18 % have a wrong
# tone. A picture has 63 wrong captions in its batch; on average 0.46 of them differ from its own in nothing but the tone. Who knows role and gender
# has told it from nearly all others, so tones are hardly worth learning.
#
# My try: batches in which all tones of a role and gender stand together. With two seeds the tone is right in 73 %, before in 58 %; gender, which hardly
# differs in such a batch, falls from 98 % to 86 % and 92 %. But of this picture the margin is now +0.020 with one seed and
# -0.051 with the other: the reason holds for the whole and has not put this one right.
#
# No picture of the training has a white square, so the head's effect may be that of edges; another skin tone would show more. Had the tone stayed at
# 58 %, or gender at 98 %, I would have been wrong.
