# %% [markdown]
# # Problem set 01: Generative adversarial networks (生成对抗网络)
#
# You need chapter 01: the two losses, logits, the train step of two players, mode collapse, the
# checkpoint that draws the class it is asked for.
#
# | task | points |
# |---|---|
# | 1. A discriminator that is lied to: finish a formula | 4 |
# | 2. Feature matching: finish a train step | 4 |
# | 3. Four runs: diagnose | 4 |
# | 4. Is it as varied as reality? Measure | 4 |
# | 5. Between two garments: a picture and a statement | 4 |
#
# The tasks do not need each other's answers. Run the test cells, or type
# `make check EX=01`; the last points of a task are given by tests that you cannot see. This notebook
# keeps its name.

# %%
import base64
import itertools
import json
import zlib

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

keras.utils.set_random_seed(0)
pick = ak.profile.pick
classes = ak.datasets.class_names("fashion_mnist")

# %% [markdown]
# ## 1. A discriminator that is lied to (4 points)
#
# A discriminator that is too sure of itself spoils the game. One idea is to lie to it: **label
# flipping** (标签翻转). Each picture of a batch, *real or fake*, is shown with the wrong label with
# probability $\phi$ (`flip`), independently of all others. The loss is then the chapter's
#
# $$-\frac1N\sum_{i=1}^{N} \log P_D(y_i \mid x_i) \;-\; \frac1M\sum_{j=1}^{M} \log P_D(y'_j \mid G(z_j)),$$
#
# where $P_D(\text{real} \mid x) = D(x)$ and $P_D(\text{fake} \mid x) = 1 - D(x)$, the labels $y_i$ of the
# $N$ real pictures are "real" with probability $1 - \phi$ and "fake" with probability $\phi$, and the
# labels $y'_j$ of the $M$ generated pictures the other way round.
#
# To draw these labels would only add noise. Write the **expectation** of the loss over the labels, as a
# function of the logits, $D = \mathrm{sigmoid}(\ell)$:
#
# - `real_logits` has the shape (N, 1), `fake_logits` (M, 1), both float32; N and M may differ. `flip` is a
#   number in [0, 1].
# - The result is one number (a scalar), in nats: the mean over the real pictures plus the mean over the
#   generated ones. NumPy, TensorFlow or `keras.ops`, as you like.
# - Logits between -1000 and 1000 must give the right, finite number.
#
# What does it change? Ask for the best discriminator. Each point $x$ costs it
# $\big((1-\phi)\,p + \phi\,p_G\big)(-\log D) + \big(\phi\,p + (1-\phi)\,p_G\big)(-\log(1 - D))$, which is least at
#
# $$D^*(x) = \frac{(1-\phi)\,p(x) + \phi\,p_G(x)}{p(x) + p_G(x)}, \qquad \phi \le D^*(x) \le 1 - \phi
#   \quad \text{for } \phi < \tfrac12.$$
#
# So there is a limit to how sure the best player is: with $\phi = 0.1$ its logits stay within $\pm 2.2$. It is
# no cure for everything. Where there is nothing but fakes, $D^* = \phi$ is constant, so that the generator still
# does not learn there which way to go; for that reason Salimans et al. (2016) soften the labels of *real*
# pictures only. The hidden tests make sure that your loss has its minimum at this $D^*$.


# %% solution="flipped_loss"
def flipped_loss(real_logits, fake_logits, flip):
    """The discriminator's loss, in expectation over labels that are wrong with probability `flip`.

    Args:
        real_logits: (N, 1), logits of real pictures.
        fake_logits: (M, 1), logits of generated pictures.
        flip: a number in [0, 1].

    Returns:
        A scalar, in nats.
    """
    ### BEGIN SOLUTION
    # -log D = softplus(-logit) and -log(1 - D) = softplus(logit): exact for any logit.
    real_loss = (1 - flip) * ops.softplus(-real_logits) + flip * ops.softplus(real_logits)
    fake_loss = (1 - flip) * ops.softplus(fake_logits) + flip * ops.softplus(-fake_logits)
    return ops.mean(real_loss) + ops.mean(fake_loss)
    ### END SOLUTION


# %% tests="flipped_loss" points=1
from aigc_keras.exercises import expect


def over_all_labels(real_logits, fake_logits, flip):
    """The same by brute force: every way to label the batch, weighted by its probability."""
    n_real = len(real_logits)
    d = 1 / (1 + np.exp(-np.concatenate([real_logits, fake_logits]).astype("float64")[:, 0]))
    total = 0.0
    for lies in itertools.product([0, 1], repeat=len(d)):
        lies = np.array(lies)
        says_real = np.where(np.arange(len(d)) < n_real, 1 - lies, lies)
        loss = -np.log(np.where(says_real == 1, d, 1 - d))
        probability = np.prod(np.where(lies == 1, flip, 1 - flip))
        total += probability * (loss[:n_real].mean() + loss[n_real:].mean())
    return total


some_real = np.float32([[2.0], [-0.5], [1.2]])
some_fake = np.float32([[-1.0], [0.3], [-2.5]])
expect(
    "the loss without lies (flip = 0)",
    flipped_loss(some_real, some_fake, 0.0),
    over_all_labels(some_real, some_fake, 0.0),
    "with flip = 0 it is the chapter's loss: -log D on real, -log(1 - D) on fake pictures.",
)
expect(
    "the loss with flip = 0.2",
    flipped_loss(some_real, some_fake, 0.2),
    over_all_labels(some_real, some_fake, 0.2),
    "what does one picture cost with the right label, what with the wrong one, and how probable is "
    "each? Real and generated pictures are both lied about.",
)
expect(
    "the loss with flip = 1",
    flipped_loss(some_real, some_fake, 1.0),
    over_all_labels(some_fake, some_real, 0.0),
    "if every label is wrong, real and fake have changed places.",
)

