# %% [markdown]
# # Problem set 04: Diffusion (扩散模型)
#
# You need chapter 04: the forward process and $\bar\alpha$, what a network predicts, the samplers, and how
# diffusion fails. Data are points in the plane, and in task 5 the checkpoint that draws garments.
#
# | task | points |
# |---|---|
# | 1. A chain with fewer steps: finish a formula | 4 |
# | 2. Times without clumps: finish a train step | 4 |
# | 3. Four runs: diagnose | 4 |
# | 4. Until when can noise be undone? Measure | 4 |
# | 5. Something the chapter did not draw: a picture and an argument | 4 |
#
# The tasks do not need each other's answers. Run the test cells, or type
# `make check EX=04`; the last points of a task are given by tests that you cannot see. This notebook
# keeps its name.

# %%
import base64
import math

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

keras.utils.set_random_seed(0)
classes = ak.datasets.class_names("fashion_mnist")

# %% [markdown]
# ## 1. A chain with fewer steps (4 points)
#
# A network was trained with $T$ steps, with $\beta_1, \dots, \beta_T$, and without any formula of time behind them: only
# these numbers are known. Now DDPM shall sample in fewer steps. Nichol and Dhariwal (2021, *Improved denoising diffusion
# probabilistic models*, arXiv:2102.09672, section 4) keep some of the times,
#
# $$1 \le t_1 < t_2 < \dots < t_S \le T,$$
#
# and give the shorter chain (**respacing**, 时间步重选) betas of its own, $\tilde\beta_1, \dots, \tilde\beta_S$, so that after its $i$-th
# step $x$ is distributed exactly as it was after step $t_i$ of the long chain, for every $x_0$: the network meets nothing new. The
# times before $t_1$ are part of the first step; those after $t_S$ are given up.
#
# Write `respaced_betas(betas, kept)`:
#
# - `betas`: NumPy float64, (T,); `betas[0]` is $\beta_1$. They lie between 1e-15 and 0.99, and $T$ may be as large as 5000.
# - `kept`: NumPy integers, (S,), increasing: the times $t_i$. They count from 1, as in the formulas.
# - The result: (S,), the $\tilde\beta_i$, each with a relative error below 1e-4. In float64 `1 - 1e-17` is 1, and
#   `0.5**2000` is 0: neither may harm your result. (`np.log1p` and `np.expm1` are there for a reason.)


# %% solution="respaced_betas"
def respaced_betas(betas, kept):
    """The betas of the chain that visits only some of the times.

    Args:
        betas: (T,), those of the single steps 1 ... T.
        kept: (S,), the times to keep, increasing integers from 1 to T.

    Returns:
        (S,), the betas of the steps 0 -> kept[0] -> kept[1] -> ...
    """
    ### BEGIN SOLUTION
    starts = np.append(0, kept[:-1])  # a sum for each stretch: differences of sums lose digits
    return -np.expm1(np.add.reduceat(np.log1p(-betas[: kept[-1]]), starts))
    ### END SOLUTION


# %% tests="respaced_betas" points=1
from aigc_keras.exercises import expect
import numpy as np

rng = np.random.default_rng(0)
betas = rng.uniform(0.02, 0.3, size=12)
expect(
    "respaced_betas with all 12 times kept",
    respaced_betas(betas, np.arange(1, 13)),
    betas,
    "if nothing is left out, nothing changes. Do your times count from 1?",
)
expect(
    "respaced_betas with only the last time kept",
    respaced_betas(betas, np.array([12])),
    [1 - np.prod(1 - betas)],
    "one step has to do what all of them did: how much of the signal is left at the end?",
)
# 100,000 walkers from x_0 = 1 along the long chain; the mean at the kept times.
kept, walkers, means = np.array([2, 3, 7, 12]), np.ones(100_000), []
for t, beta in enumerate(betas, start=1):
    walkers = np.sqrt(1 - beta) * walkers + np.sqrt(beta) * rng.normal(size=len(walkers))
    if t in kept:
        means.append(walkers.mean())
expect(
    "mean of x after each step of the short chain, compared with 100,000 walkers on the long one",
    np.cumprod(np.sqrt(1 - np.asarray(respaced_betas(betas, kept), "float64"))),
    means,
    "a short step from one kept time to the next joins all the steps between: which betas are those?",
    atol=5 / 100_000**0.5,
)

# %% tests="respaced_betas" points=3
from aigc_keras.exercises import expect
import numpy as np

# More is tested when you hand in: other times, T = 5000, very small betas.
expect(
    "the first of two steps kept",
    respaced_betas(np.array([0.1, 0.2]), np.array([1])),
    [0.1],
    "times after the last kept one are given up.",
)
### BEGIN HIDDEN TESTS
for seed, (T, S) in enumerate([(1000, 50), (37, 5), (10, 9), (400, 1)]):
    rng = np.random.default_rng(seed)
    betas = rng.uniform(1e-4, 0.02, size=T)
    kept = np.sort(rng.choice(np.arange(2, T), size=min(S, T - 2), replace=False))
    expect(
        f"{len(kept)} of {T} times, none of them the first or the last",
        respaced_betas(betas, kept),
        [1 - np.prod(1 - joined) for joined in np.split(betas, kept)[:-1]],
        "each short step joins the single steps after the last kept time, up to and with the next.",
        rtol=1e-4,
        atol=0,
    )
