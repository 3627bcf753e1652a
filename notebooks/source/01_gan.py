# %% [markdown]
# # 01 Generative adversarial networks
#
# *Mirrors: text 000 sections 2.1, 3.1-3.2, 4, 5.2-5.4; 001 2.1, 4.3, 5.2; 002 2.1, 3.1, 3.2.1, 3.3.1,
# 4.1.1, 4.2.1, 4.3.1, 5.2-5.4; 003 2.1, 3.1, 4.1; 004 2.1, 3.1, 3.2.2, 3.3, 4.1.2, 4.2.2, 4.3.2, 5.2.2,
# 5.3.2, 5.4.*
#
# ![Twelve grey pictures in each of ten rows, T-shirts to ankle boots, drawn by a GAN on request](images/01_gan.png)
#
# None of these garments exists. After this chapter you can train a generative adversarial network
# (GAN, 生成对抗网络) on two processor cores, say with a number how good it is, recognise the ways in
# which it fails, and repair them.
#
# **Data:** Fashion-MNIST (60,000 + 10,000 grey images, MIT licence), handwritten digits, and points in
# the plane that we make ourselves. **You need:** Python and some idea of what a gradient is. No GPU, and
# once the course is set up, no network.
#
# [02 Variational autoencoders →](02_vae.ipynb)

# %% tags=["nbval-ignore-output"]
import json
import tempfile
from pathlib import Path

import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from IPython.display import Image
from keras import ops

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it takes many small models for one that is traced too often
pick = ak.profile.pick  # fast: does it run; lesson: a few minutes
ak.profile.announce("01_gan")

# %% [markdown]
# ## 1. The idea
#
# We have pictures and want more of the same kind. Two networks play a game:
#
# - the **generator** (生成器) $G$ turns noise $z$ into a picture $G(z)$;
# - the **discriminator** (判别器) $D$ sees a picture and says how probable it is that it is real.
#
# $D$ learns to tell the two kinds apart, $G$ learns to be mistaken for the real thing. Nobody tells
# $G$ what a shoe looks like: all that it ever hears is how $D$'s judgement would change if it moved
# a pixel. That message is a gradient, and it is enough. In the drawing, solid arrows are what is
# computed from what, and dashed ones who learns from which loss:

# %%
ak.plots.diagram(
    {
        "z": (0, 1, "noise z", "noise"),
        "G": (1.1, 1, "generator G", "network"),
        "fake": (2.2, 1, "fake G(z)", "data"),
        "real": (2.2, -1, "real x", "data"),
        "D": (3.3, 0, "discriminator D", "network"),
        "loss of G": (4.8, 1, "loss of G", "loss"),
        "loss of D": (4.8, -1, "loss of D", "loss"),
    },
    [
        ("z", "G", ""),
        ("G", "fake", ""),
        ("fake", "D", ""),
        ("real", "D", ""),
        ("D", "loss of G", ""),
        ("D", "loss of D", ""),
        ("loss of G", "G", "G learns, through D", 0.24),
        ("loss of D", "D", "D learns", -0.45),
    ],
)

# %% [markdown]
# As a formula, with the prior (先验) $p(z) = \mathcal N(0, I)$ and $V$ for the value of the game
# (Goodfellow et al. 2014, eq. 1):
#
# $$\min_G \max_D V(D, G) = \mathbb E_{x \sim \text{data}}[\log D(x)]
#   + \mathbb E_{z \sim p(z)}[\log(1 - D(G(z)))]$$
#
# $D$ wants both terms **large**: $D(x) \to 1$ on real and $D(G(z)) \to 0$ on fake pictures. $G$
# appears only in the second term and wants it **small**.
#
# For a fixed generator, the best possible discriminator can be written down. At each $x$ it maximises
# $p(x) \log D + p_G(x) \log(1 - D)$, where $p$ is the density of the data and $p_G$ that of the samples;
# the derivative $p / D - p_G / (1 - D)$ is zero for
#
# $$D^*(x) = \frac{p(x)}{p(x) + p_G(x)}$$
#
# Put it in, with $m = (p + p_G) / 2$, and the value of the game is the Jensen-Shannon divergence (JS
# 散度) between data and samples, but for a constant:
#
# $$V(D^*, G) = 2\,\mathrm{JSD}(p, p_G) - 2 \log 2, \qquad
#   \mathrm{JSD} = \tfrac12 \mathrm{KL}(p \,\|\, m) + \tfrac12 \mathrm{KL}(p_G \,\|\, m)$$
#
# It is smallest, $-2 \log 2$, where $p_G = p$ and the discriminator can only say one half. In one
# dimension one can watch it. From left to right the samples (dashed) move towards the data (solid), and
# the best discriminator (dotted) becomes flat:

# %%
x = np.linspace(-6.0, 7.0, 1301)


def normal(mean):
    """Density of a normal distribution of standard deviation 1."""
    return np.exp(-((x - mean) ** 2) / 2) / np.sqrt(2 * np.pi)


def integral(y):
    return np.trapezoid(y, x)


p = normal(1.0)
fig, axes = ak.plots.figure(columns=3, size=(4.2, 3.6), sharey=True)
for axis, mean in zip(axes[0], (-2.0, 0.0, 1.0)):
    p_G = normal(mean)
    best = p / (p + p_G)
    value = integral(p * np.log(best) + p_G * np.log(1 - best))
    m = (p + p_G) / 2
    jsd = integral(p * np.log(p / m) + p_G * np.log(p_G / m)) / 2
    assert np.isclose(value, 2 * jsd - 2 * np.log(2), atol=1e-4)
    axis.plot(x, p, label="$p$: data")
    axis.plot(x, p_G, "--", label="$p_G$: samples")
    axis.plot(x, best, ":", linewidth=3, label="$D^*$: best discriminator")
    axis.set(title=f"V = {value:.2f}, JSD = {abs(jsd):.2f}", xlabel="x", xlim=(-5, 5))
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
fig

# %% [markdown]
# One practical change comes from the same paper. When $D$ is sure that a picture is fake,
# $\log(1 - D(G(z)))$ is flat: the **minimax** generator hears nothing exactly when it has most to
# learn. The **non-saturating** (非饱和) generator maximises $\log D(G(z))$ instead. It has the same
# fixed point and a strong gradient where it matters:

# %%
logits = tf.linspace(-6.0, 6.0, 121)
with tf.GradientTape(persistent=True) as tape:
    tape.watch(logits)
    minimax = -ops.softplus(logits)  # log(1 - D), with D = sigmoid(logit)
    non_saturating = ops.softplus(-logits)  # -log D

fig, axes = ak.plots.figure(columns=2, size=(5.4, 3.4))
for loss, label in ((minimax, "minimax"), (non_saturating, "non-saturating")):
    axes[0, 0].plot(tf.sigmoid(logits), loss, label=label)
    axes[0, 1].plot(tf.sigmoid(logits), tape.gradient(loss, logits), label=label)
axes[0, 0].set(xlabel="D(G(z)): is it taken for real?", ylabel="generator loss")
axes[0, 1].set(xlabel="D(G(z)): is it taken for real?", ylabel="gradient by the logit")
axes[0, 1].legend()
fig

# %% [markdown]
# Left, the two losses of the generator; right, their slopes, over what the discriminator says. Both pull
# the same way (both gradients are negative: raise the logit). On the left edge, where every GAN starts,
# one of them is zero.

# %% [markdown]
# ## 2. A game that one can see
#
# Before pictures, points: eight small clouds on a circle. Here we can *see* whether the generator
# has found all eight **modes** (模式), and count them.