# %% tests="flipped_loss" points=3
from aigc_keras.exercises import expect

expect(
    "the loss of an undecided discriminator",
    flipped_loss(np.zeros((4, 1), "float32"), np.zeros((2, 1), "float32"), 0.3),
    2 * np.log(2),
    "whoever says 1/2 pays log 2 for each label, whatever it is.",
)
# More is tested when you hand in: other shapes, large logits, where the minimum lies.
### BEGIN HIDDEN TESTS
draw = np.random.default_rng(1).normal
for n_real, n_fake, flip in ((2, 7, 0.1), (6, 1, 0.35), (3, 3, 0.5)):
    more_real = 3 * draw(size=(n_real, 1)).astype("float32")
    more_fake = 3 * draw(size=(n_fake, 1)).astype("float32")
    expect(
        f"the loss of {n_real} real and {n_fake} generated pictures, flip = {flip}",
        flipped_loss(more_real, more_fake, flip),
        over_all_labels(more_real, more_fake, flip),
        "each kind has a mean of its own, whatever the number of the others.",
    )
# A label that contradicts a logit of 1000 costs 1000 nats, one that agrees costs nothing.
for real_logit, fake_logit, flip in (
    (1000.0, -1000.0, 0.1),
    (-1000.0, 1000.0, 0.1),
    (1000.0, 1000.0, 0.25),
    (60.0, -60.0, 0.0),
):
    costs = max(-real_logit, 0) * (1 - flip) + max(real_logit, 0) * flip
    costs += max(fake_logit, 0) * (1 - flip) + max(-fake_logit, 0) * flip
    expect(
        f"the loss at logits {real_logit:g} (real) and {fake_logit:g} (fake), flip = {flip}",
        flipped_loss(np.float32([[real_logit]]), np.float32([[fake_logit]]), flip),
        costs,
        "a probability rounded to 0 or 1 has lost its logit: use a function of the logit itself.",
    )
# Three places with p = 4/8, 3/8, 1/8 and p_G = 1/8, 3/8, 4/8: at D* the loss must be stationary.
p_counts, q_counts = np.array([4, 3, 1]), np.array([1, 3, 4])
for flip in (0.0, 0.1, 0.4):
    best = ((1 - flip) * p_counts + flip * q_counts) / (p_counts + q_counts)
    slopes = []
    for place in range(3):
        values = []
        for step in (0.1, -0.1):
            logits = np.log(best / (1 - best)) + step * (np.arange(3) == place)
            logits = logits.astype("float32")[:, None]
            loss = flipped_loss(
                np.repeat(logits, p_counts, axis=0), np.repeat(logits, q_counts, axis=0), flip
            )
            values.append(float(loss))
        slopes.append((values[0] - values[1]) / 0.2)
    expect(
        f"the slope of the loss at the best discriminator, flip = {flip}",
        slopes,
        np.zeros(3),
        "the discriminator that pays least should be D* of the text above.",
        atol=1e-3,
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Feature matching (4 points)
#
# "Be taken for real" is an order that changes with every step of the discriminator. **Feature matching**
# (特征匹配, Salimans et al. 2016, section 3.1) gives the generator a quieter one: let your pictures have the
# same *mean features* as the real ones. The features $f(x)$, F numbers a picture, are what the
# discriminator's last hidden layer says:
#
# $$L_G = \Big\lVert \frac1N\sum_{i=1}^{N} f(x_i) - \frac1N\sum_{i=1}^{N} f(G(z_i)) \Big\rVert_2^2$$
#
# It is a squared length: a *sum* over the F features. The discriminator's own loss is unchanged.
#
# The class `TwoPlayers` below has everything but the train step. Write it: `train_step(self, images)`, with
# images of shape (N, ...), does in this order:
#
# 1. one step of the discriminator, by `self.discriminator_step(images)`, which returns its loss;
# 2. one step of the generator on $L_G$, with `self.features` of the discriminator *after* its step, and with
#    N **fresh** noise vectors from `self.sample_latents`. `generator_optimizer` moves the generator's
#    weights, and nothing else moves;
# 3. it returns a dict of the two trackers' results, under the trackers' names: means over the steps since
#    the last reset, as in the chapter. $L_G$ is the one before the generator's step.
#
# `fit` builds the step once as a graph, in which the size of a batch is still unknown (`None`), and the last
# batch may be short. `ops.shape(images)[0]` works in any case.


# %%
class TwoPlayers(keras.Model):
    """A generator and a discriminator with an optimizer each; a subclass adds `train_step`."""

    def __init__(self, generator, discriminator, latent_dim):
        super().__init__()
        self.generator = generator  # latents (N, latent_dim) to images (N, ...)
        self.discriminator = discriminator  # images (N, ...) to logits (N, 1)
        # Images (N, ...) to what the last hidden layer says about them, (N, F).
        self.features = keras.Model(discriminator.inputs, discriminator.layers[-2].output)
        self.latent_dim = latent_dim
        self.seed_generator = keras.random.SeedGenerator(0)
        self.discriminator_loss_tracker = keras.metrics.Mean(name="discriminator_loss")
        self.generator_loss_tracker = keras.metrics.Mean(name="generator_loss")

    def compile(self, generator_optimizer, discriminator_optimizer):
        super().compile(jit_compile=False)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        generator_optimizer.build(self.generator.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    def sample_latents(self, n):
        """Noise z ~ N(0, I) of shape (n, latent_dim), new with each call."""
        return keras.random.normal((n, self.latent_dim), seed=self.seed_generator)

    def discriminator_step(self, images):
        """Moves the discriminator, with noise of its own; returns its loss before the step."""
        fakes = self.generator(self.sample_latents(ops.shape(images)[0]), training=True)
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)
            fake_logits = self.discriminator(fakes, training=True)
            loss = ops.mean(ops.softplus(-real_logits)) + ops.mean(ops.softplus(fake_logits))
        variables = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply(tape.gradient(loss, variables), variables)
        return loss


def tiny_networks(seed=0):
    """Noise (N, 3) to points (N, 2), and points to logits by way of five features."""
    keras.utils.set_random_seed(seed)
    large = keras.initializers.RandomNormal(stddev=0.7)
    settings = {"kernel_initializer": large, "bias_initializer": large}
    generator = keras.Sequential(
        [keras.Input((3,)), layers.Dense(6, "tanh", **settings), layers.Dense(2, **settings)]
    )
    discriminator = keras.Sequential(
        [keras.Input((2,)), layers.Dense(5, "tanh", **settings), layers.Dense(1, **settings)]
    )
    return generator, discriminator


# %% solution="FeatureMatching"
class FeatureMatching(TwoPlayers):
    def train_step(self, images):
        """One step of the discriminator, then one of the generator on the features' means.

        Args:
            images: a batch (N, ...); N may be unknown while the graph is built.

        Returns:
            A dict: {name of a tracker: its result}.
        """
        ### BEGIN SOLUTION
        discriminator_loss = self.discriminator_step(images)
        latents = self.sample_latents(ops.shape(images)[0])
        real_mean = ops.mean(self.features(images, training=True), axis=0)
        with tf.GradientTape() as tape:
            fake_features = self.features(self.generator(latents, training=True), training=True)
            generator_loss = ops.sum(ops.square(real_mean - ops.mean(fake_features, axis=0)))
        variables = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(generator_loss, variables), variables)
        self.discriminator_loss_tracker.update_state(discriminator_loss)
        self.generator_loss_tracker.update_state(generator_loss)
        trackers = (self.discriminator_loss_tracker, self.generator_loss_tracker)
        return {tracker.name: tracker.result() for tracker in trackers}
        ### END SOLUTION