twice = respaced_betas(
    np.asarray(respaced_betas(betas, np.arange(2, 401, 2))), np.arange(5, 201, 5)
)
expect(
    "every second time, and of those every fifth: the same as every tenth",
    twice,
    respaced_betas(betas, np.arange(10, 401, 10)),
    "a short chain is a chain like any other.",
    rtol=1e-4,
    atol=0,
)
gaps = np.array([3, 1, 2, 900, 94, 1500, 1, 2499])
expect(
    "5000 betas of 0.5: alpha-bar ends at 2 to the power of -5000",
    respaced_betas(np.full(5000, 0.5), np.cumsum(gaps)),
    1 - 0.5**gaps,
    "0 / 0 is NaN: add logarithms instead of dividing products.",
    rtol=1e-4,
    atol=0,
)
expect(
    "betas of 1e-15, in steps of 1, 10 and 100 of them",
    respaced_betas(np.full(111, 1e-15), np.array([1, 11, 111])),
    [1e-15, 1e-14, 1e-13],
    "1 - beta rounds: log(1 - beta) and 1 - exp(...) have functions that keep the digits.",
    rtol=1e-4,
    atol=0,
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Times without clumps (4 points)
#
# The loss depends strongly on the time. The chapter draws each picture's time independently: in a batch of four, all four may be
# late ones, and the loss jumps for no other reason. Kingma et al. (2021, *Variational diffusion models*, arXiv:2107.00630)
# draw **one** number $u$, uniform in $[0, 1)$, for the whole batch, and spread the times evenly
# (**low-discrepancy**, 低差异采样):
#
# $$t_i = \Big(u + \frac{i}{B}\Big) \bmod 1, \qquad i = 0, \dots, B - 1$$
#
# Each single time is uniform as before, but each of the $B$ equal parts of $[0, 1)$ holds exactly one. Here time is continuous, and the
# schedule is a quarter of a circle: with $\varphi = \tfrac{\pi}{2} t$ the signal rate is $\cos\varphi$ and the noise rate $\sin\varphi$. The network
# predicts the **velocity** of the chapter's table.
#
# The class `PointDiffusion` below has all but the two methods that you write:
#
# `corrupt(self, data, u, noise)` returns `noisy` (B, D), `times` (B,) and `target` (B, D).
#
# - `data` and `noise` are float32 tensors (B, D), `u` is a scalar tensor. Point number $i$ of the batch gets the time $t_i$.
# - Draw nothing in it. `fit` makes a TensorFlow graph of it: no `.numpy()`, and $B$ is known only when it runs, so take
#   `ops.shape(data)[0]`.
#
# `train_step(self, data)` makes one step and returns a dict of names and results.
#
# - `u, noise = self.draw(data)` is the only randomness. The network is called as `self.network([noisy, times], training=True)`.
# - The loss is the mean of the squared error over all points and their $D$ numbers. `self.optimizer` moves the network's weights.
# - Two trackers. `loss` is, over an epoch, the mean over all *points* of a point's squared error (a mean over its $D$ numbers); `late_loss`
#   the same over those points only whose time is at least 0.5. A short batch has fewer points and counts less. A tracker's
#   `update_state(values, sample_weight=...)` takes a vector of values, and of weights.
# - Return `{"loss": ..., "late_loss": ...}`, the trackers' results, from errors made before the weights moved.


# %%
class PointDiffusion(keras.Model):
    """Points (B, D) that are noised along a quarter of a circle, times spread over the batch."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.late_tracker = keras.metrics.Mean(name="late_loss")
        self.seed_generator = keras.random.SeedGenerator(0)
        self.built = True

    @property
    def metrics(self):
        return [self.loss_tracker, self.late_tracker]

    def draw(self, data):
        """u, a scalar, and noise, shaped like the data."""
        u = keras.random.uniform((), seed=self.seed_generator)
        return u, keras.random.normal(ops.shape(data), seed=self.seed_generator)


def linear_network(dim):
    """The smallest network: (noisy, time) times one matrix (dim + 1, dim)."""
    noisy, times = keras.Input((dim,)), keras.Input(())
    x = layers.Concatenate()([noisy, layers.Reshape((1,))(times)])
    return keras.Model([noisy, times], layers.Dense(dim, use_bias=False)(x))


# %% solution="SpreadDiffusion"
class SpreadDiffusion(PointDiffusion):
    """A `PointDiffusion` that can be trained."""

    def corrupt(self, data, u, noise):
        """(noisy (B, D), times (B,), target (B, D)) of data (B, D), scalar u, noise (B, D)."""
        ### BEGIN SOLUTION
        batch_size = ops.shape(data)[0]
        shifts = ops.cast(ops.arange(batch_size), "float32") / ops.cast(batch_size, "float32")
        times = (u + shifts) % 1.0
        angles = 0.5 * math.pi * times[:, None]
        noisy = ops.cos(angles) * data + ops.sin(angles) * noise
        return noisy, times, ops.cos(angles) * noise - ops.sin(angles) * data
        ### END SOLUTION

    def train_step(self, data):
        """One step on data (B, D): {"loss": ..., "late_loss": ...}, the trackers' results."""
        ### BEGIN SOLUTION
        u, noise = self.draw(data)
        noisy, times, target = self.corrupt(data, u, noise)
        with tf.GradientTape() as tape:
            output = self.network([noisy, times], training=True)
            errors = ops.mean(ops.square(output - target), axis=-1)
            loss = ops.mean(errors)
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        self.loss_tracker.update_state(errors)
        self.late_tracker.update_state(errors, sample_weight=times >= 0.5)
        return {tracker.name: tracker.result() for tracker in self.metrics}
        ### END SOLUTION


# %% tests="SpreadDiffusion" points=1
from aigc_keras.exercises import expect
import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
data, noise = (tf.constant(rng.normal(size=(4, 2)), "float32") for _ in range(2))
model = SpreadDiffusion(linear_network(2))
model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
model.network.set_weights([np.zeros((3, 2))])  # a network that always answers 0
corrupted = model.corrupt(data, tf.constant(0.05), noise)
expect(
    "how many things corrupt returns",
    0 if corrupted is None else len(corrupted),
    3,
    "noisy, times, target: is there a `return`?",
)
noisy, times, target = corrupted
expect(
    "times for u = 0.05 and four points",
    times,
    [0.05, 0.3, 0.55, 0.8],
    "one u for all; how far apart are four times that share the unit interval evenly?",
)
# In the plane of data and noise, velocity and x_t are one arrow, turned by the angle.
turned = (data.numpy() + 1j * noise.numpy()) * np.exp(-0.5j * np.pi * np.array(times))[:, None]
expect("noisy", noisy, turned.real, "rates of the point's own time; squared they add up to 1.")
expect(
    "target", target, turned.imag, "the velocity, of the same noise that went into the noisy point."
)
model.draw = lambda data: (tf.constant(0.05), noise)
results = model.train_step(data)
errors = np.mean(turned.imag**2, axis=1)
for name, wanted in (("loss", errors.mean()), ("late_loss", errors[2:].mean())):
    expect(
        f"{name} after the first step of a network that answers 0",
        (results or {}).get(name),
        wanted,
        "a point's error is the mean over its D numbers; two of the four times are late.",
    )

# %% tests="SpreadDiffusion" points=3
from aigc_keras.exercises import expect
import keras
import numpy as np
import tensorflow as tf

# More is tested when you hand in: other u, B and D, the weights after a step, several batches, fit.
model = SpreadDiffusion(linear_network(1))
one = tf.ones((1, 1))
expect(
    "times of a single point, u = 0.25",
    model.corrupt(one, tf.constant(0.25), one)[1],
    [0.25],
    "with B = 1 the time is u.",
)


### BEGIN HIDDEN TESTS
def by_hand(data, u, noise):
    """Inputs of the network, target and times, with NumPy."""
    times = np.array([math.modf(u + i / len(data))[0] for i in range(len(data))])
    turned = (data + 1j * noise) * np.exp(-0.5j * np.pi * times)[:, None]
    return np.concatenate([turned.real, times[:, None]], axis=1), turned.imag, times


for seed, (batch_size, dim, u) in enumerate([(7, 3, 0.93), (64, 2, 0.5), (5, 1, 0.31)]):
    rng = np.random.default_rng(seed)
    data, noise = rng.normal(size=(2, batch_size, dim)).astype("float32")
    model = SpreadDiffusion(linear_network(dim))
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    noisy, times, target = model.corrupt(tf.constant(data), tf.constant(u), tf.constant(noise))
    inputs, velocity, late = by_hand(data, u, noise)
    what = f"u = {u}, B = {batch_size}, D = {dim}"
    expect(f"times, {what}", times, late, "modulo 1: a time never leaves [0, 1).", atol=1e-4)
    expect(
        f"points in each of the {batch_size} parts of [0, 1), {what}",
        np.histogram((np.array(times, "float64") + 1e-5) % 1, bins=batch_size, range=(0, 1))[0],
        np.ones(batch_size),
        "every part of the unit interval has exactly one time.",
    )
    expect(f"noisy, {what}", noisy, inputs[:, :-1], "the rates of t, after the modulo.", atol=1e-4)
    expect(f"target, {what}", target, velocity, "the velocity, as in the chapter.", atol=1e-4)
    # One step of gradient descent on a mean of squares, by hand.
    matrix = rng.normal(size=(dim + 1, dim))
    model.network.set_weights([matrix])
    model.draw = lambda data, u=u, noise=noise: (tf.constant(u), tf.constant(noise))
    model.train_step(tf.constant(data))
    gradient = 2 * inputs.T @ (inputs @ matrix - velocity) / velocity.size
    expect(
        f"the network's matrix after a step of SGD, {what}",
        model.network.get_weights()[0],
        matrix - 0.1 * gradient,
        "the gradient of the mean over all numbers, with u and noise from self.draw.",
        rtol=1e-3,
        atol=1e-4,
    )
# Two batches of different sizes, one tracker.
model = SpreadDiffusion(linear_network(2))
model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
matrix = rng.normal(size=(3, 2))
model.network.set_weights([matrix])
errors, times = [], []
for batch_size, scale, u in ((6, 1.0, 0.8), (3, 4.0, 0.05)):
    data = scale * rng.normal(size=(batch_size, 2)).astype("float32")
    noise = rng.normal(size=data.shape).astype("float32")
    model.draw = lambda data, u=u, noise=noise: (tf.constant(u), tf.constant(noise))
    results = model.train_step(tf.constant(data))
    inputs, velocity, its_times = by_hand(data, u, noise)
    errors.extend(np.mean((inputs @ matrix - velocity) ** 2, axis=1))
    times.extend(its_times)
errors, late = np.array(errors), np.array(times) >= 0.5
for name, wanted in (("loss", errors.mean()), ("late_loss", errors[late].mean())):
    expect(
        f"{name} after batches of 6 and of 3 points",
        results[name],
        wanted,
        "a mean over all points of the epoch so far; a tracker needs the errors of the single points, or their number.",
        rtol=1e-3,
    )
# Times 0.5 and 0: one point lies on the border.
model = SpreadDiffusion(linear_network(1))
model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
model.network.set_weights([np.zeros((2, 1))])
model.draw = lambda data: (tf.constant(0.5), tf.zeros((2, 1)))
expect(
    "late_loss of data 3 and 1 without noise, u = 0.5",
    model.train_step(tf.constant([[3.0], [1.0]]))["late_loss"],
    9 / 2,  # the velocity at time 0.5 is -3 sin(pi / 4)
    "at least 0.5: a time of exactly 0.5 is late.",
)
# In fit, as a graph, where the last batch is short and B is not known beforehand.
model = SpreadDiffusion(linear_network(2))
model.compile(keras.optimizers.Adam(0.1), jit_compile=False)
calls, draw = [], model.draw


def spying_draw(data):
    calls.append(data.shape[0])  # None in a graph
    return draw(data)


model.draw = spying_draw
fitted = rng.normal(size=(100, 2)).astype("float32") * 0.1
history = model.fit(
    tf.data.Dataset.from_tensor_slices(fitted).batch(32), epochs=15, shuffle=False, verbose=0
)
expect("calls of self.draw in fit (1: yes)", len(calls) > 0, 1, "self.draw is where u comes from.")
expect(
    "the loss falls in fit (1: yes)",
    np.mean(history.history["loss"][-3:]) < 0.8 * history.history["loss"][0],
    1,
    "are the weights moved, also when the step is a graph?",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Four runs (4 points)
#
# Points in three clouds of the chapter's ring. They are not equally frequent: three quarters of the points lie in the first. Four networks of the
# same size, with the same first weights, learn to predict the velocity. Then DDPM starts from noise from $\mathcal N(0, I)$ and draws 2000
# points. For each run, A to D, find what it is:
#
# | answer | what happened |
# |---|---|
# | `"healthy"` | all as it should be (a network trained for seconds leaves a few strays between the clouds) |
# | `"no time"` | the network is not told the time: its second input is always 0, in training and in sampling |
# | `"signal left"` | the noise schedule stops early: at its end $x$ is still more signal than noise |
# | `"last noise"` | the last step of the sampler adds noise, too, as all the others do |
# | `"few steps"` | the sampler has four steps only |
# | `"wrong target"` | the network has learned the noise; the sampler takes its answer for the velocity |
#
# An answer may fit several runs or none. The settings are packed so that nobody reads the answers by accident; unpacking them
# teaches nothing. The figure shows, from above: the training loss; the points drawn (orange) over real ones (grey); how
# many of the points lie nearest to each of the three clouds. 4 points; 3 with one
# wrong answer, 2 with two, else none.

# %%
train_steps = ak.profile.pick(fast=20, lesson=2000)
ring, ring_labels = ak.datasets.arrays("ring")
clouds = (0, 3, 5)
frequency = np.array([1, 0, 0, 1 / 6, 0, 1 / 6, 0, 0])[ring_labels]
points = ring[np.random.default_rng(0).random(len(ring)) < frequency]
packed = "AACAP83MTD4AAMhBAAAAAAAAgD8AAIA/AADIQQAAgD8AAIA/AACAPwAAyEEAAAAAAAAAAAAAgD8AAMhBAAAAAA=="
all_settings = np.frombuffer(base64.b64decode(packed), "<f4").reshape(4, 4)
network = ak.diffusion.mlp(2, widths=(64, 64, 64))
optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, train_steps))
optimizer.build(network.trainable_variables)
states = [(state, state.numpy()) for state in network.variables + optimizer.variables]
answer = tf.function(network, autograph=False)