# %%
ring = ak.datasets.load("ring", batch_size=256, seed=0)
points, _ = ak.datasets.arrays("ring", "test")
centers = ak.datasets.ring_centers()
print(ak.datasets.describe("ring"))

# %% [markdown]
# The model is a `keras.Model`: `compile`, `fit`, `evaluate`, `save` are Keras' own. What makes it a
# GAN is its `train_step`. These are the very lines that run:

# %%
ak.show(ak.gan.GAN.train_step)

# %% [markdown]
# Read it from the top.
#
# - `unpack` takes a batch apart: images, and conditions (条件), which are labels or nothing. `shares` cuts
#   it into as many parts as the discriminator takes steps for each one of the generator. That is one
#   part until [section 7](#7.-Wasserstein:-another-distance,-at-a-price).
# - `sample_latents` draws the noise $z \sim \mathcal N(0, I)$, one row for each image. `join` is what a
#   network takes: the noise or the images, and the labels beside them if there are any.
# - `augmented` gives the images back as they are: it matters where they are few, and `adapt_augmentation`
#   with it ([chapter 07](07_little_data.ipynb)).
# - The tape records **one** pass of the generator and one of the discriminator over real and fake
#   images. Both losses come from these logits, so nothing is computed twice. `persistent` lets two
#   gradients be taken from it.
# - `adversarial_loss` is the objective (目标函数). A new kind of GAN overrides this method and
#   nothing else.
# - `descend` is one step of an optimizer: down the gradient of a loss, which is a mean over the rows
#   that are named, by the variables of *one* network. This is where the two players are kept apart:
#   the discriminator's loss never moves the generator.
# - `descend` also moves `ema_generator`, an exponential moving average (指数移动平均) of the
#   generator's weights, $\bar w \leftarrow \mu \bar w + (1 - \mu) w$. `generate` uses the average.
# - `track` adds the losses to the means that `fit` prints.
#
# Why an average? The smallest game of two players is $\min_x \max_y xy$, with its solution at
# $x = y = 0$. Its gradient points *around* the solution, never at it. Players who step at once, as ours
# do, spiral outward (left); those who take turns run in a circle (right). In both games the mean of all
# steps (star) is nearer to the solution than any step:


# %%
def play(in_turn, steps=126, rate=0.1):
    """The path of two players: x goes down the slope of xy, which is y, and y up, which is x."""
    path = [(1.0, 0.0)]
    for _ in range(steps):
        x, y = path[-1]
        new_x = x - rate * y
        new_y = y + rate * (new_x if in_turn else x)
        path.append((new_x, new_y))
    return np.array(path)


fig, axes = ak.plots.figure(columns=2, size=(4.4, 4.6))
for axis, title in zip(axes[0], ("at once", "in turn")):
    path = play(in_turn=title == "in turn")
    middle = path.mean(axis=0)
    assert np.linalg.norm(middle) < 0.5 * np.linalg.norm(path, axis=1).min()
    axis.plot(*path.T, ".-", linewidth=1, markersize=4)
    axis.plot(*path[0], "o", color="black", markersize=8, label="start")
    axis.plot(*middle, "*", color=ak.plots.COLORS[1], markersize=16, label="mean of all steps")
    axis.set(
        aspect="equal", xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), xlabel="x", ylabel="y", title=title
    )
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
fig

# %% [markdown]
# Now the objective itself:

# %%
ak.show(ak.gan.non_saturating)

# %% [markdown]
# The discriminator gives a **logit**, not a probability. With $D = \mathrm{sigmoid}(\ell)$ we have
# $-\log D = \mathrm{softplus}(-\ell)$ and $-\log(1 - D) = \mathrm{softplus}(\ell)$: exact for any
# $\ell$, where the logarithm of a rounded probability would be infinite.


# %%
ring_steps = pick(200, 2000)
seeds = range(pick(1, 3))