# %% tests="FeatureMatching" points=1
from aigc_keras.exercises import expect


def recorded(generator_rate, discriminator_rate, seed=0):
    """A compiled `FeatureMatching`, and the list of all noise that it will have drawn."""
    drawn = []

    class Recorded(FeatureMatching):
        def sample_latents(self, n):
            latents = super().sample_latents(n)
            drawn.append(np.asarray(latents, "float64"))
            return latents

    model = Recorded(*tiny_networks(seed), latent_dim=3)
    optimizers = (keras.optimizers.SGD(r) for r in (generator_rate, discriminator_rate))
    model.compile(*optimizers)
    return model, drawn


def matching_loss(generator_weights, discriminator_weights, latents, images):
    """The generator's loss in NumPy, float64."""
    w1, b1, w2, b2 = generator_weights
    v, c = discriminator_weights[:2]
    fakes = np.tanh(latents @ w1 + b1) @ w2 + b2
    mean_features = (np.tanh(x @ v + c).mean(axis=0) for x in (images, fakes))
    return ((next(mean_features) - next(mean_features)) ** 2).sum()


ring_points, _ = ak.datasets.arrays("ring", "train[:64]")
small_model, drawn = recorded(generator_rate=0.1, discriminator_rate=0.0)
before = [w.astype("float64") for w in small_model.generator.get_weights()]
results = dict(small_model.train_step(tf.constant(ring_points[:8])) or {})
expect(
    "how often noise was drawn in one train step",
    len(drawn),
    2,
    "discriminator_step draws its own noise; the generator's step needs fresh noise from "
    "sample_latents, once.",
)
expect(
    "'generator_loss' in what train_step returns",
    results.get("generator_loss"),
    matching_loss(before, small_model.discriminator.get_weights(), drawn[-1], ring_points[:8]),
    "first the mean over the batch, for real and generated features apart, then the squared length of "
    "the difference. And is it returned under the tracker's name?",
)
moved = sum(np.abs(a - b).sum() for a, b in zip(small_model.generator.get_weights(), before))
expect(
    "did the generator's weights move?",
    moved > 0,
    True,
    "the way from the noise to the loss must be recorded by the tape, and the gradient applied.",
)

# %% tests="FeatureMatching" points=3
from aigc_keras.exercises import expect

small_model, drawn = recorded(generator_rate=0.1, discriminator_rate=0.0, seed=1)
results = dict(small_model.train_step(tf.constant(ring_points[:5])) or {})
expect(
    "how many metrics train_step returns",
    len(results),
    2,
    "two trackers, two results.",
)
# More is tested when you hand in: the new weights of both players, several steps, `fit`.
### BEGIN HIDDEN TESTS


def expected_generator(weights, discriminator_weights, latents, images, rate, h=1e-5):
    """The generator's weights after a step of plain gradient descent, by finite differences."""
    new = [w.copy() for w in weights]
    for k, w in enumerate(weights):
        for at in np.ndindex(w.shape):
            values = []
            for step in (h, -h):
                shifted = [x.copy() for x in weights]
                shifted[k][at] += step
                values.append(matching_loss(shifted, discriminator_weights, latents, images))
            new[k][at] -= rate * (values[0] - values[1]) / (2 * h)
    return new