@tf.function(autograph=False)
def train(noisy, times, targets):
    """Losses (steps,) of as many steps as there are batches: noisy (steps, B, 2), ..."""

    def step(previous_loss, batch):
        noisy, times, target = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network([noisy, times], training=True) - target) ** 2)
        optimizer.apply(tape.gradient(loss, network.trainable_variables))
        return loss

    return tf.scan(step, (noisy, times, targets), initializer=0.0)


def run(settings):
    """(losses, points drawn) of one run from the first weights."""
    a, b, c, d = (float(value) for value in settings)
    for state, beginning in states:
        state.assign(beginning)
    rng = np.random.default_rng(0)

    def noise_schedule(times):
        return ak.diffusion.cosine(b * np.asarray(times))

    losses = []
    for _ in range(20):
        data = points[rng.integers(0, len(points), (train_steps // 20, 128))]
        times, noise = rng.random(data.shape[:2]), rng.normal(size=data.shape)
        alpha_bar = noise_schedule(times)[..., None]
        rates = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
        noisy = rates[0] * data + rates[1] * noise
        targets = ak.diffusion.prediction_target("velocity", data, noise, *rates)
        batches = (tf.constant(x, "float32") for x in (noisy, a * times, targets))
        losses.append(train(*batches).numpy().mean())

    def denoise(noisy, time, *rates):
        output = answer([noisy, tf.fill(tf.shape(noisy)[:1], a * time)])
        return ak.diffusion.Denoised(*ak.diffusion.components("velocity", output, noisy, *rates))

    sampler = ak.diffusion.DDPM(int(c))
    start = rng.normal(size=(2000, 2)).astype("float32")
    drawn = sampler.sample(denoise, start, noise_schedule, seed=1).numpy()
    last = np.sqrt(1 - noise_schedule(1 / sampler.steps))
    return losses, drawn + d * last * rng.normal(size=(2000, 2))


runs = dict(zip("ABCD", (run(settings) for settings in all_settings)))

# %%
three = ak.datasets.ring_centers()[list(clouds)]


def shares(cloud):
    """How many of the points lie nearest to each centre."""
    nearest = np.linalg.norm(cloud[:, None] - three, axis=-1).argmin(axis=1)
    return np.bincount(nearest, minlength=3) / len(cloud)


fig, axes = ak.plots.figure(columns=4, rows=3, size=(3.9, 3.2), height_ratios=(3, 5, 3))
for column, (name, (losses, drawn)) in enumerate(runs.items()):
    axes[0, column].plot(np.linspace(0, train_steps, 21)[1:], losses)
    axes[0, column].set(title=f"Run {name}", ylim=(0, 0.9), xlabel="steps")
    axes[0, column].set_xticks([0, train_steps // 2, train_steps])
    axes[1, column].scatter(*points[:2000].T, s=4, color="#999999")
    axes[1, column].scatter(*drawn.T, s=4, color=ak.plots.COLORS[1])
    axes[1, column].set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
    axes[1, column].set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes[2, column].bar(np.arange(3) - 0.2, shares(points), 0.4, color="#999999", label="real")
    axes[2, column].bar(
        np.arange(3) + 0.2, shares(drawn), 0.4, color=ak.plots.COLORS[1], label="drawn"
    )
    axes[2, column].set(ylim=(0, 0.9), xlabel="cloud")
    axes[2, column].set_xticks(range(3), ["right", "upper left", "lower left"])
for axis, label in zip(axes[:, 0], ("loss", "points", "share")):
    axis.set_ylabel(label)
axes[2, -1].legend()
fig

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": ""}
### BEGIN SOLUTION
diagnosis = {"A": "signal left", "B": "last noise", "C": "healthy", "D": "no time"}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

answers = ("healthy", "no time", "signal left", "last noise", "few steps", "wrong target")
for name in "ABCD":
    expect_one_of(f"run {name}", diagnosis.get(name), answers)

# %% tests="diagnosis" points=4
from aigc_keras.exercises import wrong_names

# Whether the names are right is tested when you hand in.
assert any(diagnosis.values()), "diagnosis: nothing came.\nHint: look at the curves first."
### BEGIN HIDDEN TESTS
truth = {
    "A": ("signal left", "sharp clouds in the wrong proportions, and the lowest loss"),
    "B": ("last noise", "loss and proportions as in a healthy run, clouds round and too wide"),
    "C": ("healthy", "sharp clouds in the right proportions, hardly a point between"),
    "D": ("no time", "the highest loss, and points everywhere, far outside as well"),
}
wrong = wrong_names("diagnosis", diagnosis, {run: truth[run][0] for run in truth})
for run in wrong:
    print(f"run {run}: {truth[run][1]}")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Until when can noise be undone? (4 points)
#
# A point of the ring is mixed with noise up to some time, and then DDPM walks it back to time 0. Does it come home to the cloud it came
# from? Soon after the start surely; from time 1 only by luck. When does the walk forget? (On pictures this tells when a sampler decides which
# *class* it draws: the answer is a property of the data, so we ask the exact denoiser, not a network.)
#
# Measure it with $n$ points: the **survival** (存活率) at `time` is the probability that a point comes back to its own cloud.
#
# 1. Draw $n$ points: for each one of the centres, all equally probable, plus `std` times noise from $\mathcal N(0, I)$.
# 2. Mix them with noise up to `time`, with the chapter's cosine schedule (`ak.diffusion.cosine`).
# 3. Walk back by **DDPM** in 25 steps **from that time**, with the denoiser that `mixture_denoiser(centers, std)` returns. It is the chapter's
#    exact denoiser, for any number of clouds. Samplers believe that they start at 1, the end of the schedule they are given: so
#    think what schedule to give them, or write the loop yourself. Let the fresh noise of the steps depend on `seed`, too.
# 4. Count whose nearest centre is still its own.
#
# Write `survival(centers, std, time, n, seed)`:
#
# - `centers` (K, D) float32, `std` > 0, `time` in (0, 1], `n` up to 20,000.
# - It returns two numbers: the share that survived, and its **standard error** (标准误), by which such a share differs from the true
#   probability, typically, for $n$ independent points.
# - The same arguments give the same numbers, another seed other ones.


# %%
def mixture_denoiser(centers, std):
    """The perfect denoiser of equal Gaussians at centers (K, D): E[x_0 | x_t], in closed form."""

    def denoise(noisy, time, signal_rate, noise_rate):
        middles = ops.cast(centers, noisy.dtype)
        variance = (signal_rate * std) ** 2 + noise_rate**2
        offsets = noisy[:, None] - signal_rate * middles
        weights = ops.softmax(-ops.sum(offsets**2, axis=-1) / (2 * variance))
        means = middles + signal_rate * std**2 / variance * offsets
        image = ops.sum(weights[:, :, None] * means, axis=1)
        return ak.diffusion.Denoised(image, (noisy - signal_rate * image) / noise_rate)

    return denoise


# %% solution="survival"
def survival(centers, std, time, n, seed):
    """How many of n points come back to their own cloud after noise up to `time`.

    Args:
        centers: (K, D), of equally probable clouds.
        std: their standard deviation in every direction.
        time: in (0, 1], where the walk back begins.
        n: number of points.
        seed: integer.

    Returns:
        the share in [0, 1], and its standard error.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    home = rng.integers(len(centers), size=n)
    data = centers[home] + std * rng.normal(size=(n, centers.shape[1]))
    alpha_bar = ak.diffusion.cosine(time)
    noisy = np.sqrt(alpha_bar) * data + np.sqrt(1 - alpha_bar) * rng.normal(size=data.shape)

    def until_time(s):  # the part of the schedule that lies before `time`
        return ak.diffusion.cosine(time * s)

    denoise = mixture_denoiser(centers, std)
    sampler = ak.diffusion.DDPM(25)
    ends = sampler.sample(denoise, noisy.astype("float32"), until_time, seed=seed).numpy()
    nearest = np.linalg.norm(ends[:, None] - centers, axis=-1).argmin(axis=1)
    share = np.mean(nearest == home)
    return share, np.sqrt(share * (1 - share) / n)
    ### END SOLUTION


# %% tests="survival" points=1
from IPython.display import display
from aigc_keras.exercises import expect
import aigc_keras as ak
import numpy as np

eight, n = ak.datasets.ring_centers(), ak.profile.pick(300, 2000)
measured = survival(eight, 0.03, 1.0, n, seed=0)
expect(
    "how many numbers came back",
    0 if measured is None else len(measured),
    2,
    "the share and its standard error: is there a `return`?",
)
share, error = measured
expect(
    "share that survives time 1, within five standard errors",
    share,
    1 / 8,
    "nothing is left of the point: who guesses among eight clouds is right how often?",
    atol=5 * np.sqrt(1 / 8 * 7 / 8 / n),
)
expect(
    "its standard error",
    error,
    np.sqrt(share * (1 - share) / n),
    "each point is 1 (survived) or 0: the standard deviation of these numbers, and of their mean?",
    rtol=0.1,
)
expect(
    "share that survives time 0.01",
    survival(eight, 0.03, 0.01, n, seed=0)[0],
    1,
    "hardly any noise: the walk back has to begin at 0.01, not at 1.",
    atol=0.01,
)
expect(
    "the same arguments once more",
    survival(eight, 0.03, 1.0, n, seed=0),
    [share, error],
    "all random numbers have to come from the seed.",
)
forgetting = np.array(ak.profile.pick([0.2], [0.05, 0.1, 0.2, 0.4, 0.7, 1.0]))
fig, axes = ak.plots.figure(size=(7.0, 4.0))
axis = axes[0, 0]
for centers, label in ((eight, "eight clouds"), (eight[::4], "two of them")):
    values = [survival(centers, 0.03, time, n, seed=1) for time in forgetting]
    axis.errorbar(forgetting, *np.transpose(values), fmt="o-", capsize=4, label=label)
axis.set(xlabel="time", ylabel="survival", ylim=(0, 1.05))
axis.legend()
display(fig)

# %% tests="survival" points=3
from aigc_keras.exercises import expect
import aigc_keras as ak
import numpy as np

# More is tested when you hand in: times between the two ends, other clouds, in 1 and 3 dimensions.
two = np.array([[-1.0], [1.0]], "float32")
expect(
    "share of two points on a line that survives time 0.01",
    survival(two, 0.1, 0.01, 100, seed=3)[0],
    1,
    "two clouds in one dimension.",
    atol=0.05,
)


### BEGIN HIDDEN TESTS
def exact_survival(centers, std, time):
    """Without any walk: the mean of p(own cloud | x_t), by Bayes' rule, over many x_t."""
    rng = np.random.default_rng(99)
    home = rng.integers(len(centers), size=100_000)
    alpha_bar = ak.diffusion.cosine(time)
    variance = alpha_bar * std**2 + 1 - alpha_bar
    middles = np.sqrt(alpha_bar) * np.asarray(centers, "float64")
    x = middles[home] + np.sqrt(variance) * rng.normal(size=(len(home), centers.shape[1]))
    logits = -np.sum((x[:, None] - middles) ** 2, axis=-1) / (2 * variance)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.mean(weights[np.arange(len(home)), home] / weights.sum(axis=1))


n = ak.profile.pick(1000, 8000)
rng = np.random.default_rng(0)
six = rng.normal(size=(6, 3)).astype("float32")
for seed, (name, centers, std, time) in enumerate(
    [
        ("the ring", eight, 0.03, 0.2),
        ("two clouds on a line", two, 0.1, 0.5),
        ("six clouds in space", six, 0.2, 0.4),
        ("a wide ring", 2 * eight, 0.1, 0.3),
    ]
):
    share, error = survival(centers, std, time, n, seed=seed)
    wanted = exact_survival(centers, std, time)
    expect(
        f"survival of time {time}, {name}, within four standard errors (and 0.015 for 25 steps)",
        share,
        wanted,
        "DDPM draws from p(x_0 | x_t), noise and all: is it DDPM that walks, and does it begin at `time`?",
        rtol=0,
        atol=4 * np.sqrt(wanted * (1 - wanted) / n) + 0.015,
    )
    expect(
        f"its standard error, {name}, n = {n}",
        error,
        np.sqrt(share * (1 - share) / n),
        "the standard deviation of zeros and ones, over the square root of n.",
        rtol=0.1,
    )
shares = {float(survival(six, 0.2, 0.4, 200, seed=seed)[0]) for seed in range(10, 15)}
expect("other seeds give other shares (1: yes)", len(shares) > 1, 1, "the seed is an argument.")
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Something the chapter did not draw (4 points)
#
# A denoiser is a function, and a sampler takes any. So the model can be asked for what it was never trained for. The checkpoint
# `diffusion_fashion_mnist` is loaded below as `pixel_model`. Make a picture with an idea of your own, for example:
#
# - a garment between two classes: two labels are asked, and their answers mixed;
# - a rectangle that you paint, noised up to some time, and walked back with a label of your choice (SDEdit, Meng et al. 2021);
# - inpainting with a twist: the wrong label, every second row, a garment without its middle;
# - guidance that is strong only early, or only late, or negative;
# - the same noise for all classes, or a path from one noise to another.
#
# Not the chapter's own pictures: plain samples, `guidance_scale` turned up, the sampler's path, a lower half drawn anew.
#
# **The picture.** Write `my_picture(model, seed)`. It returns a float32 array (rows, columns, 28, 28, 1) in [-1, 1], with 2 to 8 rows and 4 to 10
# columns. At least half of its pictures are drawn by `model`, the argument (the others may be originals, masks or controls), with at most 15
# steps of a sampler. The same seed gives the same picture; another seed changes at least half of its
# pictures, and fewer than half of them are one flat grey. Four calls should take a few
# seconds: 20 to 40 pictures are enough.
#
# **The argument.** Three points are given by a person, one each:
#
# 1. **Idea.** You say what you asked and why the model could be able to answer; rows and columns of the picture are set out so that one sees
#    the answer, with something to compare with (a row or column with and without, or a series).
# 2. **Explanation.** You say what happens in the sampler, in the chapter's words (time, signal rate, denoised image, noise, label,
#    guidance), and it agrees with your code.
# 3. **Honesty.** You point at a place where it does not work, say why you think so, and name an experiment that would show whether you are right.

# %%
pixel_model = ak.checkpoints.load("diffusion_fashion_mnist")
# As a graph, so that a sampler's loop in plain Python takes a fifth of the time.
pixel_model.network_output = tf.function(pixel_model.network_output, autograph=False)
print(dict(enumerate(classes)))


# %% solution="my_picture"
def my_picture(model, seed):
    """Pictures (rows, columns, 28, 28, 1) in [-1, 1], float32, made with `model`."""
    ### BEGIN SOLUTION
    pairs, weights = ((1, 3), (0, 8), (2, 1), (9, 8)), np.linspace(0, 1, 5)
    first, second = np.repeat(np.transpose(pairs), len(weights), axis=1)
    weight = np.tile(weights, len(pairs)).astype("float32")[:, None, None, None]
    noise = np.random.default_rng(seed).normal(size=(len(pairs), 28, 28, 1))
    noise = np.repeat(noise, len(weights), axis=0).astype("float32")  # a row shares its noise
    labels = tf.constant(np.concatenate([first, second]), "int32")
    denoise = model.denoiser((labels,), guidance_scale=2.0, guided=True)

    def between(noisy, time, signal_rate, noise_rate):
        seen = denoise(ops.concatenate([noisy, noisy]), time, signal_rate, noise_rate)
        one, other = ops.split(seen.image, 2)
        image = (1 - weight) * one + weight * other
        return ak.diffusion.Denoised(image, (noisy - signal_rate * image) / noise_rate)

    drawn = (
        ak.diffusion.DDIM(ak.profile.pick(2, 12)).sample(between, noise, model.alpha_bar).numpy()
    )
    return drawn.reshape(len(pairs), len(weights), 28, 28, 1)
    ### END SOLUTION


# %% tests="my_picture" points=1
from IPython.display import display
from aigc_keras.exercises import expect, expect_one_of
import aigc_keras as ak
import keras
import numpy as np

picture = my_picture(pixel_model, seed=0)
expect_one_of("type of the result", type(picture).__name__, ("ndarray", "EagerTensor"))
picture = np.asarray(picture)
expect("number of axes", picture.ndim, 5, "rows, columns, and each picture is (28, 28, 1).")
expect("shape of one picture", picture.shape[2:], (28, 28, 1), "rows, columns, 28, 28, 1.")
rows, columns = picture.shape[:2]
expect("rows, if 2 to 8", rows, np.clip(rows, 2, 8), "how many rows of pictures are there?")
expect("columns, if 4 to 10", columns, np.clip(columns, 4, 10), "how many are in a row?")
expect_one_of("dtype", picture.dtype.name, ("float32",))
expect(
    "picture, kept in [-1, 1]",
    picture,
    np.clip(np.nan_to_num(picture), -1, 1),
    "in the course, -1 is black and 1 is white; and is every number finite?",
)
again = np.asarray(my_picture(pixel_model, seed=0))
expect("the same seed once more", again, picture, "what draws your noise?", atol=0.01)
### BEGIN HIDDEN TESTS


def share_changed(other):
    """How many of the pictures are no longer what they were."""
    return np.mean(np.abs(np.asarray(other) - picture).mean(axis=(2, 3, 4)) > 0.01)


renewed = share_changed(my_picture(pixel_model, seed=1))
expect(
    "share of the pictures that another seed changes, if at least a half",
    renewed,
    np.clip(renewed, 0.5, 1),
    "the noise that the pictures are drawn from has to come from the seed.",
)
# A model whose networks always answer 0 draws something else, or it was not the model that drew.
outputs = [net.get_layer("outputs") for net in (pixel_model.network, pixel_model.ema_network)]
kept_weights = [layer.get_weights() for layer in outputs]
try:
    for layer, weights in zip(outputs, kept_weights):
        layer.set_weights([np.zeros_like(weight) for weight in weights])
    without = share_changed(my_picture(pixel_model, seed=0))
finally:
    for layer, weights in zip(outputs, kept_weights):
        layer.set_weights(weights)
expect(
    "share of the pictures that are drawn by the model, if at least a half",
    without,
    np.clip(without, 0.5, 1),
    "a model that has forgotten all draws the same pictures: were they drawn by the model that was given?",
)
spread = picture.reshape(rows * columns, -1).std(axis=1)
expect(
    "pictures that are one grey, if fewer than a half",
    np.mean(spread < 0.05),
    np.clip(np.mean(spread < 0.05), 0, 0.5),
    "there is nothing to be seen.",
)
### END HIDDEN TESTS
fig = ak.plots.grid(picture.reshape(rows * columns, 28, 28, 1), columns=columns, inches=0.9)
display(fig)

# %% [markdown] open="my_picture" points=3
# **Idea.** Is there something between two classes? In each row two labels are asked at every step, with the same noise: trouser and
# dress, T-shirt and bag, pullover and trouser, boot and bag. The weight of the second label rises from 0 (left) to 1
# (right) in five columns; the two ends are plain samples of one class, to compare with. The network has learned the mean of all
# pictures of a class that $x_t$ can come from; where two classes share a shape, the mean of both means should be a garment, too. An
# answer "no" would be two garments in double exposure, or a sudden jump from one to the other.
#
# **Explanation.** DDIM splits $x_t$ into an image and noise. Instead of one denoised image (guidance scale 2, one label) I take
# $(1-w)\,x_0^{(1)} + w\,x_0^{(2)}$, compute the noise that belongs to it from $x_t$, so that image and noise still make up $x_t$ at its signal
# rate, and mix the two anew. Early, at a small signal rate, the weight decides about the outline; once there is an outline, both labels
# agree about most of $x_t$, and add only texture.
#
# **Honesty.** A boot becomes a bag step by step: the shaft grows into a case, then a handle appears. T-shirt and bag, or pullover and
# trouser, do not: the middle is blotched, with sleeves and a handle at once, and one column further all is decided. Their outlines have
# little in common, so that their mean is not near any picture that the network has seen with noise, and it is asked about a place it does
# not know. If that is so, mixing only until time 0.7 and going on with the nearer label alone should give clean garments in the middle
# column, and the classifier should be as sure of them as of the ends.