def train_on_ring(objective="non_saturating", steps=ring_steps, seed=0, **kwargs):
    """Train a small GAN on the ring; returns it and its samples at four moments."""
    keras.utils.set_random_seed(seed)
    discriminator_steps = kwargs.get("discriminator_steps", 1)
    model = ak.gan.MLPGAN(
        (2,),
        latent_dim=8,
        generator_widths=(128, 128),
        discriminator_widths=(128, 128),
        dropout=0.0,
        objective=objective,
        **kwargs,
    )
    adam = (ak.optimizers.Adam(1e-3, beta_1=0.5) for _ in range(2))  # Keras' own, but quicker
    model.compile(*adam, steps_per_execution=10)
    data = ak.datasets.load("ring", batch_size=256 * discriminator_steps, seed=seed).repeat()
    stages = []
    for _ in range(4):
        model.fit(data, steps_per_epoch=steps // 4, verbose=0)
        stages.append(model.generate(2000, seed=0))
    return model, stages


# %% tags=["nbval-ignore-output"]
runs = [train_on_ring(seed=seed) for seed in seeds]
_, stages = runs[0]
ak.plots.points(points, stages, [f"step {ring_steps * i // 4:,}" for i in range(1, 5)])

# %% [markdown]
# Grey: data. Orange: samples. The generator finds the circle first and the clouds later. Now count:
# a sample is *of high quality* if it lies within three standard deviations of a centre, and a mode
# is *found* if at least a tenth of its fair share of the samples lies there. One lucky run proves
# nothing, so there are three, from three seeds.


# %% tags=["nbval-ignore-output"]
def count(samples):
    """(modes found, share of samples of high quality)"""
    return ak.metrics.count_modes(samples, centers, ak.datasets.RING_STD)


def after_each_quarter(stages):
    return ", ".join(str(count(samples)[0]) for samples in stages)


for seed, (_, stages) in enumerate(runs):
    modes, quality = count(stages[-1])
    print(
        f"seed {seed}: modes after each quarter of the steps {after_each_quarter(stages)}; ", end=""
    )
    print(f"in the end {quality:.0%} of the samples of high quality")
    assert ak.profile.name() == "fast" or modes >= 7

# %% [markdown]
# Few modes at first are no failure: they are *not yet learned*.
#
# ### How it fails: a discriminator that is too sure
#
# Give the discriminator five steps for each one of the generator, and everything else as before: the
# same loss, as many steps of the generator, the same three seeds. Where the fair game has found the
# clouds, this generator misses some: **mode collapse** (模式崩溃). Compare its quarters with those
# above: a count that climbs is learning that is not finished, one that stays low is collapse.
#
# - The **symptom** is in the picture, and one can miss it: each sample alone looks fine.
# - The **detector** is the count, and the discriminator's loss (below, its mean over the last quarter).
#   A discriminator that cannot tell real from fake says 1/2 and pays $2 \log 2 \approx 1.39$. The further below, the surer it is.
# - The **cure** is to keep the discriminator from becoming arbitrarily steep: a gradient penalty
#   (梯度惩罚) on its slope, which [section 7](#7.-Wasserstein:-another-distance,-at-a-price) explains.
#   Its steps are dear, so it gets *half* as many.

# %% tags=["nbval-ignore-output"]
trials = {"five steps of D": {}, "with gradient penalty": {"gradient_penalty": 1.0}}
panels, titles, found = [], [], {}
for label, settings in trials.items():
    steps = ring_steps // 2 if settings else ring_steps
    found[label] = []
    for seed in seeds:
        model, stages = train_on_ring(
            seed=seed, steps=steps, discriminator_steps=pick(2, 5), **settings
        )
        loss = model.get_metrics_result()["discriminator_loss"]
        modes, _ = count(stages[-1])
        print(
            f"{label}, seed {seed}, {steps:,} steps: {after_each_quarter(stages)} of 8 modes; ",
            end="",
        )
        print(f"loss of D {float(loss):.2f}")
        found[label].append(modes)
    panels.append(stages[-1])
    titles.append(f"{label}: {modes} of 8")
missed, cured = (np.mean(modes) for modes in found.values())
assert ak.profile.name() == "fast" or missed + 1.5 < cured
ak.plots.points(points, panels, titles)

# %% [markdown]
# The last seed of each: left, clouds that nothing or nearly nothing falls into; right, samples in all of
# them, or nearly all.

# %% [markdown]
# ## 3. The data
#
# Fashion-MNIST (Xiao et al. 2017): 28 x 28 grey pictures of clothes in ten classes, made to replace
# the handwritten digits that had become too easy. `load` gives a `tf.data` pipeline of float32
# pictures in [-1, 1], because the generator's last layer is a tanh.

# %%
print(ak.datasets.describe("fashion_mnist"))

# %% tags=["nbval-ignore-output"]
images, labels = ak.datasets.arrays("fashion_mnist", "train[:2000]")
classes = ak.datasets.class_names("fashion_mnist")  # one a row, twelve real pictures of each
rows = np.concatenate([images[labels == k][:12] for k in range(10)])
ak.plots.grid(rows, columns=12, row_labels=classes, inches=0.55)

# %% [markdown]
# ## 4. The networks
#
# Text 001 draws both networks of dense layers (全连接层): that is `MLPGAN`. A dense layer does not
# know that two pixels are neighbours. The **DCGAN** (深度卷积生成对抗网络, Radford et al. 2016)
# does: its generator starts from a small map and doubles it by transposed convolutions (转置卷积),
# its discriminator halves the picture by strided convolutions (步幅卷积).

# %%
ak.show(ak.gan.dcgan_generator)

# %%
ak.show(ak.gan.dcgan_discriminator)

# %% [markdown]
# Ours are half as wide as these defaults: each step takes about half as long, and in a lesson that is worth
# more than width.

# %%
small = {"latent_dim": 64, "generator_width": 64, "discriminator_width": 32}
mlp_gan = ak.gan.MLPGAN((28, 28, 1), latent_dim=64)
dcgan = ak.gan.DCGAN((28, 28, 1), **small)
for model in (mlp_gan, dcgan):
    networks = (model.generator, model.discriminator)
    sizes = [f"{network.count_params() / 1e6:.2f} M" for network in networks]
    print(f"{type(model).__name__:7s} generator {sizes[0]}, discriminator {sizes[1]} parameters")

# %% [markdown]
# What becomes of one vector of noise in the DCGAN's generator, layer by layer: the map grows, the
# channels shrink.

# %%
ak.plots.shapes(dcgan.generator)

# %% [markdown]
# The discriminator goes the other way, down to one logit:

# %%
ak.plots.shapes(dcgan.discriminator)

# %% [markdown]
# In the MLP-GAN every number meets every other, and most weights sit in the last layers of the one and
# the first of the other:

# %%
ak.plots.shapes(mlp_gan.generator)

# %%
ak.plots.shapes(mlp_gan.discriminator)

# %% [markdown]
# ## 5. How good is it? A number
#
# The losses do not say: both players improve, so a constant loss can hide progress and a falling
# one can hide collapse. We compare *sets* of pictures instead.
#
# The **Fréchet distance** (弗雷歇距离, with Inception features known as FID; Heusel et al. 2017)
# sends both sets through a classifier, takes the features (特征) before its last layer, and compares
# their means and covariances:
#
# $$d^2 = \lVert \mu_1 - \mu_2 \rVert^2
#   + \mathrm{tr}\big(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\big)$$
#
# Ours uses a small Fashion-MNIST classifier that the course trained itself. Numbers from different
# features cannot be compared, so every score names its features. **Precision** (精确率) is the share
# of samples that lie among real pictures, **recall** (召回率) the share of real pictures that lie
# among samples: quality and variety, told apart (Kynkäänniemi et al. 2019).
#
# A number needs neighbours to mean something, and as many pictures as they: with fewer, the distance is
# larger. The floor: as many *real* training pictures, scored like samples. A mark to beat: a Gaussian with
# the mean and covariance of the pixels, which needs no network at all. It is no ceiling: nothing keeps a
# network from being worse. Two dozen pictures of it below:

# %% tags=["nbval-ignore-output"]
n_samples = pick(200, 5000)  # of each set, in all of this chapter
features = ak.metrics.fashion_features()
test_images, test_labels = ak.datasets.arrays("fashion_mnist", f"test[:{n_samples}]")
test_features = features.extract(test_images)
scores = {}


def evaluate(name, samples):
    """Score samples against the test images, print the line, and keep it for the table."""
    scores[name] = ak.metrics.evaluate_samples(samples, test_features, features)
    print(f"{name}: {scores[name]}")


train_images, train_labels = ak.datasets.arrays("fashion_mnist", "train")
evaluate("real images", train_images[:n_samples])

pixels = train_images[:10_000].reshape(10_000, -1)
covariance = np.cov(pixels, rowvar=False) + 1e-6 * np.eye(784)
noise = np.random.default_rng(0).normal(size=(n_samples, 784))
gaussian = pixels.mean(axis=0) + noise @ np.linalg.cholesky(covariance).T
gaussian = np.clip(gaussian, -1, 1).reshape(-1, 28, 28, 1).astype("float32")
evaluate("Gaussian", gaussian)
ak.plots.grid(
    gaussian[:24],
    columns=12,
    alt="Two dozen blotches of grey noise, some in the outline of a garment",
)

# %% [markdown]
# ## 6. Dense against convolutional
#
# `compile()` alone gives settings that train well: Adam with a learning rate of 4e-4 and
# `beta_1 = 0.5`. The usual 0.9 remembers gradients of an opponent who has since moved on. Small batches
# work best within minutes: on a processor an image costs nearly the same in a batch of 16 as in one
# of 64, and 16 gives four times as many steps.
#
# Models are compared at equal **time**, the only budget that everybody pays: `TimeLimit` stops each
# after the same few seconds of training, not counting those in which its graph is built. `SampleGrid` keeps
# pictures from fixed noise as the training goes on.

# %% tags=["nbval-ignore-output"]
seconds = pick(0.2, 9)
stage = pick(5, 25)  # steps between two looks
n_train = pick(2000, 60_000)


def train(make, seed, batch_size=16, seconds=seconds, stages=1000, stage=stage, n=16):
    """Train what `make` gives, for `seconds` or so many stages of so many steps.

    Returns model, history, `n` pictures at each stage, and the milliseconds a step.
    """
    keras.utils.set_random_seed(seed)
    model = make()
    model.compile(steps_per_execution=5)
    data = ak.datasets.load(
        "fashion_mnist",
        f"train[:{n_train}]",
        batch_size=batch_size * model.discriminator_steps,
        labels=bool(model.num_classes),
        seed=seed,
    )
    pictures = ak.callbacks.SampleGrid(n=n, every=stage, unit="step", display=False)
    limit = ak.callbacks.TimeLimit(seconds)
    history = model.fit(
        data.repeat(),
        steps_per_epoch=stage,
        epochs=stages,
        callbacks=[pictures, limit],
        verbose=0,
    )
    milliseconds = 1000 * limit.seconds / limit.steps
    print(
        f"{type(model).__name__}, seed {seed}: {int(model.optimizer.iterations):,} steps of the generator, "
        f"{limit.seconds:.0f} s, {milliseconds:.0f} ms a step"
    )
    return model, history, pictures, milliseconds


def distance(samples):
    """Fréchet distance of samples to the test images."""
    return ak.metrics.frechet_distance(test_features[0], features.extract(samples)[0])


def race(make):
    """Train one model a seed; what `train` gives for each, and the distance of each."""
    trained = [train(make, seed) for seed in seeds]
    distances = [distance(model.generate(n_samples, seed=0)) for model, *_ in trained]
    print("Fréchet distances:", ", ".join(f"{d:.1f}" for d in distances))
    return trained, distances


mlp_gan, *_ = train(lambda: ak.gan.MLPGAN((28, 28, 1), latent_dim=64), seed=0, batch_size=64)
plain, plain_distances = race(lambda: ak.gan.DCGAN((28, 28, 1), **small))

# %% [markdown]
# The same sixteen noise vectors at four moments of the first DCGAN's training: first noise, then outlines.
# What is missing yet is detail.

# %% tags=["nbval-ignore-output"]
dcgan, _, progress, _ = plain[0]
moments = np.linspace(0, len(progress.batches) - 1, 4).astype(int)
ak.plots.strip(
    [progress.batches[i] for i in moments],
    [f"step {progress.counts[i]}" for i in moments],
)

# %% [markdown]
# And nine of them as a film, from the first step to the last:

# %% tags=["nbval-ignore-output"]
film = ak.callbacks.SampleGrid(n=9)
moments = np.linspace(0, len(progress.batches) - 1, 10).astype(int)
film.batches = [progress.batches[i][:9] for i in moments]
with tempfile.TemporaryDirectory() as folder:
    moving = Image(
        data=film.gif(f"{folder}/film.gif").read_bytes(),
        format="gif",
        alt="Film of a training: nine squares of noise become blots, then the outlines of clothes",
    )
moving

# %% [markdown]
# Two dozen samples of each, with the time that they have had and their distance. On the right is what becomes
# of the second kind with more time and width: the checkpoint of
# [section 9](#9.-The-same-code,-more-time).

# %% tags=["nbval-ignore-output"]
checkpoint = ak.checkpoints.load("conditional_gan_fashion_mnist")
facts = ak.checkpoints.manifest()["conditional_gan_fashion_mnist"]
minutes = facts["training_minutes"]
drawn = {"MLP-GAN": mlp_gan, "DCGAN": dcgan, "checkpoint": checkpoint}
times = [f"{seconds} s", f"{seconds} s", f"{minutes:.0f} min"]
for name, model in drawn.items():
    evaluate(name, model.generate(n_samples, seed=0))
ak.plots.strip(
    [model.generate(25, seed=0) for model in drawn.values()],
    [f"{name}, {time}: {scores[name].frechet:.1f}" for name, time in zip(drawn, times)],
    columns=5,
    inches=3.6,
)

# %% [markdown]
# Left: outlines, and noise in every pixel, because each pixel has weights of its own. In the middle: smooth,
# because neighbours share theirs, but after seconds not yet clothes.

# %% [markdown]
# ## 7. Wasserstein: another distance, at a price
#
# Two distributions that do not overlap have the same Jensen-Shannon divergence however far apart
# they are. The **Wasserstein distance** (推土机距离) asks how far the mass must be carried, so it
# still says in which direction to go (Arjovsky et al. 2017). It can be written with a function $f$ whose
# slope is nowhere above one (Kantorovich and Rubinstein):
#
# $$W(p, p_G) = \max_{\lVert f \rVert_L \le 1}
#   \mathbb E_{x \sim p}[f(x)] - \mathbb E_{x \sim p_G}[f(x)]$$
#
# The discriminator plays $f$, without a sigmoid, and is then called *critic* (评论家): it minimises
# $\mathbb E[f(G(z))] - \mathbb E[f(x)]$, and the generator minimises $-\mathbb E[f(G(z))]$. That is
# the whole objective:

# %%
ak.show(ak.gan.wasserstein)

# %% [markdown]
# The slope is the difficulty. The **gradient penalty** of Gulrajani et al. (2017) demands a slope of one
# on random points between real and fake pictures, $\hat x = \epsilon x + (1 - \epsilon) G(z)$ with
# $\epsilon$ uniform on $[0, 1]$, and is added to the critic's loss with a weight $\lambda = 10$:
#
# $$\lambda\, \mathbb E_{\hat x}\big[(\lVert \nabla_{\hat x} f(\hat x) \rVert_2 - 1)^2\big]$$

# %%
ak.show(ak.gan.GAN.penalty)

# %% [markdown]
# `noise` gives random numbers, one row for each image, here uniform ones (`draw`). Two details that
# published code often gets wrong: the coefficient is *uniform* on [0, 1], one for each picture (a Gaussian
# one leaves the segment), and a tiny number stands under the root, whose derivative at zero is infinite.
#
# The price: the penalty differentiates through a gradient, and the critic takes three steps for each
# one of the generator. So here is one run of a few hundred *steps*, and the time of a step beside that of
# section 6:

# %% tags=["nbval-ignore-output"]
stages = pick(3, 25)
critic, history, progress, dear = train(
    lambda: ak.gan.DCGAN((28, 28, 1), objective="wasserstein", **small),
    seed=0,
    seconds=600,
    stages=stages,
    stage=10,
    n=pick(130, 500),
)
cheap = np.mean([milliseconds for *_, milliseconds in plain])
print(f"a step takes {dear / cheap:.1f} times as long as without critic and penalty")
assert ak.profile.name() == "fast" or dear > 1.5 * cheap

# %% [markdown]
# The merit of this loss is another: it estimates a distance, $\mathbb E[f(x)] - \mathbb E[f(G(z))]$, which
# the loss of an ordinary discriminator does not. Left, the estimate, each point a mean over the steps since
# the last; right, the Fréchet distance of samples from the same moments:

# %% tags=["nbval-ignore-output"]
at = progress.counts[1:]
estimate = -np.array(history.history["discriminator_loss"])
measured = [distance(images) for images in progress.batches[1:]]
fig, axes = ak.plots.figure(columns=2, size=(5.4, 3.6))
for axis, values, label in (
    (axes[0, 0], estimate, "Wasserstein estimate"),
    (axes[0, 1], measured, "Fréchet distance"),
):
    axis.plot(at, values, "o-")
    axis.set(xlabel="steps of the generator", ylabel=label, ylim=(0, None))
assert ak.profile.name() == "fast" or estimate.max() > 2 * estimate[-1]
assert ak.profile.name() == "fast" or measured[0] > 2 * measured[-1]
fig

# %% [markdown]
# The critic first has to learn what a distance is. Then both curves fall while noise becomes garments. In the
# end the estimate hardly helps: it is a maximum over critics, and what we see is the critic that we have, who
# goes on learning too. It says that a training gets somewhere, and not which of two good models is better.
# (Only some hundred samples a point: the right curve stands a little higher than the distances of section 6
# would.)
#
# The penalty also keeps a discriminator from becoming too sure. That was the cure in
# [section 2](#How-it-fails:-a-discriminator-that-is-too-sure).

# %% [markdown]
# ## 8. Asking for a class
#
# A **conditional GAN** (条件生成对抗网络, Mirza and Osindero 2014) gives the label to both players.
# The generator reads it beside the noise. The discriminator asks not only "is it real?" but "is it a
# real *boot*?": to the logit of the features $\varphi(x)$ it adds an inner product with a vector $e_y$
# for the class (projection, Miyato and Koyama 2018),
#
# $$\ell(x, y) = w^\top \varphi(x) + b + e_y^\top (A \varphi(x) + a)$$
#
# In the table the second input is the label, `Dot` the inner product and `Add` the sum:

# %%
ak.plots.shapes(ak.gan.ConditionalGAN((28, 28, 1), num_classes=10, **small).discriminator)

# %% [markdown]
# That is more than a service to whoever asks. The label tells the discriminator which of ten easier
# questions it has to answer, and what it learns it passes on. A step is dearer, so again: the same
# seconds, the same seeds.

# %% tags=["nbval-ignore-output"]
labelled, labelled_distances = race(
    lambda: ak.gan.ConditionalGAN((28, 28, 1), num_classes=10, **small)
)
print("DCGAN without labels: ", ", ".join(f"{d:.1f}" for d in plain_distances))
conditional, history, *_ = labelled[0]

# %% [markdown]
# After so few steps the seeds still scatter. Minutes decide it: these are runs of `make bench`, at the default
# widths, each for the same time.

# %%
scores_of = {
    result["setting"]: result["scores"]
    for result in json.loads(Path("../data/benchmarks.json").read_text())["races"]["GAN"]["results"]
}
longer = {}
for name in ("DCGAN", "ConditionalGAN"):
    score = scores_of[f"{name} at its defaults, batch 16"]
    spent, longer[name] = (score[key]["values"][0] for key in ("seconds", "frechet"))
    print(f"{name}: Fréchet distance {longer[name]:.2f} after {spent:.0f} s")
assert longer["ConditionalGAN"] < 0.7 * longer["DCGAN"]

# %% [markdown]
# The losses of this lesson's first conditional GAN, each point a mean over the steps since the last:

# %% tags=["nbval-ignore-output"]
ak.plots.curves(history, xlabel=f"{stage} steps")

# %% [markdown]
# These curves are what a healthy GAN looks like: *not* two curves that fall, but two that find a
# balance. A discriminator's loss near 0 would mean that it has won and the generator hears nothing.
# At $2 \log 2 \approx 1.39$ it would be guessing.

# %% [markdown]
# ## 9. The same code, more time
#
# A lesson ends after minutes. The course has also trained this conditional model for longer, from the
# recipe `aigc_keras.recipes.train_conditional_gan`, and keeps the weights. Left, the seconds of this
# lesson; right, the checkpoint.

# %% tags=["nbval-ignore-output"]
print(f"trained for {minutes:.0f} minutes by {facts['recipe']}")
ak.plots.strip(
    [model.generate(90, seed=1) for model in (conditional, checkpoint)],
    [
        f"after {seconds} s: {labelled_distances[0]:.2f}",
        f"after {minutes:.0f} min: {scores['checkpoint'].frechet:.2f}",
    ],
    columns=10,
    inches=6,
)

# %% [markdown]
# All distances so far, with the time that each has had. Of models that ran over several seeds the bar is
# their mean and its whisker their standard deviation; of the others it is one run and the error of the
# measurement. The critic is not among them: its budget was steps.

# %% tags=["nbval-ignore-output"]
bars = {
    "real images": (scores["real images"].frechet, scores["real images"].frechet_error, ""),
    "checkpoint": (
        scores["checkpoint"].frechet,
        scores["checkpoint"].frechet_error,
        f"{minutes:.0f} min",
    ),
    "conditional": (np.mean(labelled_distances), np.std(labelled_distances), f"{seconds} s"),
    "DCGAN": (np.mean(plain_distances), np.std(plain_distances), f"{seconds} s"),
    "Gaussian": (scores["Gaussian"].frechet, scores["Gaussian"].frechet_error, "no network"),
    "MLP-GAN": (scores["MLP-GAN"].frechet, scores["MLP-GAN"].frechet_error, f"{seconds} s"),
}
for name, score in scores.items():
    print(f"{name:20s} {score}")
bars = dict(sorted(bars.items(), key=lambda bar: bar[1][0]))
if ak.profile.name() != "fast":
    assert list(bars)[:2] == ["real images", "checkpoint"] and list(bars)[-1] == "MLP-GAN"
ak.plots.bars(
    [value for value, _, _ in bars.values()],
    [error for _, error, _ in bars.values()],
    [name.replace(" ", "\n") + "\n" + time for name, (_, _, time) in bars.items()],
    ylabel="Fréchet distance",
    title="Lower is better",
)

# %% [markdown]
# The MLP-GAN ends behind the Gaussian, which is no network at all: its garments have the right outline
# and noise in every pixel, and after so few steps it knows only some of them. Without neighbours its
# number would have told us nothing.
#
# ### One row a class, on request

# %% tags=["nbval-ignore-output"]
asked = np.repeat(np.arange(10), 12)
by_class = checkpoint.generate(len(asked), labels=asked, seed=0)
figure = ak.plots.grid(by_class, columns=12, row_labels=classes, inches=0.55)
figure

# %% [markdown]
# Does it draw what was asked for? The classifier that gives us the features can answer. But a picture may
# be recognised and still be bad: a scrap with a strap is a sandal, for there is nothing else that it could
# be. What the classifier confuses is alike, which is another thing than badly drawn. So we also measure the
# Fréchet distance of **each class** to the test pictures of that class, beside real training pictures:

# %% tags=["nbval-ignore-output"]
each = pick(20, 500)
asked = np.repeat(np.arange(10), each)
drawn, probabilities = features.extract(checkpoint.generate(len(asked), labels=asked, seed=0))
right = probabilities.argmax(axis=1) == asked
table = []
for k in range(10):
    mine = test_features[0][test_labels == k]
    floor, _ = features.extract(train_images[train_labels == k][:each])
    far = ak.metrics.frechet_distance(mine, drawn[asked == k])
    table.append((right[asked == k].mean(), far, ak.metrics.frechet_distance(mine, floor)))
    print(
        f"{classes[k]:12s} recognised {table[k][0]:4.0%}, distance {far:.2f} (real {table[k][2]:.2f})"
    )
recognised, far, floor = np.array(table).T
error = np.sqrt(right.mean() * (1 - right.mean()) / len(right))
print(f"recognised in all: {right.mean():.1%} ± {error:.1%}")
assert ak.profile.name() == "fast" or recognised[far.argmax()] > recognised.mean()
assert ak.profile.name() == "fast" or {"Bag", "Sandal"} <= {classes[k] for k in far.argsort()[-3:]}
assert ak.profile.name() == "fast" or (far > floor).all()

order = far.argsort()
names = np.array(classes)[order]
fig, axes = ak.plots.figure(columns=2, size=(5.0, 5.0), sharey=True)
axes[0, 0].barh(names, far[order], label="drawn")
axes[0, 0].barh(names, floor[order], height=0.3, color="black", label="real")
axes[0, 0].set(xlabel="Fréchet distance of the class")
axes[0, 0].legend(loc="lower right")
axes[0, 1].barh(names, 1 - recognised[order], color=ak.plots.COLORS[1])
axes[0, 1].set(xlabel="share taken for another class")
fig

# %% [markdown]
# Left, how far each class is from real pictures of it, the worst on top; right, how often the classifier takes
# it for another. The two disagree: what is drawn worst is hardly ever confused, and what is confused most are
# garments with sleeves, which are alike. Look at the rows above: bags and sandals fall apart, and nobody
# takes them for anything else.
#
# ### Other pictures, the same lines
#
# **Handwritten digits** (手写数字), which three of the five texts generate. These are the 1,500 of
# scikit-learn, 8 pixels wide, made larger to 28; a smaller network of the same kind learns them. Left, real
# ones; right, drawn on request, the columns 0 to 9.

# %% tags=["nbval-ignore-output"]
print(ak.datasets.describe("digits"))
keras.utils.set_random_seed(0)
writer = ak.gan.ConditionalGAN(
    (28, 28, 1), num_classes=10, generator_width=64, discriminator_width=32
)
writer.compile()
digits = ak.datasets.load("digits", batch_size=16, image_size=28, labels=True, seed=0)
writer.fit(digits.repeat(), steps_per_epoch=pick(5, 500), verbose=0)

real, numbers = ak.datasets.arrays("digits", "train", image_size=28)
rows = np.concatenate([[real[numbers == k][i] for k in range(10)] for i in range(9)])
written = writer.generate(90, labels=np.arange(90) % 10, seed=0)
frame = ((0, 0), (3, 3), (3, 3), (0, 0))  # digits reach the edges
ak.plots.strip(
    [np.pad(pictures, frame, constant_values=-1) for pictures in (rows, written)],
    ["real", "drawn"],
    columns=10,
    inches=6,
)

# %% [markdown]
# **Colour.** `DCGAN` also takes 32 and 64 pixels and three channels. Below are the 64-pixel emoji with
# their captions: these are *real* ones, the data. Learning all of them takes hours on a processor;
# [chapter 07](07_little_data.ipynb#3.-Faces-in-colour) has a GAN for those that are faces.

# %% tags=["nbval-ignore-output"]
emoji, _ = ak.datasets.arrays("emoji", "train")
some = np.arange(3, len(emoji), 90)
captions = [ak.datasets.captions("train", language) for language in ("en", "zh")]
print("; ".join(f"{captions[0][i]} {captions[1][i]}" for i in some[:6]))

ak.plots.grid(emoji[some], columns=10, inches=0.8, alt="Real emoji: small coloured drawings")

# %% [markdown]
# ## 10. Play
#
# ### Walking through the noise
#
# If the generator had learned single pictures by heart, the way between two of them would be a cut.
# It is a transformation. We walk on the sphere (球面插值, slerp) and not on the straight line: noise
# of 64 dimensions has a length near 8, and the middle of a line is too short for it:
#
# $$\mathrm{slerp}(a, b, t) = \frac{\sin((1 - t)\,\omega)\, a + \sin(t\,\omega)\, b}
#   {\sin \omega}, \qquad \cos\omega = \frac{a^\top b}{\lVert a \rVert \lVert b \rVert}$$
#
# Each row is a way through one class, from one garment to another in ten steps.


# %%
def slerp(a, b, t):
    """From a to b (latent_dim,) at constant angular speed; t in [0, 1]."""
    angle = np.arccos(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


rng = np.random.default_rng(4)
ends = rng.normal(size=(5, 2, 64)).astype("float32")
walk = np.stack([slerp(a, b, t) for a, b in ends for t in np.linspace(0, 1, 10)])
kinds = np.repeat([9, 0, 3, 8, 7], 10).astype("int32")  # one class a row
ak.plots.grid(
    checkpoint.decode(walk, kinds),
    columns=10,
    row_labels=[classes[k] for k in kinds[::10]],
    inches=0.7,
)

# %% [markdown]
# ### Does it copy?
#
# A generator that repeats its training pictures would have a wonderful Fréchet distance. So look:
# left a sample, beside it the four nearest of the 60,000 training pictures, pixel by pixel.

# %% tags=["nbval-ignore-output"]
samples = checkpoint.generate(6, seed=3)
_, nearest = ak.metrics.nearest_neighbours(
    samples.reshape(6, -1), train_images.reshape(len(train_images), -1), k=4
)
rows = np.concatenate([[sample, *train_images[i]] for sample, i in zip(samples, nearest)])
ak.plots.grid(rows, columns=5, column_labels=["sample", "nearest", "2nd", "3rd", "4th"], inches=0.9)

# %% [markdown]
# ## 11. Corrections to the text
#
# The texts that this course follows introduce GANs with formulas and code that do not work as
# printed. Each of these cells states a claim and shows what is true.
#
# **1. "The generator minimises E[log D(G(z))]"** (text 000, sections 3.1 and 4.2; text 001, section
# 4.3). That generator wants its pictures to be *recognised as fake*. The sign is wrong: it minimises
# $-\mathbb E[\log D(G(z))]$. Train it as printed and look where the samples go:


# %% tags=["nbval-ignore-output"]
class AsPrinted(ak.gan.MLPGAN):
    def adversarial_loss(self, real_logits, fake_logits):
        discriminator_loss, generator_loss = super().adversarial_loss(real_logits, fake_logits)
        return discriminator_loss, -generator_loss  # + E[log D(G(z))], to be minimised


keras.utils.set_random_seed(0)
wrong = AsPrinted((2,), 8, (128, 128), (128, 128), dropout=0.0)
wrong.compile(steps_per_execution=10)
wrong.fit(ring.repeat(), steps_per_epoch=pick(100, 500), verbose=0)
judged = tf.sigmoid(wrong.discriminator(wrong.generate(2000, seed=0))).numpy().mean()
print(f"D(G(z)) = {judged:.4f}: perfectly recognised, as ordered")
assert ak.profile.name() == "fast" or judged < 0.01
ak.plots.points(points, [wrong.generate(2000, seed=0)], ["as printed"])

# %% [markdown]
# **2. "The discriminator minimises E[log D(x)] + E[log(1 - D(G(z)))]"** (text 000, sections 3.1 and
# 4.2). It *maximises* that. Section 4.1 has it "最大化生成数据的逼真度", maximise the realism of what is
# generated, which is the generator's aim. One step of gradient descent on the printed formula, from an undecided
# discriminator, makes it take real pictures for fake and fake ones for real:

# %%
d_real, d_fake = tf.Variable(0.5), tf.Variable(0.5)
with tf.GradientTape() as tape:
    printed = ops.log(d_real) + ops.log(1 - d_fake)
for value, gradient in zip((d_real, d_fake), tape.gradient(printed, (d_real, d_fake))):
    value.assign_sub(0.1 * gradient)
print(f"D(x) = {d_real.numpy():.2f}, D(G(z)) = {d_fake.numpy():.2f}")

# %% [markdown]
# **3. "The discriminator wants the second term small"** (text 003, section 4.1). The second term is
# $\mathbb E[\log(1 - D(G(z)))]$. It is negative, and closest to zero, so *largest*, when the
# discriminator is right:

# %%
for d in (0.01, 0.5, 0.99):
    print(f"D(G(z)) = {d:.2f}: log(1 - D(G(z))) = {np.log(1 - d):6.2f}")

# %% [markdown]
# **4. "G(z) ~ P(z)" and "D(x) ~ P(x)"** (text 000, section 4.2). The prior is the distribution of the
# *noise*. What comes out is distributed otherwise, which is the point of having a generator. Here the noise
# does not even have the same dimension. And $D(x)$ is one number between 0 and 1 for each picture, not a
# picture:

# %% tags=["nbval-ignore-output"]
noise = runs[0][0].sample_latents(2000, seed=0).numpy()
made = runs[0][0].decode(noise)
for name, values in (("z", noise), ("G(z)", made)):
    length = np.linalg.norm(values, axis=1)
    print(
        f"{name:4s} {values.shape[1]} dimensions, length {length.mean():.2f} ± {length.std():.2f}"
    )
print("D(G(z))", tf.sigmoid(runs[0][0].discriminator(made[:3])).numpy().ravel().round(2))

# %% [markdown]
# **5. Weights updated by adding gradients** (text 001, section 5.2): the printed loop does
# `variable.assign_add(gradient)` for the first two variables of each network and never uses its
# optimizers. Adding the gradient walks *uphill*, without a learning rate it walks far, and most
# variables never move:

# %% tags=["nbval-ignore-output"]
network = ak.gan.mlp_discriminator((28, 28, 1), dropout=0.0)
few = np.concatenate([train_images[:32], -np.ones((32, 28, 28, 1), "float32")])
target = np.repeat([[1.0], [0.0]], 32, axis=0)
cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
for _ in range(3):
    with tf.GradientTape() as tape:
        loss = cross_entropy(target, network(few))
    gradients = tape.gradient(loss, network.trainable_variables)
    print(f"loss {loss.numpy():10.2f}")
    for variable, gradient in list(zip(network.trainable_variables, gradients))[:2]:
        variable.assign_add(gradient)
print(f"2 of {len(network.trainable_variables)} variables were ever changed")

# %% [markdown]
# **6. `generator = generator.compile(...)`** (text 001, section 5.2). `compile` configures a model in
# place and returns nothing, so the next line would train `None`:

# %%
print(network.compile(loss=cross_entropy))

# %% [markdown]
# **7. "Images" from `np.random.normal([0, 0, 0], [1, 64, 64], 10000)`** (text 001, section 5.2). Those
# are three means, three standard deviations and a shape that fits neither: no picture comes out,
# but an error.

# %%
try:
    np.random.default_rng(0).normal([0, 0, 0], [1, 64, 64], 10000)
except ValueError as error:
    print(f"ValueError: {error}")

# %% [markdown]
# **8. A 64-pixel network "trained on MNIST"** (text 000, sections 5.2 and 5.4). MNIST is 28 pixels
# wide. Four halvings leave one pixel, and the last convolution wants four:

# %%
size = 28
for kernel, stride, padding in [(4, 2, 1)] * 4 + [(4, 1, 0)]:
    size_before, size = size, (size + 2 * padding - kernel) // stride + 1
    print(f"{size_before} px -> {size} px")

# %% [markdown]
# **9. `x.view(-1, 256, 1, 1)` after `Linear(z_dim, 7 * 7 * 256)`** (text 002, section 3.2.1). The
# minus one hides the mistake: of a batch of 16 it makes 784 "pictures" of one pixel, and the
# convolutions that follow shrink where a generator must grow.

# %%
print(np.zeros((16, 7 * 7 * 256)).reshape(-1, 256, 1, 1).shape)

# %% [markdown]
# **10. Labels of shape (B, 1) against outputs of shape (B, 1, 1, 1)** (text 000, section 5.2).
# Where a loss broadcasts instead of refusing, every label meets every output, also those of other
# pictures. The number looks plausible and is wrong:

# %%
output = np.array([0.9, 0.8, 0.2, 0.1]).reshape(4, 1, 1, 1)
label = np.array([1.0, 1.0, 0.0, 0.0]).reshape(4, 1)
pairs = -(label * np.log(output) + (1 - label) * np.log(1 - output))
matched = -(label * np.log(output[:, 0, 0]) + (1 - label) * np.log(1 - output[:, 0, 0]))
print(f"{pairs.size} pairs: {pairs.mean():.3f}; the {matched.size} that belong together: ", end="")
print(f"{matched.mean():.3f}")

# %% [markdown]
# **11. "G(z) and D(x) are conditional distributions"** (text 004, section 4.1.2). Both are functions:
# the same noise gives the same picture, always. All randomness is in $z$.

# %%
twice = [checkpoint.decode(walk[:4], kinds[:4]) for _ in range(2)]
print(np.array_equal(*twice))

# %% [markdown]
# **12. "GAN training is relatively simple"** (text 004, section 3.3, which calls it unstable one cell
# further). Section 2 of this chapter trained the same small network in three ways, and one number
# decided whether it found all modes or some of them. Chapter 02 measures VAE against GAN over several
# seeds.

# %% [markdown]
# **13. The training loop** (text 000, section 5.2). `criterion` and `GeneratedImages` are defined nowhere,
# so it stops at once. Read the second as `generated_images`, and three faults remain. The generator's loss
# `criterion(generated_images, valid)` compares *pixels* with ones: the discriminator is not in it and gives
# no gradient, and `d_loss` is never sent back, so that `D_optimizer` has nothing to learn from (and if it had,
# it would step on the generator's loss, and help it). `g_loss.backward(d_loss)` does not send both losses back
# but multiplies one's gradient with the other:

# %% tags=["nbval-ignore-output"]
with tf.GradientTape(persistent=True) as tape:
    pictures = dcgan.generator(dcgan.sample_latents(16, seed=0))
    g_loss = ops.mean(ops.square(pictures - 1.0))
    d_loss = ops.mean(ops.softplus(dcgan.discriminator(pictures)))
of_d = tape.gradient(g_loss, dcgan.discriminator.trainable_variables)
print(f"gradients of D from it: {sum(g is not None for g in of_d)} of {len(of_d)}")
weights = dcgan.generator.trainable_variables[0]
alone = tape.gradient(g_loss, weights)
passed = tape.gradient(g_loss, weights, output_gradients=d_loss)  # backward(d_loss)
print(f"ratio of the lengths {ops.norm(passed) / ops.norm(alone):.3f}, d_loss {d_loss:.3f}")
assert all(g is None for g in of_d)
assert np.allclose(passed, d_loss * alone, rtol=1e-3, atol=1e-7)

# %% [markdown]
# The loop also sends the same `generated_images` through the discriminator's step without `detach`.
# Ours stops the gradient by naming whose weights each loss moves, and by `stop_gradient` in the penalty.
#
# **14. "E over x from X of log D(G(x))"** (text 000, section 3.1, where $x$ is "真实数据", real data; text
# 001, section 5.2, whose `GAN.call` gives `self.generator` the images). A generator takes noise. Fed with
# pictures, ours refuses:

# %%
try:
    ak.gan.DCGAN((28, 28, 1), latent_dim=64).decode(np.zeros((2, 28, 28, 1), "float32"))
except ValueError as error:
    print(f"ValueError: {error}")

# %% [markdown]
# **15. In the end "判别器能够准确区分真实和伪造的猫脸图像"**, the discriminator can tell real and fake
# exactly (text 000, section 4.3). In the end it can only guess: that is what a solution is. From section 1,
# the best discriminator for $p_G = p$:

# %%
best = p / (p + normal(1.0))
print(f"between {best.min():.2f} and {best.max():.2f}")

# %% [markdown]
# **16. More names, shapes and types that stop the code of text 001** (section 5.2). `calculate_loss` is
# no method of a Keras model; `[0, :, :, 0]` wants four axes of the generator's 784 numbers in a row; one
# model cannot be unpacked into `generator, discriminator`. (Besides, `tf.ones_like(real_images)` makes
# labels of the shape of *images*, where the discriminator gives one number.)


# %%
def unpacked():
    _generator, _discriminator = ak.gan.DCGAN((28, 28, 1), latent_dim=64)


for attempt in (
    lambda: keras.Model().calculate_loss,
    lambda: np.zeros((64, 784))[0, :, :, 0],
    unpacked,
):
    try:
        attempt()
    except (AttributeError, IndexError, TypeError) as error:
        print(f"{type(error).__name__}: {error}")

# %% [markdown]
# **17. "对抗训练: 通过生成对抗样本, 提高模型的鲁棒性"** (text 001, section 2.1): adversarial *training* makes a
# classifier robust against inputs that were changed to deceive it
# ([arXiv:1412.6572](https://arxiv.org/abs/1412.6572)). It is right as a definition, but the chart after it
# and section 2.3 hang it on GANs and autoencoders, whose two players share only the adjective with it. In
# section 2.2.3 the chart "GAN与自编码器的关系" has no autoencoder in it, as that of text 000, section 2.2.1,
# "GANs和VAE的关系", has no VAE.
#
# **18. Three more lines of text 002** (section 3.2.1, again in 4.3.1 and 5.2.2) fail one after the other.
# `z` of shape (B, 100, 1, 1) does not fit a `Linear(100, ...)`, which multiplies the *last* axis.
# `D_loss = D_loss(...)` makes the name local, so that it is not there yet when it is called. And
# `x = nn.LeakyReLU(...)` puts a layer where the tensor was. Nothing calls `netD` in the loop. (The text
# calls this discriminator "单层感知器", a perceptron of one layer: it has two convolutions and a dense layer.)


# %%
def in_the_loop():
    D_loss = D_loss(0.9, 0.1)  # noqa: F821
    return D_loss


for attempt in (lambda: np.zeros((16, 100, 1, 1)) @ np.zeros((100, 7 * 7 * 256)), in_the_loop):
    try:
        attempt()
    except (ValueError, UnboundLocalError) as error:
        print(f"{type(error).__name__}: {error}")
print("x is now a", type(keras.layers.LeakyReLU(0.2)).__name__)

# %% [markdown]
# **19. "GAN是最早、最经典的生成式模型之一"**, among the earliest generative models (text 002, section 2.1).
# Boltzmann machines (Ackley, Hinton and Sejnowski 1985) are three decades older, and even the VAE
# ([arXiv:1312.6114](https://arxiv.org/abs/1312.6114)) came out half a year before the GAN
# ([arXiv:1406.2661](https://arxiv.org/abs/1406.2661)), as the first four digits of the numbers say.
#
# **20. "E[log D(x)] 是判别器对真实数据的期望输出"**, the discriminator's expected output (text 003, section
# 4.1). The expected output is $\mathbb E[D(x)]$. The expected *logarithm* is never positive, and by Jensen's
# inequality at most the logarithm of that; one bad judgement weighs more than many good ones mend:

# %%
judged = np.array([0.99, 0.99, 0.99, 0.01])
print(f"E[D] = {judged.mean():.2f}, E[log D] = {np.log(judged).mean():.2f}, ", end="")
print(f"log E[D] = {np.log(judged.mean()):.2f}")
assert np.log(judged).mean() < np.log(judged.mean())

# %% [markdown]
# **21. "最终达到一个纳什均衡"**, in the end a Nash equilibrium is reached (text 003, section 4.1). It is where
# the game *would* rest. That players get there is no theorem: the circle of section 2 never does, step by
# step, although its equilibrium is known, and the five steps of the discriminator end elsewhere.
#
# **22. "由生成器和判别器组成, 共同生成新样本"**, both generate together (text 004, section 2.1), and "GAN的目标是
# 最小化以下损失函数", a minimum, before a formula that reads $\min_G \max_D$ (section 4.2.2). The samples
# come from the generator alone; a min-max has a saddle, which going down by all weights misses. Without
# its discriminator the model draws the same picture:

# %% tags=["nbval-ignore-output"]
z = dcgan.sample_latents(1, seed=0)
alone = dcgan.ema_generator(z, training=False).numpy()
print(np.allclose(alone, dcgan.generate(1, seed=0), atol=1e-4))

# %% [markdown]
# **23. What we could not check.** The results of text 000, section 5.4 ("与真实图像几乎无法区分", hardly to be told
# from real pictures) stand at example.com, a domain that is reserved for examples. Text 004 shows one
# address, imgur's 7Z8jZ8M.png, as its map of concepts (section 2.2) *and* as the pictures of its GAN (5.4):
# it cannot be both. Text 000 says that "少量训练数据", few data, are enough (3.3) and that "大量训练数据",
# many, are needed (1.2); this chapter has not measured it. Text 004 lists DeepArt and DeepFakes as GANs
# (3.4, 6.1): as far as we know the first is the method of Gatys
# ([chapter 03](03_style_transfer.ipynb)) and the second began with autoencoders. Of the book on GANs by
# Goodfellow, Pouget-Abadie and Mohri (text 002, section 7.1) and the course "Generative Models" by Ng (text
# 004, section 7.1) we know nothing; the first two names are authors of the *paper*. "PatchNet" (text 002,
# section 7.3) we do not know either, and CLIP, named beside it, is
# [arXiv:2103.00020](https://arxiv.org/abs/2103.00020), which compares pictures with texts and generates
# nothing.

# %% [markdown]
# ## 12. What to try
#
# - Train the ring with `objective="minimax"` and `discriminator_steps=5`. Is what it misses collapse, or not
#   yet learned? Double the steps, and count again.
# - Set `label_smoothing=0.1` (标签平滑): real pictures get the target 0.9. Does the distance change
#   by more than its error?
# - Replace the objective by `least_squares` or `hinge`. Which one is best after one epoch, over three
#   seeds?
# - Give the generator a learning rate ten times the discriminator's on the ring. What collapses?
# - Train on pictures of your own: `ak.datasets.load("my/folder", image_size=64)` with
#   `ak.gan.DCGAN((64, 64, 3))`, or on `"emoji"`.
#
# **Exercise.** Write a relativistic GAN (Jolicoeur-Martineau 2018): a subclass of `ak.gan.MLPGAN` whose
# `adversarial_loss` asks whether a real point looks *more* real than a fake one. It should find all
# eight modes on the ring. How many lines does it take?
#
# **Problem set.** Five graded tasks on this chapter: [problem set 01](exercises/mine/problems_01_gan.ipynb).
# The link opens your own copy, which `make lab` made; `make check EX=01` tells you how far you are.
#
# **Papers**
#
# - Goodfellow et al. 2014, *Generative adversarial nets*,
#   [arXiv:1406.2661](https://arxiv.org/abs/1406.2661)
# - Radford et al. 2016, *Unsupervised representation learning with deep convolutional generative
#   adversarial networks*, [arXiv:1511.06434](https://arxiv.org/abs/1511.06434)
# - Salimans et al. 2016, *Improved techniques for training GANs*,
#   [arXiv:1606.03498](https://arxiv.org/abs/1606.03498)
# - Arjovsky et al. 2017, *Wasserstein GAN*, [arXiv:1701.07875](https://arxiv.org/abs/1701.07875);
#   Gulrajani et al. 2017, *Improved training of Wasserstein GANs*,
#   [arXiv:1704.00028](https://arxiv.org/abs/1704.00028)
# - Mirza and Osindero 2014, *Conditional generative adversarial nets*,
#   [arXiv:1411.1784](https://arxiv.org/abs/1411.1784); Miyato and Koyama 2018, *cGANs with projection
#   discriminator*, [arXiv:1802.05637](https://arxiv.org/abs/1802.05637)
# - Jolicoeur-Martineau 2018, *The relativistic discriminator: a key element missing from standard GAN*,
#   [arXiv:1807.00734](https://arxiv.org/abs/1807.00734)
# - Heusel et al. 2017, *GANs trained by a two time-scale update rule converge to a local Nash
#   equilibrium*, [arXiv:1706.08500](https://arxiv.org/abs/1706.08500); Kynkäänniemi et al. 2019,
#   *Improved precision and recall metric for assessing generative models*,
#   [arXiv:1904.06991](https://arxiv.org/abs/1904.06991)
# - Xiao et al. 2017, *Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms*,
#   [arXiv:1708.07747](https://arxiv.org/abs/1708.07747)
#
# [02 Variational autoencoders →](02_vae.ipynb)

# %% tags=["nbval-ignore-output"]
if ak.profile.name() != "fast":  # the picture at the top
    figure.savefig("images/01_gan.png", dpi=80)