for seed, size, generator_rate, discriminator_rate in ((3, 5, 0.2, 0.7), (4, 1, 0.5, 0.1)):
    small_model, drawn = recorded(generator_rate, discriminator_rate, seed)
    rows = ring_points[8 * seed : 8 * seed + size]
    before = [w.astype("float64") for w in small_model.generator.get_weights()]
    small_model.train_step(tf.constant(rows))
    # The discriminator's own step, on a twin with the same seeds.
    twin, _ = recorded(generator_rate, discriminator_rate, seed)
    twin.discriminator_step(tf.constant(rows))
    for k, twin_weight in enumerate(twin.discriminator.get_weights()):
        expect(
            f"the discriminator's weight {k} after a train step ({size} points)",
            small_model.discriminator.get_weights()[k],
            twin_weight,
            "it may change in discriminator_step only: the generator's loss moves the generator.",
        )
    expect(
        "the shape of the generator's noise",
        drawn[-1].shape,
        (size, 3),
        "one noise vector for each picture of this batch.",
    )
    expect(
        "does the generator's step have noise of its own?",
        (drawn[-1] != drawn[0]).any(),
        True,
        "fresh noise, not the discriminator's.",
    )
    twin_weights = [w.astype("float64") for w in twin.discriminator.get_weights()]
    wanted = expected_generator(before, twin_weights, drawn[-1], rows, generator_rate)
    for k, wanted_weight in enumerate(wanted):
        expect(
            f"the generator's weight {k} after a train step ({size} points)",
            small_model.generator.get_weights()[k],
            wanted_weight,
            "gradient descent on the loss of the text, by generator_optimizer, against the "
            "discriminator as it is after its step.",
            rtol=1e-3,
            atol=1e-4,
        )

small_model, drawn = recorded(0.1, 0.05, seed=5)
single = []
for start in (0, 8, 16):
    generator_before = [w.astype("float64") for w in small_model.generator.get_weights()]
    rows = ring_points[start : start + 8]
    results = dict(small_model.train_step(tf.constant(rows)))
    weights = small_model.discriminator.get_weights()
    single.append(matching_loss(generator_before, weights, drawn[-1], rows))
expect(
    "'generator_loss' after three steps",
    results["generator_loss"],
    np.mean(single),
    "a tracker gives the mean over the steps since the last reset.",
)
expect(
    "is the noise of each step new?",
    (drawn[1] != drawn[-1]).any(),
    True,
    "fresh noise in each step.",
)

# In a graph, with batches of 4, 4 and 2.
trained = FeatureMatching(*tiny_networks(6), latent_dim=3)
trained.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
pipeline = tf.data.Dataset.from_tensor_slices(ring_points[:10]).batch(4)
history = trained.fit(pipeline, epochs=2, shuffle=False, verbose=0).history
expect(
    "the number of epochs that fit has recorded of each loss",
    [len(history.get(f"{player}_loss", [])) for player in ("discriminator", "generator")],
    [2, 2],
    "fit records what train_step returns, under the trackers' names.",
)
by_hand = FeatureMatching(*tiny_networks(6), latent_dim=3)
by_hand.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
for _ in range(2):
    by_hand.reset_metrics()
    for start in (0, 4, 8):
        results = by_hand.train_step(tf.constant(ring_points[start : min(start + 4, 10)]))
for name in ("discriminator_loss", "generator_loss"):
    expect(
        f"'{name}' of the last epoch of fit",
        history[name][-1],
        results[name],
        "fit, in a graph, should do the same as the step by hand: is there a number that Python "
        "computed only once, when the graph was built?",
        rtol=1e-3,
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Four runs: diagnose (4 points)
#
# The same small GAN on the ring of eight modes (模式), four times with other settings. Left: the
# discriminator's loss, and what *this run's generator* minimises, over the training; the dotted line is
# $2\log 2$. Right: samples (orange) over data (grey) at three moments. The settings are packed, so that the
# diagnosis comes from the pictures; unpacking them would not tell you much about your own next GAN.
#
# Neither the curves nor the points are enough, alone. Ask each run: who pays less than a player who guesses?
# Does anything still move, and if not, which of the two stands still first? What would the *other* formula of
# the generator's loss show there?
#
# Write one of these strings for each run (4 points, one less for a wrong one, two less for two, else none). A cause may occur more than
# once, or never:
#
# - `"healthy"`: a game in balance, with samples that get better;
# - `"mode collapse"` (模式崩溃): the generator makes nearly the same point from all noise, and runs away with
#   it when the discriminator has noticed;
# - `"no gradient"`: the discriminator has won, and the minimax generator hears nothing any more (梯度消失);
# - `"idle discriminator"`: the discriminator learns nothing, the generator has found its blind spot;
# - `"wrong sign"`: the generator wants to be recognised as fake;
# - `"diverging"`: learning rates so large that the losses jump ever further.

# %%
packed = "eJyrVnJUslKINtBRACE9UxBhYGCoo2CYqmtgGaujoOSEkDfUM4DLgymQvDNIHqQBoR9CgmVdoLoxZIHStQDmBxf3"
ring_train, _ = ak.datasets.arrays("ring", "train")
n_parts, n_steps = pick(4, 40), pick(1, 50)  # curves show means over n_steps steps


def play(objective, optimizer, spread, generator_rate, discriminator_rate):
    """Train on the ring; returns the curves of both losses, and samples at three moments."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = ak.gan.MLPGAN(
        (2,),
        latent_dim=8,
        generator_widths=(64, 64),
        discriminator_widths=(64, 64),
        dropout=0.0,
        objective=("non_saturating", "minimax")[objective],
        ema_momentum=0.9,
    )
    for average, weight in zip(model.ema_generator.weights, model.generator.weights):
        weight.assign(spread * weight)  # how far apart the first samples lie
        average.assign(weight)
    generator_optimizer = (
        keras.optimizers.Adam(generator_rate, beta_1=0.5),
        keras.optimizers.SGD(generator_rate, momentum=0.5),
    )[optimizer]
    model.compile(generator_optimizer, keras.optimizers.Adam(discriminator_rate, beta_1=0.5))

    @tf.autograph.experimental.do_not_convert  # it has nothing to convert
    def step(batch):
        return model.train_step(batch)["generator_loss"]

    def train(batches):
        return tf.map_fn(step, batches, parallel_iterations=1)

    if n_steps > 10:  # one graph for many steps is much faster, once it is built
        train = tf.function(train, autograph=False)
    losses, stages = {"discriminator": [], "generator": []}, []
    for part in range(1, n_parts + 1):
        model.reset_metrics()
        train(tf.constant(ring_train[rng.integers(len(ring_train), size=(n_steps, 128))]))
        for player, values in losses.items():
            values.append(float(model.get_metrics_result()[f"{player}_loss"]))
        if part in (n_parts // 4, n_parts // 2, n_parts):
            stages.append(model.generate(1000, seed=0))
    return losses, stages


unpacked = json.loads(zlib.decompress(base64.b64decode(packed))).items()
runs = {name: play(*numbers) for name, numbers in unpacked}

figure, axes = ak.plots.figure(columns=4, rows=4, size=(3.4, 3.2))
for row, (name, (losses, stages)) in zip(axes, runs.items()):
    for player, values in losses.items():
        row[0].plot(n_steps * np.arange(1, n_parts + 1), values, label=player)
    row[0].axhline(2 * np.log(2), color="black", linestyle=":", linewidth=1)
    row[0].set(ylim=(-1.0, 2.0), ylabel="loss")
    row[0].set_title(f"Run {name}", fontsize=18)
    for axis, points, part in zip(row[1:], stages, (n_parts // 4, n_parts // 2, n_parts)):
        axis.scatter(*ring_train[:1000].T, s=3, color="#999999")
        axis.scatter(*points.T, s=10, color=ak.plots.COLORS[1])
        axis.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), title=f"{name}, step {part * n_steps:,}")
        axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
axes[0, 0].legend(loc="center right", fontsize=12)
axes[-1, 0].set_xlabel("step")
figure

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": ""}
### BEGIN SOLUTION
diagnosis = {
    # The discriminator's loss is flat and worse than guessing: it could pay less at once by saying 1/2,
    # and does not. The generator sits where a discriminator that never learned says "real".
    "A": "idle discriminator",
    # All modes in the end, although the generator's loss rises.
    "B": "healthy",
    # The same picture as A, but this discriminator is right about everything. The generator's loss is 0
    # from below: log(1 - D), flat where D = 0. -log D would be large there.
    "C": "no gradient",
    # Losses near those of B, one point that jumps from cloud to cloud.
    "D": "mode collapse",
}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

causes = [
    "healthy",
    "mode collapse",
    "no gradient",
    "idle discriminator",
    "wrong sign",
    "diverging",
]
for name in "ABCD":
    expect_one_of(f"diagnosis[{name!r}]", diagnosis.get(name), causes)

# %% tests="diagnosis" points=4
from aigc_keras.exercises import wrong_names

# Whether the names are right is tested when you hand in.
assert any(diagnosis.values()), "diagnosis: nothing came.\nHint: look at the curves first."
### BEGIN HIDDEN TESTS
truth = {
    "A": "idle discriminator",
    "B": "healthy",
    "C": "no gradient",
    "D": "mode collapse",
}
wrong = wrong_names("diagnosis", diagnosis, truth)
if wrong:
    print(f"Look again at {', '.join(wrong)}.")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Is it as varied as reality? (4 points)
#
# The chapter asks a classifier whether the checkpoint draws what was asked for. The next cell asks the same
# about *real* test pictures. Look at the shirts: the drawn ones are recognised more often than the real ones!
# Can the copy be better than the original? Or has it left out what is difficult?
#
# Measure the **variety** (多样性) of a class $k$: how far apart, on average, two pictures of it lie in the 128
# features $f$ of the classifier. For two independent pictures $x, x'$ of the class
#
# $$V_k = \mathbb E\,\lVert f(x) - f(x') \rVert^2, \qquad r_k = V_k^{\text{generated}} / V_k^{\text{real}}$$
#
# Write `variety_ratio`, which gives for each of the ten classes the ratio and its **standard error**
# (标准误):
#
# - Estimate $V_k$ by the mean over all pairs of two *different* pictures of the class. A picture has no
#   distance to itself, so such pairs do not count. Each class has four pictures or more, and their number
#   may differ between classes and between generated and real. The labels come in any order.
# - The standard error of $r_k$ says how much $r_k$ would scatter if one took **other** pictures, generated
#   *and* real, of the same number. Any method will do (a formula, jackknife, bootstrap). It should be right
#   to within a quarter, in the average over many measurements. Careful: $n$ pictures make $n(n-1)/2$ pairs,
#   but the pairs share pictures and are far from independent.
# - Features (N, D), float32; labels (N,), integers 0 to 9. The result is `(ratios, standard_errors)`, each of
#   shape (10,), without units. A class whose generated pictures are all the same has ratio 0, error 0
#   (not NaN).

# %%
n_pictures = pick(600, 5000)
checkpoint = ak.checkpoints.load("conditional_gan_fashion_mnist")
fashion_features = ak.metrics.fashion_features()
real_pictures, real_labels = ak.datasets.arrays("fashion_mnist", f"test[:{n_pictures}]")
fake_labels = np.arange(n_pictures, dtype="int32") % 10
fake_pictures = checkpoint.generate(n_pictures, labels=fake_labels, seed=0)
fake_features, fake_probabilities = fashion_features.extract(fake_pictures)
real_features, real_probabilities = fashion_features.extract(real_pictures)
print("recognised as what they are:   generated    real")
for k, name in enumerate(classes):
    hits = [
        (probabilities[labels == k].argmax(axis=1) == k).mean()
        for probabilities, labels in (
            (fake_probabilities, fake_labels),
            (real_probabilities, real_labels),
        )
    ]
    print(f"  {name:28s} {hits[0]:9.0%} {hits[1]:7.0%}")


# %% solution="variety_ratio"
def variety_ratio(fake_features, fake_labels, real_features, real_labels):
    """How varied are the generated pictures of each class, compared with the real ones?

    Args:
        fake_features, real_features: (N, D) and (M, D), float32.
        fake_labels, real_labels: (N,) and (M,), integers 0 to 9.

    Returns:
        (ratios, standard_errors), each of shape (10,).
    """

    ### BEGIN SOLUTION
    def variety(features):
        # The mean over all pairs is twice the summed variance: the picture's own share of it is its
        # squared distance from the mean, and these shares are (nearly) independent.
        n = len(features)
        shares = 2 * n / (n - 1) * ((features - features.mean(axis=0)) ** 2).sum(axis=1)
        return shares.mean(), shares.std(ddof=1) / np.sqrt(n)

    ratios, errors = [], []
    for k in range(10):
        fake, fake_error = variety(np.asarray(fake_features, "float64")[fake_labels == k])
        real, real_error = variety(np.asarray(real_features, "float64")[real_labels == k])
        ratios.append(fake / real)
        errors.append(np.hypot(fake_error, fake / real * real_error) / real)
    return np.array(ratios), np.array(errors)
    ### END SOLUTION


# %% tests="variety_ratio" points=1
from aigc_keras.exercises import expect


def made_up(rng, n_fake, n_real, dim=6, scale=0.8):
    """Features of ten classes with the true ratio scale**2, in any order, and their labels."""
    parts = []
    for n, spread in ((n_fake, scale), (n_real, 1.0)):
        labels = rng.permutation(np.repeat(np.arange(10), n))
        centres = 5 * rng.normal(size=(10, dim))
        features = centres[labels] + spread * rng.normal(size=(10 * n, dim))
        parts += [features.astype("float32"), labels]
    return parts


# Seven pictures a class at the corners of a simplex, where any two lie sqrt(2) * side apart.
sides = {"fake": np.linspace(0.5, 1.4, 10), "real": np.linspace(2, 1, 10)}
corners = []
for lengths in sides.values():
    order = np.random.default_rng(0).permutation(70)
    rows = [k + length * np.eye(7) for k, length in enumerate(lengths)]
    corners += [np.concatenate(rows)[order].astype("float32"), order // 7]
ratios, _ = variety_ratio(*corners)
expect(
    "the ratios of made-up features whose distances are known",
    ratios,
    (sides["fake"] / sides["real"]) ** 2,
    "the mean squared distance of two pictures of one class: the sum over the features, the mean over "
    "the pairs; generated divided by real.",
    rtol=1e-3,
)
_, errors = variety_ratio(*made_up(np.random.default_rng(0), 12, 12))
expect(
    "how many standard errors are finite and above 0",
    np.sum(np.isfinite(np.asarray(errors)) & (np.asarray(errors) > 0)),
    10,
    "each class has an error of its own.",
)
ratios, errors = (
    np.asarray(x) for x in variety_ratio(fake_features, fake_labels, real_features, real_labels)
)
for k in np.argsort(ratios):
    print(f"{classes[k]:12s} {ratios[k]:.3f} ± {errors[k]:.3f}")

# %% tests="variety_ratio" points=3
from aigc_keras.exercises import expect

ratios, errors = variety_ratio(*made_up(np.random.default_rng(1), 10, 10))
expect(
    "the shape of the standard errors",
    np.shape(errors),
    (10,),
    "one number a class.",
)
# More is tested when you hand in: unequal numbers, whether the errors are true, a class without variety.
### BEGIN HIDDEN TESTS


def ratio_by_pairs(fake_features, fake_labels, real_features, real_labels):
    """The ten ratios, pair by pair."""
    ratios = []
    for k in range(10):
        varieties = []
        for features, labels in ((fake_features, fake_labels), (real_features, real_labels)):
            mine = features[labels == k].astype("float64")
            others = range(1, len(mine))  # picture i with picture i + s, for all shifts s
            squared = [((mine - np.roll(mine, s, axis=0)) ** 2).sum(axis=1) for s in others]
            varieties.append(np.mean(squared))
        ratios.append(varieties[0] / varieties[1])
    return np.array(ratios)


rng = np.random.default_rng(2)
for n_fake, n_real in ((5, 25), (30, 4)):
    example = made_up(rng, n_fake, n_real, dim=3)
    expect(
        f"the ratios of {n_fake} generated and {n_real} real pictures a class",
        variety_ratio(*example)[0],
        ratio_by_pairs(*example),
        "pairs of two different pictures only, of one class, and each set with its own number.",
        rtol=1e-3,
    )
fake, labels, real, other_labels = made_up(rng, 20, 20)
kept = rng.uniform(size=len(labels)) < np.linspace(0.3, 1, 10)[labels]
kept |= np.arange(len(labels)) % 3 == 0
uneven = fake[kept], labels[kept], real, other_labels
expect(
    "the ratios of classes of different sizes",
    variety_ratio(*uneven)[0],
    ratio_by_pairs(*uneven),
    "the classes need not have the same number of pictures.",
    rtol=1e-3,
)

for n_fake, n_real in ((30, 20), (20, 60)):
    measured = [variety_ratio(*made_up(rng, n_fake, n_real)) for _ in range(40)]
    scatter = np.std([ratios for ratios, _ in measured])  # 400 ratios that are meant to be alike
    reported = np.sqrt(np.mean([np.square(errors) for _, errors in measured]))
    expect(
        f"standard error, reported / true ({n_fake} generated, {n_real} real pictures a class)",
        reported / scatter,
        1.0,
        "how much would the ratio scatter with other pictures, generated and real? Pairs that share "
        "a picture are not independent.",
        rtol=0,
        atol=0.25,
    )

fake, labels, real, other_labels = made_up(rng, 6, 9)
fake[labels == 3] = 0.5
ratios, errors = variety_ratio(fake, labels, real, other_labels)
expect(
    "(ratio, error) of a class whose generated pictures are all the same",
    [ratios[3], errors[3]],
    [0.0, 0.0],
    "no variety, whatever picture one takes: where do you divide by 0?",
)

again = np.arange(pick(500, 1500), dtype="int32") % 10
new_features, _ = fashion_features.extract(checkpoint.generate(len(again), labels=again, seed=7))
first, first_error = variety_ratio(fake_features, fake_labels, real_features, real_labels)
second, second_error = variety_ratio(new_features, again, real_features, real_labels)
expect(
    "the ratios of the checkpoint, against pairs of other pictures that it drew, in standard errors",
    (np.asarray(first) - ratio_by_pairs(new_features, again, real_features, real_labels))
    / np.hypot(first_error, second_error),
    np.zeros(10),
    "two measurements of the same thing should agree within a few of their errors.",
    atol=4.5,
)
### END HIDDEN TESTS

# %%
ak.plots.bars(
    ratios,
    errors,
    [name.replace(" ", "\n") for name in classes],
    ylabel="variety, generated / real",
    title="1 would be as varied as reality",
)

# %% [markdown]
# Which class has lost most? Look at its hit rate again. What the classifier takes for something else is often
# what is *unusual*, and a generator that leaves out the unusual is recognised more often. So a hit rate above that
# of reality is no praise; the recall of 0.65 in the chapter's score was the hint.

# %% [markdown]
# ## 5. Between two garments (4 points)
#
# The chapter walks between two *noise vectors* and keeps the class. Now keep the noise and walk between two
# **classes**. A label is a whole number, so there is nothing between 1 and 3, but the generator's first layer
# turns a label into a vector, its **embedding** (嵌入) $e_k$, and between two vectors there is a line:
#
# $$e(t) = (1 - t)\, e_a + t\, e_b, \qquad t = 0,\ 0.1,\ \dots,\ 1$$
#
# The generator has never been trained with such a vector. Does it make a garment of it, and where on the way
# does the one become the other?
#
# **What to make.** Set `garments = (a, b)`, two class numbers of your choice, and make `walk`: float32 in
# [-1, 1] of shape (8, 11, 28, 28, 1). Row $i$ uses the noise vector `walk_latents[i]` everywhere, column $j$
# the embedding $e(t_j)$ from `garments[0]` to `garments[1]`. Its ends are what
# `checkpoint.decode(walk_latents, labels)` draws, by the averaged generator `checkpoint.ema_generator`. That
# is a Keras model whose `layers` are the ones of `dcgan_generator` in the chapter: one of them holds the
# embeddings, and `keras.Model(tensor_inside, generator.output)` is the part of a network behind a tensor.
# Show the walk in a figure, with whatever supports your statement: for example the probabilities that
# `fashion_features` (task 4) gives for each class along the way, over many more noise vectors than eight.
#
# **What to write**, in half a page: where on the way does the class change? A program gives 1 point for `walk`.
# A person gives 3:
#
# - 1 for a figure that one can read without the text (labels, $t$, classes) and that shows the walk and a
#   measurement;
# - 1 for a statement with numbers: at which $t$, with which spread over the noise vectors, how many of them,
#   suddenly or slowly, by way of a third class or not;
# - 1 for saying what follows and what does not: compare with your eye, with what fading one picture into the
#   other would look like, or with what the classifier can know about garments that do not exist.

# %%
walk_latents = checkpoint.sample_latents(8, seed=5).numpy()  # (8, 64)

# %% solution="walk"
garments = (1, 3)  # from, to: choose your own
### BEGIN SOLUTION
generator = checkpoint.ema_generator
embeddings = next(x for x in generator.layers if isinstance(x, layers.Embedding)).embeddings.numpy()
joined = next(x for x in generator.layers if isinstance(x, layers.Concatenate))
behind = keras.Model(joined.output, generator.output)  # (N, 64 + 64) to pictures
ts = np.linspace(0, 1, 11)


def walk_with(latents):
    """(N, 64) to pictures (N, 11, 28, 28, 1)."""
    way = np.outer(1 - ts, embeddings[garments[0]]) + np.outer(ts, embeddings[garments[1]])
    inputs = [np.repeat(latents, 11, axis=0), np.tile(way, (len(latents), 1))]
    inputs = np.concatenate(inputs, axis=1).astype("float32")
    return behind.predict(inputs, batch_size=220, verbose=0).reshape(-1, 11, 28, 28, 1)


walk = walk_with(walk_latents)

many = walk_with(checkpoint.sample_latents(pick(30, 200), seed=6).numpy())
_, says = fashion_features.extract(many.reshape(-1, 28, 28, 1))
says = says.reshape(len(many), 11, 10)
start, end = (says[:, :, k] for k in garments)
# Where the end becomes more probable than the start, interpolated between two steps.
lead, rows = end - start, np.arange(len(many))
after = np.maximum(np.argmax(lead > 0, axis=1), 1)
before, behind_it = lead[rows, after - 1], lead[rows, after]
change = ts[after - 1] + 0.1 * before / (before - behind_it)
kinds = says.argmax(axis=2)
third = np.mean(((kinds != garments[0]) & (kinds != garments[1])).any(axis=1))
width = np.mean((np.maximum(start, end) < 0.9).sum(axis=1)) * 0.1
print(f"change at t = {change.mean():.2f}, spread {change.std():.2f}, {len(many)} walks")
print(f"neither class above 90 % over a stretch of {width:.2f}; a third class in {third:.0%}")

figure, (top, bottom) = ak.plots.figure(
    rows=2, size=(8.8, 5.6), sharex=True, height_ratios=[2.3, 1]
)
picture = ak.plots.tile(walk.reshape(-1, 28, 28, 1), columns=11)
top[0].imshow(picture, extent=(-0.05, 1.05, 0, 0.8), aspect="auto", interpolation="nearest")
top[0].grid(False)
top[0].set(yticks=[], ylabel="one noise vector a row")
top[0].set_title(f"from {classes[garments[0]]} to {classes[garments[1]]}")
for k in garments:
    low, middle, high = np.quantile(says[:, :, k], [0.25, 0.5, 0.75], axis=0)
    (line,) = bottom[0].plot(ts, middle, label=classes[k])
    bottom[0].fill_between(ts, low, high, alpha=0.2, color=line.get_color())
bottom[0].set(xlabel="t: how much of the second embedding", ylabel="probability", xticks=ts)
bottom[0].legend(title="median and middle half", loc="center left")
figure
### END SOLUTION

# %% tests="walk" points=1
from aigc_keras.exercises import expect

expect(
    "the shape of walk",
    np.shape(walk),
    (8, 11, 28, 28, 1),
    "eight noise vectors, eleven values of t.",
)
first, last = garments
for column, label in ((0, first), (10, last)):
    expect(
        f"the pictures at t = {column / 10:g}",
        np.asarray(walk)[:, column],
        checkpoint.decode(walk_latents, np.full(8, label, "int32")),
        "at the ends it is the checkpoint's own garment, with the noise of walk_latents.",
        atol=5e-3,
    )
expect(
    "are the two garments different?",
    first != last,
    True,
    "choose two classes.",
)
# Also tested when you hand in: whether the pictures between are the generator's.
### BEGIN HIDDEN TESTS
# An independent way: a copy of the generator, in whose table of embeddings one row is overwritten.
copy = keras.models.clone_model(checkpoint.ema_generator)
copy.set_weights(checkpoint.ema_generator.get_weights())
table = next(x for x in copy.layers if isinstance(x, layers.Embedding)).embeddings
original = table.numpy()
for column in (2, 5, 9):
    changed = original.copy()
    changed[first] = original[first] + column / 10 * (original[last] - original[first])
    table.assign(changed)
    expect(
        f"the pictures at t = {column / 10:g}",
        np.asarray(walk)[:, column],
        copy([walk_latents, np.full(8, first, "int32")], training=False),
        "the generator's picture of the embedding between, not a mixture of pictures, and the "
        "same noise all along the row.",
        atol=5e-3,
    )
### END HIDDEN TESTS

# %% [markdown] open="walk" points=3
# From trousers to dresses, over 200 noise vectors, the dress becomes the more probable class at $t = 0.54$ in the
# mean, with a standard deviation of 0.15 between the noise vectors. The mean is known to 0.15 / √200 = 0.01, so
# the change lies a little behind the middle, but for a single pair of trousers that says little: where it happens
# depends on the noise. A third class comes in between in 5 % of the walks.
#
# For one noise vector the change takes about two steps of 0.1, in which neither class has 90 %. The bands in the
# figure are wider than that, because the walks change at different places. The pictures themselves change evenly:
# the gap between the legs becomes narrower, closes, and sleeves grow in some rows. Where the class changes there
# is nothing special to be seen. So the jump is the classifier's, whose probabilities must decide, more than the
# generator's.
#
# Had we faded one picture into the other, the middle would be a double exposure: a grey gap with the old edges.
# Here it is one garment with a narrower gap: the generator has made a shape of an embedding that it never saw. It
# does not follow that such a garment exists, or that half of us would call it a dress. The classifier has seen
# real garments only, and what it says about what lies between them nobody has taught it.
