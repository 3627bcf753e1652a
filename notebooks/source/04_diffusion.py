# %% [markdown]
# # 04 Diffusion
#
# *Mirrors: text 001 sections 2.1, 2.2.2; 002 2.1, 3.2.3, 3.3.3, 4.1.3, 4.2.3, 4.3.3; 003 2.4, 3.4.*
#
# ![Five rows: ten squares of noise become, row by row, one garment of each class](images/04_diffusion.png)
#
# Read it from the top: pure noise becomes one garment of each class. After this chapter you can build a
# diffusion model (扩散模型) from a formula that fits into one line, train one on two processor cores,
# choose a sampler and know what its steps buy, steer what is drawn, and say how good it is.
#
# **Data:** Fashion-MNIST (60,000 + 10,000 grey images, MIT licence) and points in the plane that we make
# ourselves. **You need:** chapter 02's autoencoder and its last idea, that taking noise away shows where
# pictures are. No GPU, and once the course is set up, no network.
#
# [← 03 Style transfer](03_style_transfer.ipynb) · [05 Text generation →](05_text_generation.ipynb)

# %% tags=["nbval-ignore-output"]
import io
import json
import tempfile
import time
from pathlib import Path

import aigc_keras as ak
import IPython.display
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it takes many small models for one that is traced too often
pick = ak.profile.pick  # fast: does it run; lesson: a few minutes
ak.profile.announce("04_diffusion")

# %% [markdown]
# ## 1. The idea: destroy, and learn to go back
#
# Destroying a picture is easy: mix it with noise, again and again, in $T$ small steps. That is the
# **forward process** (前向过程), and nothing in it is learned: $q$ adds noise. The way back, in orange,
# is what this chapter is about: $p_\theta$ takes a little away.

# %%
ak.plots.diagram(
    {
        "0": (0, 0, "picture $x_0$", "data"),
        "s": (2, 0, "$x_{t-1}$", "data"),
        "t": (4, 0, "$x_t$", "data"),
        "T": (6, 0, "noise $x_T$", "noise"),
    },
    [
        ("0", "s", ". . ."),
        ("s", "t", "$q$"),
        ("t", "T", ". . ."),
        ("T", "t", ". . .", 0.45),
        ("t", "s", r"$p_\theta$", 0.45),
        ("s", "0", ". . .", 0.45),
    ],
    unit=(1.4, 1.5),
)

# %% [markdown]
# One step forward:
#
# $$q(x_t \mid x_{t-1}) = \mathcal N\big(\sqrt{1-\beta_t}\; x_{t-1},\; \beta_t I\big)$$
#
# Each step shrinks what there is a little and adds a little noise. Independent Gaussians *add up* to a
# Gaussian, so any number of steps can be done **at once**. With
# $\bar\alpha_t = (1-\beta_1)(1-\beta_2)\cdots(1-\beta_t)$:
#
# $$q(x_t \mid x_0) = \mathcal N\big(\sqrt{\bar\alpha_t}\; x_0,\; (1-\bar\alpha_t) I\big)$$
#
# or, written as a recipe,
#
# $$x_t = \underbrace{\sqrt{\bar\alpha_t}}_{\text{signal rate}} x_0
#     + \underbrace{\sqrt{1-\bar\alpha_t}}_{\text{noise rate}} \varepsilon,
# \quad \varepsilon \sim \mathcal N(0, I)$$
#
# Squared, the two rates add up to 1: what the signal loses, the noise gains. How $\bar\alpha$ falls
# from 1 to almost 0 is the **noise schedule** (噪声调度), a function of time that one chooses. The
# library writes time as a number from 0 (data) to 1 (noise):

# %%
ak.show(ak.diffusion.cosine)

# %%
train_images, train_labels = ak.datasets.arrays("fashion_mnist", f"train[:{pick(1000, 60_000)}]")
test_images, test_labels = ak.datasets.arrays("fashion_mnist", f"test[:{pick(500, 10_000)}]")
classes = ak.datasets.class_names("fashion_mnist")
boot = test_images[np.flatnonzero(test_labels == 9)[0]]
noise = np.random.default_rng(0).normal(size=boot.shape)
times = np.linspace(0, 1, 6)
strips = []
for noise_schedule in ak.diffusion.NOISE_SCHEDULES.values():
    alpha_bar = noise_schedule(times)[:, None, None, None]
    strips.append(np.sqrt(alpha_bar) * boot + np.sqrt(1 - alpha_bar) * noise)
ak.plots.grid(
    np.clip(np.concatenate(strips), -1, 1),
    columns=6,
    row_labels=list(ak.diffusion.NOISE_SCHEDULES),
    column_labels=[f"time {t:.1f}" for t in times],
    inches=1.0,
)

# %% [markdown]
# The same boot, the same noise, three schedules. *Linear* (Ho et al. 2020; its $\beta_t$ rises
# evenly) has destroyed the boot by the middle: the right half of the row is spent on noise. *Cosine*
# (Nichol and Dhariwal 2021) and *sigmoid* (Jabri et al. 2022) give each part of the destruction its
# time. What counts is the ratio of signal to noise (信噪比, SNR), on the right as a logarithm:

# %%
fig, axes = ak.plots.figure(columns=2, size=(5.4, 3.4))
fine = np.linspace(0.001, 1, 500)
for name, noise_schedule in ak.diffusion.NOISE_SCHEDULES.items():
    axes[0, 0].plot(fine, noise_schedule(fine), label=name)
    axes[0, 1].plot(fine, ak.diffusion.half_log_snr(noise_schedule(fine)), label=name)
axes[0, 0].set(xlabel="time", title="alpha bar")
axes[0, 1].set(xlabel="time", title="log (signal rate / noise rate)")
axes[0, 1].legend()
fig

# %% [markdown]
# Believe no formula that you can simulate. A number, $x_0 = 1$, walks 1000 single steps with the
# $\beta_t$ that belong to the cosine schedule; 20,000 walkers in all:

# %%
rng = np.random.default_rng(0)
betas = ak.diffusion.betas(ak.diffusion.cosine, 1000)
walkers, stations = np.ones(20_000), {}
for step, beta in enumerate(betas, start=1):
    walkers = np.sqrt(1 - beta) * walkers + np.sqrt(beta) * rng.normal(size=len(walkers))
    if step in (250, 500, 750):
        stations[step] = walkers.copy()
for step, x in stations.items():
    alpha_bar = ak.diffusion.cosine(step / 1000)
    print(
        f"after {step} steps: mean {x.mean():.3f}, closed form {np.sqrt(alpha_bar):.3f}; "
        f"variance {x.var():.3f}, closed form {1 - alpha_bar:.3f}"
    )
    assert abs(x.mean() - np.sqrt(alpha_bar)) < 5 * x.std() / np.sqrt(len(x))

# %% [markdown]
# ### The way back
#
# The **reverse process** (逆向过程) has to undo one small step: $p_\theta(x_{t-1} \mid x_t)$. If we
# knew the picture $x_0$, Bayes' rule would give the answer in closed form (Ho et al. 2020, eq. 7): a
# Gaussian between what we have and where it came from, the **posterior** (后验). For a step from $t$
# back to any $s < t$, with $\alpha = \bar\alpha_t / \bar\alpha_s$, its mean and variance are
#
# $$\tilde\mu = \frac{\sqrt{\bar\alpha_s}\,(1-\alpha)}{1-\bar\alpha_t}\, x_0
#   + \frac{\sqrt{\alpha}\,(1-\bar\alpha_s)}{1-\bar\alpha_t}\, x_t$$
#
# $$\tilde\sigma^2 = \frac{1-\bar\alpha_s}{1-\bar\alpha_t}\,(1-\alpha)$$

# %%
ak.show(ak.diffusion.posterior)

# %% [markdown]
# We do not know $x_0$. So a network looks at $x_t$ and guesses it, and that is all that is ever
# learned. Three ways to ask for the guess, and each can be turned into the others without loss,
# because the picture, the noise and their mixture are three numbers with one equation between them:
#
# | the network predicts | | weak where |
# |---|---|---|
# | **noise** (噪声) | $\varepsilon$ | $t \to 1$: the answer is the input, and dividing by a small signal rate blows its errors up |
# | **image** (图像) | $x_0$ | $t \to 0$: the answer is the input |
# | **velocity** (速度) | $v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$ | nowhere: noise at one end, image at the other |
#
# A fourth, the **flow** $\varepsilon - x_0$, belongs to another path, the straight one of rectified flow (Liu et al. 2022).

# %%
ak.show(ak.diffusion.predictions)

# %% [markdown]
# ### From KL to a squared error
#
# What should the guess be good at? Chapter 02 answers: at a bound on the likelihood. Its terms are KL
# divergences between the posterior and our step back
# ([section 6](#6.-The-numbers) has the whole sum). Let $p_\theta$ be that same Gaussian with the guess
# $\hat x$ in the place of $x_0$. The KL divergence of two Gaussians with one variance is the squared
# distance of their means over twice that variance, and these means differ in $x_0$ only. With
# $\mathrm{SNR} = \bar\alpha / (1 - \bar\alpha)$:
#
# $$D_{KL} = \frac{\lVert \tilde\mu - \mu_\theta \rVert^2}{2 \tilde\sigma^2}
#   = \tfrac12 \big(\mathrm{SNR}_s - \mathrm{SNR}_t\big)\, \lVert x_0 - \hat x \rVert^2$$
#
# So the bound *is* a squared error, with a weight for each time (Kingma et al. 2021). Check the second
# step with the library's own posterior:

# %%
alpha_bar = ak.diffusion.cosine(np.arange(1, 1001) / 1000)
now, after = alpha_bar[1:], alpha_bar[:-1]
image_weight, variance = ak.diffusion.posterior(1.0, 0.0, now, after)
snr_now, snr_after = now / (1 - now), after / (1 - after)
weights = (snr_after - snr_now) / 2
np.testing.assert_allclose(image_weight**2 / (2 * variance), weights, rtol=1e-6)
for step in (10, 100, 500, 900):
    print(f"step {step}: the image's squared error counts {weights[step - 2]:.2g} times")

# %% [markdown]
# Nearly all of the weight lies on the first steps, on noise that no eye can see. Ho et al. left the
# weights out, the error being that of the noise, and their pictures got better. The loss that remains
# is a mean squared error, at a random time, with random noise. There is no opponent and no
# bound to balance: compare with chapters 01 and 02.

# %%
ak.show(ak.diffusion.DiffusionModel.batch_loss)

# %% [markdown]
# - `steps` picks a time for each picture, `diffuse` jumps there with the closed form.
# - `label_dropout` puts `no_label`, the class that says nothing, in place of some labels: guidance, in [section 5](#5.-Pictures,-and-a-smaller-place-to-diffuse),
#   needs a network that can also do without.
# - `objective` is the weighted squared error. With weights 1 it is the **simple** loss (Ho et al. 2020,
#   eq. 14); `loss_weighting="min_snr"` keeps the easy, nearly clean pictures from dominating (Hang et al.
#   2023).
# - The last lines are for a learned variance ([section 6](#6.-The-numbers)).
#
# And the step around it:

# %%
ak.show(ak.diffusion.DiffusionModel.train_step)

# %% [markdown]
# The best guess in the sense of squared error is the mean $\mathbb E[x_0 \mid x_t]$ of all pictures
# that could have led to $x_t$. Chapter 02 ended with what that means: the guess points to where data are more
# probable. Exactly, with the noise rate $\sigma_t$ and the **score** (得分), the gradient of the
# log-density:
#
# $$\nabla \log q(x_t) = -\,\mathbb E[\varepsilon \mid x_t] \,/\, \sigma_t$$
#
# ## 2. Points: un-mixing the ring
#
# In the plane one can see it all, and know the truth. Chapter 01's eight clouds, mixed with noise:

# %%
ring, ring_labels = ak.datasets.arrays("ring", "test")
centers = ak.datasets.ring_centers()
ring_noise = np.random.default_rng(0).normal(size=ring.shape)


def mixed(t):
    alpha_bar = ak.diffusion.cosine(t)
    return np.sqrt(alpha_bar) * ring + np.sqrt(1 - alpha_bar) * ring_noise


colors = np.array([*ak.plots.COLORS, "#999999"])[ring_labels[:2000]]
fig, axes = ak.plots.figure(columns=3, size=(3.6, 4.0))
for axis, t in zip(axes[0], (0.0, 0.2, 0.7)):
    axis.scatter(*mixed(t)[:2000].T, s=2, c=colors)
    axis.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal", title=f"time {t:.1f}")
    axis.set(xticks=[], yticks=[])
fig

# %% [markdown]
# The colours say which cloud a point came from. At time 0.7 they are mixed beyond recognition: the way
# back is not one of single points but of the whole cloud. A small network of dense layers learns it.
# Besides the point it is told the time; but to a dense layer two times that lie close together are nearly
# the same number. So the time goes in like on a clock with many hands, as a
# **time embedding** (时间嵌入): sines and cosines of waves from fast to slow,
#
# $$\sin(1000\, t\, \omega_k),\; \cos(1000\, t\, \omega_k)
# \qquad \omega_k = 10000^{-k/K}, \quad k = 0, \dots, K - 1$$

# %%
ak.show(ak.diffusion.SinusoidalEmbedding.call)

# %%
embedded = ak.diffusion.SinusoidalEmbedding(64)(np.linspace(0, 1, 501)).numpy().T
fig, axes = ak.plots.figure(size=(8.0, 3.0))
axis = axes[0, 0]
axis.imshow(embedded, cmap="PuOr", aspect="auto", extent=(0, 1, 64, 0), interpolation="nearest")
axis.set(xlabel="time", yticks=[16, 48])
axis.set_yticklabels(["sines", "cosines"])
axis.grid(False)
fig

# %% [markdown]
# From left to right the time, from top to bottom the hands: the first of each half go round too fast for
# this picture, the last hardly move. Each column is what the network gets, and no two are alike. In the
# table, `Concatenate` gives it to every layer anew:


# %%
def ring_network():
    return ak.diffusion.mlp(2, widths=(128, 128, 128))


ak.plots.shapes(ring_network())

# %% tags=["nbval-ignore-output"]
ring_train = ak.datasets.load("ring", batch_size=256, seed=0)
ring_steps = pick(20, 1100)


def train_on_ring(model, points=ring_train, steps=ring_steps):
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps)),
        steps_per_execution=10,
    )
    model.fit(points.repeat(), steps_per_epoch=steps, verbose=2)
    return model


small = {"image_shape": (2,), "ema_momentum": 0.99}  # a short training, a short average
ring_model = train_on_ring(ak.diffusion.DiffusionModel(network=ring_network(), **small))

# %% [markdown]
# Does it know the score? For a mixture of Gaussians we can write the exact one down: of each cloud how
# probable it is that $x_t$ comes from it, and where in it.


# %%
def exact_denoiser(noisy, time, signal_rate, noise_rate):
    """The perfect denoiser of the ring: E[x_0 | x_t] of eight equal Gaussians."""
    variance = (signal_rate * 0.03) ** 2 + noise_rate**2
    offsets = noisy[:, None] - signal_rate * keras.ops.cast(centers, noisy.dtype)
    weights = keras.ops.softmax(-keras.ops.sum(offsets**2, axis=-1) / (2 * variance))
    means = centers + signal_rate * 0.03**2 / variance * offsets
    image = keras.ops.sum(weights[:, :, None] * means, axis=1)
    return ak.diffusion.Denoised(image, (noisy - signal_rate * image) / noise_rate)


learned_denoiser = ring_model.denoiser()
ticks = np.linspace(-1.6, 1.6, 17)
plane = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2).astype("float32")
fig, axes = ak.plots.figure(columns=3, size=(4.4, 4.6))
for axis, t in zip(axes[0], (0.7, 0.3, 0.03)):
    signal_rate, noise_rate = (
        float(np.sqrt(x)) for x in (ak.diffusion.cosine(t), 1 - ak.diffusion.cosine(t))
    )
    for name, denoiser, color in (
        ("exact", exact_denoiser, "#BBBBBB"),
        ("learned", learned_denoiser, ak.plots.COLORS[1]),
    ):
        score = (
            -np.asarray(denoiser(tf.constant(plane), t, signal_rate, noise_rate).noise) / noise_rate
        )
        width = 0.012 if name == "exact" else 0.004
        axis.quiver(*plane.T, *score.T, color=color, label=name, angles="xy", width=width)
    axis.scatter(*mixed(t)[:1500].T, s=1, color=ak.plots.COLORS[0], alpha=0.4)
    x = tf.constant(mixed(t)[:2000].astype("float32"))  # where there are data
    truth, guess = (
        np.asarray(d(x, t, signal_rate, noise_rate).noise)
        for d in (exact_denoiser, learned_denoiser)
    )
    error = np.mean((truth - guess) ** 2) / np.mean(truth**2)
    axis.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal", xticks=[], yticks=[])
    axis.set_title(f"time {t}: squared error {error:.1%}")
handles, names = axes[0, 0].get_legend_handles_labels()
fig.legend(handles, names, loc="outside lower center", ncols=2)
fig

# %% [markdown]
# Far out all arrows point to the middle: seen through much noise, the ring is one blob. Nearer to the
# data they part for the eight clouds. Grey is the truth, and as long as there is much noise the orange
# arrows of the network lie on it. In the last picture they do so less: there the truth turns sharply from one
# cloud to the next, and far from the clouds the network has seen no point with so little noise.
#
# ## 3. Samplers: ways back
#
# A **sampler** (采样器) starts from pure noise and walks to time 0. It is not part of the model; any
# sampler works with any denoiser, also with our exact one. Four of them, each a few lines.
#
# **DDPM** (Ho et al. 2020) draws from the posterior as if the guess $\hat x$ were the truth, and adds the
# posterior's noise: ancestral sampling (祖先采样). With fresh $z \sim \mathcal N(0, I)$,
#
# $$x_s = \tilde\mu(\hat x, x_t) + \tilde\sigma z$$

# %%
ak.show(ak.diffusion.DDPM.step)

# %% [markdown]
# **DDIM** (Song et al. 2020, eq. 12) splits $x_t$ into picture $\hat x$ and noise $\hat\varepsilon$ and
# mixes the two anew, with a little less noise:
#
# $$x_s = \sqrt{\bar\alpha_s}\,\hat x + \sqrt{1 - \bar\alpha_s - \sigma^2}\;\hat\varepsilon + \sigma z$$
#
# `eta` scales $\sigma$. At `eta=0` it is 0 and nothing is random any more: each noise leads to one picture.

# %%
ak.show(ak.diffusion.DDIM.step)

# %% [markdown]
# Divide by $\sqrt{\bar\alpha}$ and put in $\hat x = (x_t - \sqrt{1-\bar\alpha_t}\,\hat\varepsilon) / \sqrt{\bar\alpha_t}$.
# Then DDIM without noise reads, with the rescaled point $y = x / \sqrt{\bar\alpha}$ and the ratio of noise to
# signal $\rho = \sqrt{1 - \bar\alpha} / \sqrt{\bar\alpha}$,
#
# $$y_s = y_t + (\rho_s - \rho_t)\,\hat\varepsilon(x_t)$$
#
# That is Euler's method for a differential equation, the **probability-flow ODE** (概率流常微分方程; Song et al. 2021):
#
# $$\frac{dy}{d\rho} = \hat\varepsilon$$
#
# With a perfect $\hat\varepsilon$, points that follow it are spread at each time just like data mixed with noise.
# So sampling is solving an ODE, and how to do that in fewer steps is an old art. **Heun**'s method (1900;
# Karras et al. 2022) goes ahead, looks again, and takes the mean of both directions. **DPM-Solver++** (Lu et al.
# 2022) instead remembers the step before, and so needs one look a step.

# %%
ak.show(ak.diffusion.DPMSolver.step)

# %% [markdown]
# The order of a method says how fast its error falls: of first order, twice the steps halve the error;
# of second order they quarter it. With the exact denoiser of one Gaussian, the end point of each path is known.
# `spacing="quadratic"` puts the steps closer together near the data. With even steps the last ones are too long for
# the second order to show:


# %%
def exact_gaussian(noisy, time, signal_rate, noise_rate):
    """The perfect denoiser of data from N(0.5, 0.2^2)."""
    variance = (signal_rate * 0.2) ** 2 + noise_rate**2
    image = 0.5 + signal_rate * 0.2**2 / variance * (noisy - 0.5 * signal_rate)
    return ak.diffusion.Denoised(image, (noisy - signal_rate * image) / noise_rate)


starts = np.random.default_rng(0).normal(size=(200, 1))
last = ak.diffusion.cosine(1.0)
std = np.sqrt(0.2**2 * last + 1 - last)
# On its way a point stays as many standard deviations from the mean.
ends = 0.5 + 0.2 * (starts - 0.5 * np.sqrt(last)) / std
counts = np.array(pick([5, 10, 20, 40], [5, 10, 20, 40, 80, 160]))
fig, axes = ak.plots.figure(size=(7.0, 4.0))
axis = axes[0, 0]
for sampler_class in (ak.diffusion.DDIM, ak.diffusion.DPMSolver, ak.diffusion.Heun):
    errors = []
    for n in counts:
        sample = tf.function(sampler_class(int(n), spacing="quadratic").sample)  # as one graph
        found = sample(exact_gaussian, starts, ak.diffusion.cosine).numpy()
        errors.append(np.sqrt(np.mean((found - ends) ** 2)))
    order = -np.polyfit(np.log(counts[2:]), np.log(errors[2:]), 1)[0]
    axis.loglog(counts, errors, "o-", label=f"{sampler_class.__name__}: order {order:.1f}")
    wanted = 1 if sampler_class is ak.diffusion.DDIM else 2
    assert ak.profile.name() == "fast" or abs(order - wanted) < 0.35
axis.set(xlabel="steps", ylabel="distance to the exact end")
axis.set_xticks(counts, counts)
axis.minorticks_off()
axis.legend()
fig

# %% [markdown]
# And the ring, from noise, with the network that we trained:

# %% tags=["nbval-ignore-output"]
n_points = pick(500, 2000)
samplers = {
    "DDPM, 200 steps": ak.diffusion.DDPM(200),
    "DPM-Solver++, 20": ak.diffusion.DPMSolver(20),
    "DPM-Solver++, 5": ak.diffusion.DPMSolver(5),
}
clouds = {
    name: ring_model.generate(n_points, sampler=sampler, seed=0, batch_size=n_points)
    for name, sampler in samplers.items()
}
for (name, sampler), cloud in zip(samplers.items(), clouds.values()):
    modes, good = ak.metrics.count_modes(cloud, centers, ak.datasets.RING_STD)
    nearest = np.linalg.norm(cloud[:, None] - centers, axis=-1).argmin(axis=1)
    shares = np.bincount(nearest, minlength=8) / len(cloud)
    print(
        f"{name:17s} {modes} of 8 modes, {good:.0%} of the points within 3 standard deviations; "
        f"shares {shares.min():.3f} to {shares.max():.3f} (true: 0.125)"
    )
    assert ak.profile.name() == "fast" or modes == 8 or sampler.steps == 5
ak.plots.points(ring, list(clouds.values()), list(clouds))

# %% [markdown]
# All eight clouds, each with its share, and bridges between them: where the truth parts the clouds with an edge,
# a network has a slope. DDPM's noise spreads the points over the whole clouds; the fast sampler, which adds none,
# draws them to thin lines. Five steps are too few for an edge of any kind. Chapter 01's GAN had to be coaxed into
# finding all clouds; here the loss is a regression, and none can be dropped without paying for it.
#
# ## 4. Flow matching: straight ways
#
# So far the way to the noise was an arc: the squares of the two rates add up to 1. **Flow matching** (流匹配;
# Lipman et al. 2022) or **rectified flow** (Liu et al. 2022) takes the shortest one instead, a straight
# line, walked at constant speed:
#
# $$x_t = (1 - t)\, x_0 + t\, \varepsilon, \qquad \frac{dx_t}{dt} = \varepsilon - x_0$$
#
# Start at noise, follow the velocity (速度场) backwards, arrive at a picture; but that of a single line needs
# its $x_0$. So a network is trained to guess the velocity from where one stands, again by squared error,
#
# $$\min_\theta\; \mathbb E\, \big\lVert u_\theta(x_t, t) - (\varepsilon - x_0) \big\rVert^2$$
#
# whose best answer is the mean $u(x, t) = \mathbb E[\varepsilon - x_0 \mid x_t = x]$ over all lines through that
# point. And that is enough: points that follow $dx/dt = u(x, t)$ are spread like the $x_t$ at every time
# (Lipman et al. 2022, theorem 1). Where the mass goes depends on the mean velocity only.
#
# In the library it is the same class with other rates and another target, and Euler's method as sampler:

# %%
ak.show(ak.diffusion.straight)

# %%
ak.show(ak.diffusion.Euler.step)

# %% [markdown]
# On the line, this step is $x_s = x_t + (s - t)(\hat\varepsilon - \hat x)$. How straight are the ways? Left,
# lines of the training, each from a noise to a point of the ring. Middle and right, where the exact means
# send the same noises, along the line and along the arc. A sampler is a loop; here it is by hand, so that we
# can keep what it passes:


# %%
def walk(sampler, denoise, schedule, x):
    """All x_t that a sampler passes, and the images that it sees in them."""
    path, seen, image = [x], [], tf.zeros_like(x)
    coefficients = sampler.coefficients(schedule)
    for i in range(sampler.steps):
        c = {name: tf.constant(values[i], "float32") for name, values in coefficients.items()}
        x, image = sampler.step(denoise, x, c, image, lambda: 0.0)
        path.append(x)
        seen.append(image)
    return np.array(path), np.array(seen)


starts = tf.random.stateless_normal((400, 2), (0, 4))
sampler = ak.diffusion.Euler(100)  # without noise, DDIM's steps on the arc
ways = {
    "lines of the training": np.stack([starts, ring[:400]]),
    "the flow along the lines": walk(sampler, exact_denoiser, ak.diffusion.straight, starts)[0],
    "the flow along the arcs": walk(sampler, exact_denoiser, ak.diffusion.cosine, starts)[0],
}
fig, axes = ak.plots.figure(columns=3, size=(4.2, 4.5))
for axis, (title, way) in zip(axes[0], ways.items()):
    axis.plot(*np.moveaxis(way[:, :60], 2, 0), color=ak.plots.COLORS[0], linewidth=1)
    axis.scatter(*way[0, :60].T, s=14, color="#999999", label="noise", zorder=2)
    axis.scatter(*way[-1, :60].T, s=14, color=ak.plots.COLORS[1], label="end", zorder=3)
    axis.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal", title=title, xticks=[], yticks=[])
    lengths = np.linalg.norm(np.diff(way, axis=0), axis=-1).sum(axis=0)
    distances = np.linalg.norm(way[-1] - way[0], axis=-1)
    print(f"{title}: {lengths.sum() / distances.sum():.2f} times as long as straight")
handles, names = axes[0, 0].get_legend_handles_labels()
fig.legend(handles, names, loc="outside lower center", ncols=2)
fig

# %% [markdown]
# Each line is straight, and none is walked: where lines cross, one follows their mean, at first to the middle of the
# ring, where all data are on average, and then out to one cloud. In the plane that is no shorter than the arcs are.
# (Liu et al. have a cure: draw pairs of noise and end with the trained flow, and train again on the lines between
# *these*, which hardly cross.) So does it save steps? Same network, same number of training steps and so the same
# seconds, three seeds each; only rates and target differ:

# %% tags=["nbval-ignore-output"]
straight = {"noise_schedule": "straight", "prediction": "flow"}
trained, seconds = {"arc": [ring_model], "line": []}, {"arc": [], "line": []}
for seed in range(pick(1, 3)):
    for name, settings in (("arc", {}), ("line", straight)):
        if seed < len(trained[name]):
            continue
        keras.utils.set_random_seed(seed)
        start = time.perf_counter()
        model = ak.diffusion.DiffusionModel(network=ring_network(), **small, **settings)
        trained[name].append(train_on_ring(model))
        seconds[name].append(time.perf_counter() - start)
for name, values in seconds.items():
    print(f"{name}: {', '.join(f'{x:.0f} s' for x in values)}")

# %% [markdown]
# The distance is a Wasserstein distance (推土机距离): how far, in the root mean square, the drawn points have to be
# moved to become data. In one dimension one sorts both and subtracts; in the plane we look from many directions.
# So that chance does not decide how many points each cloud gets, the noises are turned to all eight directions, and
# so are the data.


# %% tags=["nbval-ignore-output"]
def turned(points):
    """Points (N, 2), turned to eight directions: float32 (8 N, 2)."""
    turns = np.exp(2j * np.pi * np.arange(8) / 8)
    z = np.outer(turns, points[:, 0] + 1j * points[:, 1]).ravel()
    return np.stack([z.real, z.imag], axis=1).astype("float32")


def distance(a, b):
    """Sliced Wasserstein distance of two sets of points (N, 2), over 32 directions."""
    angles = np.pi * np.arange(32) / 32
    directions = np.stack([np.cos(angles), np.sin(angles)])
    return np.sqrt(np.mean((np.sort(a @ directions, 0) - np.sort(b @ directions, 0)) ** 2))


rng = np.random.default_rng(0)
cloud, other_cloud = (centers[0] + 0.03 * rng.normal(size=(250, 2)) for _ in range(2))
wanted, starts = turned(cloud), tf.constant(turned(rng.normal(size=(250, 2))))
floor = distance(turned(other_cloud), wanted)
rivals = {
    "arc, DDIM": ("arc", ak.diffusion.DDIM, (2, 4, 8, 16)),
    "arc, DPM-Solver++": ("arc", ak.diffusion.DPMSolver, (2, 4, 8, 16)),
    "line, Euler": ("line", ak.diffusion.Euler, (2, 4, 8, 16)),
    "line, Heun": ("line", ak.diffusion.Heun, (2, 3, 5, 8)),  # two calls a step but the last
}
denoisers = {name: [tf.function(m.denoiser()) for m in models] for name, models in trained.items()}
fig, axes = ak.plots.figure(columns=2, size=(5.4, 4.4), sharey=True)
means = {}
for axis, spacing in zip(axes[0], ("uniform", "quadratic")):
    for label, (name, sampler_class, counts) in rivals.items():
        calls, found = [], []
        for n in counts:
            sampler = sampler_class(n, spacing=spacing)
            ends = [
                walk(sampler, denoise, model.alpha_bar, starts)[1][-1]
                for denoise, model in zip(denoisers[name], trained[name])
            ]
            found.append([distance(end, wanted) for end in ends])
            calls.append(2 * n - 1 if sampler_class is ak.diffusion.Heun else n)
        means[spacing, label] = np.mean(found, axis=1)
        axis.errorbar(
            calls, means[spacing, label], np.std(found, axis=1), marker="o", capsize=4, label=label
        )
        print(f"{spacing:9s} {label:17s}", *(f"{d:.3f}" for d in means[spacing, label]))
    axis.set(xscale="log", yscale="log", xlabel="calls of the network", title=f"{spacing} steps")
    axis.set_xticks([2, 4, 8, 16], ["2", "4", "8", "16"])
    axis.set_yticks([0.03, 0.05, 0.1, 0.2, 0.3], ["0.03", "0.05", "0.1", "0.2", "0.3"])
    axis.minorticks_off()
axes[0, 0].set_ylabel("distance to the data")
axes[0, 1].legend()
print(f"data from other data: {floor:.3f}")
if ak.profile.name() != "fast":
    even, near = (
        {k[1]: d for k, d in means.items() if k[0] == s} for s in ("uniform", "quadratic")
    )
    assert even["line, Euler"][1] < min(even["arc, DDIM"][1], even["arc, DPM-Solver++"][1])
    assert near["arc, DPM-Solver++"][1] < near["line, Euler"][1]
    assert min(d[-1] for d in means.values()) > 2 * floor
fig

# %% [markdown]
# With even steps (left) Euler's method on the line needs fewer calls than both rivals on the arc, whose last steps
# are too long. Put the steps closer together near the data (right), and the arc catches up: there DPM-Solver++ is
# ahead of Euler, and only Heun keeps the line beside it. Where the steps are spent matters at least as much as the
# path. With many steps all end well above the distance of data from other data: what is left is not the sampler's
# error but what the network did not learn. So flow matching is not better by nature. It is simpler: no schedule to
# choose, a start in truly pure noise, an ODE in plain time that any solver takes. (On pictures, three seeds of each
# would cost more than this whole lesson; this chapter has not measured it there.)

# %% [markdown]
# ## 5. Pictures, and a smaller place to diffuse
#
# For pictures the network is a **U-Net** (Ronneberger et al. 2015): down to coarse maps and up again,
# with a bridge (跳跃连接) from each level to its mirror image, so that nothing fine is lost. Every block is
# told the time and the class: they scale and shift its normalised maps (orange). At the coarsest level,
# **attention** (注意力) lets every position look at every other.

# %%
ak.plots.diagram(
    {
        "in": (0, 2, "$x_t$", "data"),
        "down 1": (1, 2, "block,\nfine maps", "network"),
        "down 2": (2, 1, "block,\ncoarse maps", "network"),
        "middle": (3, 0, "block,\nattention", "network"),
        "up 2": (4, 1, "block,\ncoarse maps", "network"),
        "up 1": (5, 2, "block,\nfine maps", "network"),
        "out": (6, 2, "prediction", "data"),
        "told": (3, -1.5, "time and class", "data"),
    },
    [
        ("in", "down 1", ""),
        ("down 1", "down 2", "half the size"),
        ("down 2", "middle", ""),
        ("middle", "up 2", ""),
        ("up 2", "up 1", "twice the size"),
        ("up 1", "out", ""),
        ("down 1", "up 1", "bridge"),
        ("down 2", "up 2", "bridge"),
        ("told", "down 1", "", -0.3),
        ("told", "down 2", "", -0.2),
        ("told", "middle", "", 0.001),
        ("told", "up 2", "", 0.2),
        ("told", "up 1", "", 0.3),
    ],
    unit=(1.5, 1.2),
)

# %%
ak.show(ak.diffusion.unet)

# %% [markdown]
# (`condition` is for what a network is told in place of a class; here there is none.) A table of all its
# layers would fill two screens. These are the maps that its convolutions give, one after the
# other, for the small maps that follow below:

# %%
network = ak.diffusion.unet((7, 7, 4), widths=(64, 128), blocks=1, num_classes=10)
print(f"{len(network.layers)} layers, {network.count_params():,} weights")
for layer in network.layers:
    if isinstance(layer, layers.Conv2D):
        print(" x ".join(map(str, layer.output.shape[1:])), end="   ")

# %% [markdown]
# A U-Net works on every pixel at every step, and a sampler calls it many times. **Latent diffusion**
# (潜空间扩散, Rombach et al. 2022), the idea of Stable Diffusion, first squeezes the pictures: an
# autoencoder (chapter 02) turns 28 x 28 pixels into a map of 7 x 7 places with 4 numbers each, is then
# frozen, and diffusion happens there. The autoencoder looks after sharp edges, the diffusion after what is
# drawn. Its encoder gives twice 4 numbers a place, mean and log variance:

# %%
ak.plots.shapes(ak.vae.code_encoder((28, 28, 1), 48, 8))

# %%
ak.plots.shapes(ak.vae.code_decoder((28, 28, 1), 48, 4))

# %% [markdown]
# It is trained like any VAE of chapter 02, so we take the checkpoint, and all minutes of this lesson go to the
# diffusion. Its losses on test pictures:

# %% tags=["nbval-ignore-output"]
tf.config.run_functions_eagerly(pick(True, False))  # fast: U-Nets take longer to build than to run
autoencoder = ak.checkpoints.load("autoencoder_fashion_mnist")
manifest = ak.checkpoints.manifest()
minutes = manifest["autoencoder_fashion_mnist"]["training_minutes"]
terms = autoencoder.evaluate(test_images[: pick(50, 1000)], verbose=0, return_dict=True)
print(f"trained for {minutes:.0f} minutes; " + ", ".join(f"{k} {v:.0f}" for k, v in terms.items()))

# %% [markdown]
# Two of these terms look odd, and both are meant so. The loss is chapter 02's,
# $-\log p(x|z) + \beta\, D_{KL}$, with a small $\beta$: the latents shall say all that a sharp picture needs, so the
# KL is large, and `negative_elbo`, in which it counts in full, is not what is minimised. And $p(x|z)$ is a Gaussian
# *density* with a learned narrow spread; a density may be above 1, its logarithm above 0, and so the loss below 0:

# %% tags=["nbval-ignore-output"]
weighted = terms["reconstruction_loss"] + autoencoder.beta * terms["kl_divergence"]
print(f"reconstruction loss + {autoencoder.beta} x KL = {weighted:.1f}, loss {terms['loss']:.1f}")
assert abs(weighted - terms["loss"]) < 0.01 * abs(terms["loss"])

# %% tags=["nbval-ignore-output"]
first = [np.flatnonzero(test_labels == k)[0] for k in range(10)]
chosen = test_images[first][[0, 3, 5, 8, 9]]
latents, _ = autoencoder.encode(chosen)
maps = np.clip(latents.reshape(5, 7, 7, 4) / 3, -1, 1).repeat(4, axis=1).repeat(4, axis=2)
columns = [chosen, *np.split(maps, 4, axis=-1), autoencoder.reconstruct(chosen)]
ak.plots.grid(
    np.stack(columns, axis=1).reshape(30, 28, 28, 1),
    columns=6,
    row_labels=[classes[k] for k in (0, 3, 5, 8, 9)],
    column_labels=["picture", "map 1", "map 2", "map 3", "map 4", "decoded"],
)

# %% [markdown]
# The maps are rough pictures themselves: neighbours stay neighbours, so a U-Net is still the right
# network. `LatentDiffusion` is `DiffusionModel` with an `encode` before and a `decode` after:

# %%
ak.show(ak.diffusion.LatentDiffusion.encode)

# %% tags=["nbval-ignore-output"]
train = ak.datasets.load(
    "fashion_mnist", f"train[:{len(train_images)}]", batch_size=32, seed=0, labels=True
)
latent_steps = pick(10, 1000)
lesson_model = ak.diffusion.LatentDiffusion(autoencoder, num_classes=10, blocks=1)
lesson_model.compile(
    keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1.5e-3, latent_steps))
)
progress = ak.callbacks.SampleGrid(n=20, every=pick(1, 5), display=False)
start = time.perf_counter()
lesson_model.fit(
    train.repeat(),
    steps_per_epoch=latent_steps // 10,
    epochs=pick(1, 10),
    callbacks=[progress],
    verbose=2,
)
seconds = time.perf_counter() - start
print(f"{lesson_model.network.count_params():,} weights, {seconds:.0f} s of training")
progress.strip(n=3)

# %% [markdown]
# ### Guidance: to ask more firmly
#
# Training hid some labels, so the network can also draw without one, and one can compare: what does the label
# change? **Guidance** (引导, classifier-free: Ho and Salimans 2022) takes that difference and exaggerates it. With
# $u$ for what the network predicts, a class $c$ and a scale $w$:
#
# $$u = u(x_t) + w\,\big(u(x_t, c) - u(x_t)\big)$$
#
# `guidance_scale` $w = 1$ is the plain conditional model, 0 the one without labels, and above 1 the class is
# overdone. It costs a second look of the network at each step.

# %%
ak.show(ak.diffusion.DiffusionModel.denoiser)

# %% [markdown]
# ## 6. The numbers
#
# **Does it draw what it is asked for?** Garments of each class in turn, with guidance. The
# course's classifier looks at each and says what it sees. It is right about 93 % of the real test pictures: a
# pullover, a coat and a shirt are hard to tell apart. (Guidance can beat that, by drawing only what is typical.)

# %% tags=["nbval-ignore-output"]
features = ak.metrics.fashion_features()
n_asked = pick(100, 600)
asked = np.arange(n_asked) % 10


def seen_as(images):
    """The class that the classifier sees in each image."""
    return features.extract(images)[1].argmax(axis=1)


start = time.perf_counter()
settings = {"guidance_scale": 3.0, "sampler": ak.diffusion.DPMSolver(pick(2, 10)), "seed": 0}
drawn = lesson_model.generate(n_asked, labels=asked, **settings)
seconds = time.perf_counter() - start
agreement = np.mean(seen_as(drawn) == asked)
print(f"{agreement:.1%} of {n_asked} are seen as the class asked for; drawn in {seconds:.0f} s")
real = np.mean(seen_as(test_images) == test_labels)
print(f"{real:.1%} of the test images are seen as their class")
assert ak.profile.name() == "fast" or agreement > 0.7
rows = drawn[:80].reshape(8, 10, 28, 28, 1).swapaxes(0, 1)
ak.plots.grid(rows.reshape(80, 28, 28, 1), columns=8, row_labels=classes, inches=0.65)

# %% [markdown]
# The sandals are scraps. Thin straps are the hardest thing to draw: the decoder blurs them, and the diffusion had
# little time to learn them. How many the classifier takes for sandals stands below; look, do not only count. Under
# the lesson's, those of the checkpoint `diffusion_fashion_mnist`, a diffusion of the pixels themselves that was trained
# for longer, not all of them good but most of them sandals:

# %% tags=["nbval-ignore-output"]
pixel_model = ak.checkpoints.load("diffusion_fashion_mnist")
sampler = ak.diffusion.DPMSolver(pick(2, 20))
sandals = pixel_model.generate(6, labels=5, sampler=sampler, guidance_scale=1.5, seed=0)
print(f"{np.mean(seen_as(drawn)[5::10] == 5):.0%} of the lesson's sandals are seen as sandals")
rows = np.concatenate([drawn[5:65:10], sandals])
ak.plots.grid(rows, columns=6, row_labels=["lesson", "checkpoint"], inches=1.0)

# %% [markdown]
# **How close to the data?** The Fréchet distance of chapter 01, same features, same 10,000 test images. The
# lesson's model had a minute or two; the checkpoint of its class was trained for longer by a recipe in
# `aigc_keras.recipes`. The distance also depends on how many pictures are drawn, and with which guidance, so
# both draw alike. Under them stand the distances of the checkpoints, those of the earlier chapters too, from
# the manifest that `make checkpoints` writes: compare these with one another. Read the error bars: at these
# training times the two diffusion models and the GAN are tied.

# %% tags=["nbval-ignore-output"]
test_features = features.extract(test_images)
latent_model = ak.checkpoints.load("latent_diffusion_fashion_mnist")
alike = {
    "this lesson": drawn,
    "the checkpoint of the same class": latent_model.generate(n_asked, labels=asked, **settings),
}
print(f"{n_asked} pictures each, drawn alike:")
for name, images in alike.items():
    print(f"{name}: {np.mean(seen_as(images) == asked):.0%} seen as the class asked for")
    print(f"  {ak.metrics.evaluate_samples(images, test_features, features)}")
print("\nFrom the manifest, 10,000 pictures each:")
titles = {
    "vae_16d_fashion_mnist": "chapter 02's VAE",
    "conditional_gan_fashion_mnist": "chapter 01's DCGAN with classes",
    "diffusion_fashion_mnist": "diffusion of pixels",
    "latent_diffusion_fashion_mnist": "diffusion of latents",
}
for name, title in titles.items():
    entry = manifest[name]
    print(f"{title} ({entry['training_minutes']:.0f} minutes):\n  {entry['score']}")

# %% [markdown]
# **How few steps?** For the latent checkpoint, `make bench BENCH_ARGS="--race 60 Samplers"` drew 2,000 pictures
# with each sampler and each number of steps. On the horizontal axis stands what it costs: how often the
# network is called for one picture.

# %%
races = json.loads(Path("../data/benchmarks.json").read_text())["races"]
fig, axes = ak.plots.figure(size=(9.0, 4.6))
axis = axes[0, 0]
found = {}
for result in races["Samplers"]["results"]:
    name, scores = result["setting"].partition("(")[0], result["scores"]
    values = [scores[key]["mean"] for key in ("evaluations", "frechet", "frechet_error", "steps")]
    found.setdefault(name, []).append(values)
for color, (name, values) in zip(ak.plots.COLORS, found.items()):
    calls, distances, errors, _ = np.transpose(values)
    axis.errorbar(calls, distances, errors, marker="o", capsize=4, color=color, label=name)
axis.set(xscale="log", yscale="log", xlabel="calls of the network", ylabel="Fréchet distance")
axis.legend()
for name, values in found.items():
    print(name, "; ".join(f"{steps:.0f} steps {d:.2f} ± {e:.2f}" for _, d, e, steps in values))
best = {(name, steps): (d, e) for name in found for _, d, e, steps in found[name]}
(fast, fast_error), (slow, slow_error) = best["DPMSolver", 10], best["DDPM", 200]
assert fast - slow < np.hypot(fast_error, slow_error)
fig

# %% [markdown]
# **DPM-Solver++ in 10 steps is as good as DDPM in 200**, within the error bars: a twentieth of the work. DDIM gets there
# with about twice the steps. With so few steps Heun's method breaks down: it has half as many for the same number of
# calls, and they lie evenly in time, where section 1's right-hand curve is steepest at both ends. (All at
# `guidance_scale=1` and from 2,000 pictures. The manifest has `guidance_scale=1.5` and 10,000, and smaller distances.)
#
# **How many bits?** A diffusion model is also a likelihood model. The forward and the reverse process give a
# lower bound like chapter 02's, a sum over all steps (Ho et al. 2020, eq. 5):
#
# $$\begin{aligned}
# -\log p(x_0) \;\le\;\; & D_{KL}\big(q(x_T|x_0)\,\|\,\mathcal N(0, I)\big) \\
# & + \sum_{t>1} D_{KL}\big(q(x_{t-1}|x_t,x_0)\,\|\,p_\theta(x_{t-1}|x_t)\big) \\
# & - \log p_\theta(x_0|x_1)
# \end{aligned}$$
#
# The first term is almost 0. Each of the sum compares two Gaussians, as in section 1. The variance of
# $p_\theta$, text 003's $\Sigma_\theta$, can be fixed at either end of a known range, or learned in between
# (Nichol and Dhariwal 2021): the network's second set of outputs, trained by this bound. In **bits per
# dimension** (每维比特数), the bound says how short a file the model could write: here against PNG and
# lossless WebP. By chapter 02's rule all pictures go into one file, so that headers do not count; nor do the
# model's weights, which both sides must have.

# %%
ak.show(ak.diffusion.DiffusionModel.bound_terms)

# %% tags=["nbval-ignore-output"]
few = slice(pick(8, 250))
bound = pixel_model.variational_bound(
    test_images[few], test_labels[few], n_steps=pick(4, 20), seed=0
)
bits = ak.diffusion.bits_per_dimension(bound, (28, 28, 1))
print(
    f"diffusion of pixels: {bits.mean():.2f} ± {bits.std() / len(bits) ** 0.5:.2f} bits per pixel"
)
sheet = ak.plots.tile(test_images[few], pick(4, 25))[..., 0]
files = {}
for kind, settings in (("PNG", {"optimize": True}), ("WebP", {"lossless": True})):
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, kind, **settings)
    files[kind] = 8 * file.tell() / sheet.size
    print(f"{kind}: {files[kind]:.2f} bits per pixel")
assert ak.profile.name() == "fast" or bits.mean() < min(files.values())
print("any picture of 256 levels without compression: 8 bits per pixel")

# %% [markdown]
# ## 7. Play: guidance
#
# The scale of [section 5](#5.-Pictures,-and-a-smaller-place-to-diffuse) is a knob. Turn it, and watch what is won
# and what is lost, in chapter 01's two numbers: **precision** (精确率), how many
# of the drawn pictures lie among real ones, and **recall** (召回率), how many real ones lie among the drawn.

# %% tags=["nbval-ignore-output"]
scales = pick((1.0, 8.0), (1.0, 3.0, 8.0))
n_each = pick(50, 300)
sweep, panels = {}, []
for scale in scales:
    images = latent_model.generate(
        n_each, guidance_scale=scale, sampler=ak.diffusion.DPMSolver(pick(2, 10)), seed=0
    )
    fake, _ = features.extract(images)
    precision, recall = ak.metrics.precision_recall(
        fake_features=fake, real_features=test_features[0][:n_each]
    )
    agreement = np.mean(seen_as(images) == np.arange(n_each) % 10)
    sweep[scale] = precision, recall, agreement
    panels.append(images[8:50:10])  # five bags
    print(
        f"guidance_scale {scale}: precision {precision:.2f}, recall {recall:.2f}, "
        f"seen as the class asked for {agreement:.0%}"
    )
assert ak.profile.name() == "fast" or sweep[8.0][1] < sweep[1.0][1]
fig, axes = ak.plots.figure(size=(7.0, 3.8))
axis = axes[0, 0]
for label, values in zip(("precision", "recall", "class as asked"), zip(*sweep.values())):
    axis.plot(scales, values, "o-", label=label)
axis.set(xlabel="guidance scale", ylim=(0, 1.02))
axis.legend()
fig

# %% tags=["nbval-ignore-output"]
ak.plots.grid(
    np.concatenate(panels),
    columns=5,
    row_labels=[f"scale {scale:g}" for scale in scales],
    inches=1.0,
)

# %% [markdown]
# Rows use the same noise. The more guidance, the more every bag becomes *the* bag: cleaner, brighter, and
# alike.
#
# ### What the sampler sees
#
# [Section 4](#4.-Flow-matching:-straight-ways)'s `walk` again, with DDIM and the pixel checkpoint, to look inside:
# above, $x_t$ itself; below, the picture that the network sees in it at that moment. (The noise is one from which
# all ten garments come out so that one knows them. Not every noise is.)

# %% tags=["nbval-ignore-output"]
sampler = ak.diffusion.DDIM(pick(4, 24))
denoise = pixel_model.denoiser((tf.range(10),))
noise = keras.random.normal((10, 28, 28, 1), seed=2)
path, guesses = walk(sampler, denoise, pixel_model.alpha_bar, noise)
moments = np.unique(np.linspace(0, sampler.steps - 1, 6).round().astype(int))
garments = (2, 8, 9)
rows = [images[i][k] for k in garments for images in (path, guesses) for i in moments]
times = sampler.times(pixel_model.alpha_bar)[moments]
ak.plots.grid(
    np.clip(rows, -1, 1),
    columns=len(moments),
    row_labels=[text for k in garments for text in (classes[k], "seen in it")],
    column_labels=[f"{t:.2f}" for t in times],
)

# %% tags=["nbval-ignore-output"]
for k in garments:
    mean = train_images[train_labels == k].mean(axis=0)
    distances = [np.sqrt(np.mean((guesses[i][k] - mean) ** 2)) for i in (0, -1)]
    print(f"{classes[k]:10s} from the mean of its class: {distances[0]:.2f} at time 1", end="")
    print(f", {distances[1]:.2f} at the end")

# %% [markdown]
# At time 1 the network sees nearly the mean of all pullovers: it has no other information. First the outline is
# decided, then the folds, and in the last steps the texture. This is the order in which the noise had hidden
# them. Nine of the ten as a film, from noise to garment:

# %% tags=["nbval-ignore-output"]
film = ak.callbacks.SampleGrid(n=9)
film.batches = list(path[::2, :9])
with tempfile.TemporaryDirectory() as folder:
    data = film.gif(f"{folder}/film.gif", seconds=0.2).read_bytes()
assert len(data) < 300_000
IPython.display.Image(data, format="gif", alt="Noise in nine squares turns into nine garments")

# %% [markdown]
# ### Inpainting
#
# Only the lower half of each picture is lost. At each step we replace the part that we know by the
# original with the right amount of noise; the rest has to fit (**inpainting**, 修复). Any sampler will do, and
# nothing is trained for it:

# %%
ak.show(ak.diffusion.DiffusionModel.inpainter)

# %% tags=["nbval-ignore-output"]
known = np.zeros((28, 28, 1), bool)
known[:14] = True
kinds = [0, 3, 5, 6, 8, 9]
chosen = test_images[first][kinds]
draws = [
    pixel_model.inpaint(chosen, known, kinds, ak.diffusion.DDPM(pick(4, 100)), 2.0, seed=seed)
    for seed in range(2)
]
for draw in draws:
    assert np.array_equal(draw[:, :14], chosen[:, :14])
print(f"known pixels kept exactly: {known.mean():.0%}; the rest was drawn anew, twice")
columns = [chosen, np.where(known, chosen, 0.6), *draws]
ak.plots.grid(
    np.stack(columns, axis=1).reshape(-1, 28, 28, 1),
    columns=4,
    row_labels=[classes[k] for k in kinds],
    column_labels=["original", "known", "drawn", "drawn"],
    inches=1.0,
)

# %% [markdown]
# ## 8. Does it copy?
#
# A model that stored its training data would have a splendid Fréchet distance. So look for each drawn picture's
# nearest neighbour (最近邻) among the training pictures. Is it nearer than the nearest neighbour of a real picture
# that the model has never seen?

# %% tags=["nbval-ignore-output"]
sampler = ak.diffusion.DPMSolver(pick(2, 20))
fresh = pixel_model.generate(pick(20, 100), sampler=sampler, guidance_scale=1.5, seed=1)


def flat(images):
    return images.reshape(len(images), -1)


distances, nearest = ak.metrics.nearest_neighbours(flat(fresh), flat(train_images))
usual, _ = ak.metrics.nearest_neighbours(flat(test_images[:100]), flat(train_images))
for name, found in (("drawn", distances), ("unseen real", usual)):
    median, low, least = np.quantile(found, (0.5, 0.05, 0.0))
    print(
        f"nearest training picture of {name} ones: median {median:.1f}, "
        f"5 % are nearer than {low:.1f}, the nearest {least:.1f}"
    )
pairs = np.concatenate([fresh[:6], train_images[nearest[:6, 0]]])
ak.plots.grid(pairs, columns=6, row_labels=["drawn", "nearest"], inches=1.0)

# %% [markdown]
# A copy would be much nearer than an unseen picture is. The median does not show the copying of a few: read the 5 % and
# the nearest as well, and look at the pairs. Drawn pictures that are no nearer than unseen ones are no copies. With
# little data a long training can learn some by heart: then watch all three numbers.
#
# ## 9. Latent against pixel
#
# Same data, same classes, same samplers; what differs is where the diffusion happens. For a fair race,
# `make bench BENCH_ARGS="--race 90 Diffusion"` trains both from nothing for the same time, the latent one
# including its autoencoder:

# %%
for result in races["Diffusion"]["results"]:
    scores = {name: values["values"][0] for name, values in result["scores"].items()}
    print(
        f"{result['setting']:28s} {scores['seconds']:.0f} s of training: Fréchet distance "
        f"{scores['frechet']:.2f} ± {scores['frechet_error']:.2f}, class as asked {scores['agreement']:.0%}"
    )

# %% [markdown]
# And the checkpoints, after their longer training. Drawing is timed here, on your machine:

# %% tags=["nbval-ignore-output"]
n_timed, sampler = pick(8, 64), ak.diffusion.DPMSolver(pick(2, 20))
for name, model in (("pixels", pixel_model), ("latents", latent_model)):
    model.generate(n_timed, sampler=sampler, seed=0)  # builds the graph
    start = time.perf_counter()
    model.generate(n_timed, sampler=sampler, seed=0)
    seconds = time.perf_counter() - start
    entry = manifest[f"{'latent_' if name == 'latents' else ''}diffusion_fashion_mnist"]
    print(
        f"{name}: {model.network.count_params():,} weights, {n_timed / seconds:.0f} images/s "
        f"in {sampler.steps} steps, {entry['training_minutes']:.0f} minutes of training, "
        f"Fréchet distance {entry['frechet']}"
    )

# %% [markdown]
# The latent model learns what is asked for sooner, and cannot be better than its autoencoder: what the
# decoder blurs, no diffusion brings back. The reconstructions of *real* test pictures by the checkpoint's
# autoencoder have a distance of their own, a floor under everything drawn through it:

# %%
print(manifest["autoencoder_fashion_mnist"]["reconstructions"])

# %% [markdown]
# ## 10. How it fails
#
# Text 003 (section 2.4.1) prints $q(x_t|x_0) = \mathcal N(\sqrt{1-\beta_t}\,x_0, \beta_t I)$: the formula of a single step
# in the place of all steps together. It is one line in a program, nothing crashes, and the loss is *lower* than
# before. In our library a schedule is one method, so the error is one method, too. To see what it does, we make the
# ring lopsided: one cloud, on the right, has half of all points.


# %% tags=["nbval-ignore-output"]
class Text003(ak.diffusion.DiffusionModel):
    """The noise of one step, taken for that of all steps."""

    def alpha_bar(self, times):
        return 1 - 0.02 * np.asarray(times)  # 1 - beta_t, with Ho's beta_T = 0.02


all_points, cloud_numbers = ak.datasets.arrays("ring")
rare = np.random.default_rng(0).random(len(all_points)) < 1 / 7
lopsided = all_points[(cloud_numbers == 0) | rare]
points = tf.data.Dataset.from_tensor_slices(lopsided).shuffle(len(lopsided), seed=0).batch(256)
panels, share = {}, {}
for name, model_class in (
    ("text 003's formula", Text003),
    ("the product", ak.diffusion.DiffusionModel),
):
    keras.utils.set_random_seed(0)
    model = train_on_ring(model_class(network=ring_network(), **small), points, ring_steps // 2)
    sampler = ak.diffusion.DDPM(pick(20, 200))
    cloud = model.generate(n_points, sampler=sampler, seed=0, batch_size=n_points)
    share[name] = np.mean(np.linalg.norm(cloud[:, None] - centers, axis=-1).argmin(axis=1) == 0)
    signal_rate = np.sqrt(model.alpha_bar(np.array(1.0)))
    print(
        f"{name}: {share[name]:.0%} of the points in the cloud that should have "
        f"{np.mean(np.linalg.norm(lopsided - centers[0], axis=-1) < 0.2):.0%}; "
        f"signal rate at time 1: {signal_rate:.2f}"
    )
    panels[name] = cloud
assert ak.profile.name() == "fast" or share["text 003's formula"] < 0.3 < share["the product"]
ak.plots.points(lopsided, list(panels.values()), list(panels))

# %% [markdown]
# - The **symptom**: each point runs to the cloud that is nearest to where its noise happened to lie. The clouds look
#   right, their shares are wrong. In pictures it is worse: nothing decides what the whole shall be.
# - The **detector** is not the loss, which is lower: taking a little noise away is easy. It is the signal rate at time 1:
#   at 0.99 the network has never seen anything but nearly clean points, and is then started on pure noise. It must be
#   close to 0.
# - The **cure**: the cumulative product (累积乘积) over *time*. (Another error of published code is to take it over the
#   batch.)
#
# The same symptom in a milder form, a schedule that stops at a signal rate of 0.1 or so, makes all pictures
# of a model medium bright: the brightness is what the noise hides last.

# %% [markdown]
# ## 11. Corrections to the text
#
# **1. "$q(x_t|x_0) = \mathcal N(\sqrt{1-\beta_t}\,x_0, \beta_t I)$"** (text 003, section 2.4.1). That is $q(x_t|x_{t-1})$.
# Against the walkers of section 1; [section 10](#10.-How-it-fails) showed what follows:

# %%
for step, x in stations.items():
    beta = betas[step - 1]
    print(
        f"after {step} steps: mean {x.mean():.3f} (text: {np.sqrt(1 - beta):.3f}, product: "
        f"{np.sqrt(ak.diffusion.cosine(step / 1000)):.3f}); variance {x.var():.3f} (text: {beta:.3f})"
    )
    assert abs(x.mean() - np.sqrt(1 - beta)) > 20 * x.std() / np.sqrt(len(x))

# %% [markdown]
# **2. "Both GANs and diffusion models are based on adversarial training, with a generator and a discriminator"**
# (text 002, sections 2.1 and its list). There is no discriminator and no game: one network, one optimizer, one
# regression loss. What `DiffusionModel` consists of:

# %%
print([layer.name for layer in pixel_model.layers], type(lesson_model.optimizer).__name__)

# %% [markdown]
# (The second network is the moving average of the first.)
#
# **3. The "diffusion model" of text 002** (sections 3.2.3 and 4.3.3) is five linear layers in a row, without time,
# noise, or anything between the layers. We train that very network with its loss and optimizer, give it the best
# case, taking noise away, and then ask it for pictures as a sampler would:

# %% tags=["nbval-ignore-output"]
keras.utils.set_random_seed(0)
text_network = keras.Sequential([keras.Input((784,)), *(layers.Dense(784) for _ in range(5))])
text_network.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
clean = flat(train_images[: pick(500, 6000)])
noisy = clean + np.random.default_rng(0).normal(size=clean.shape).astype("float32")
text_network.fit(noisy, clean, batch_size=128, epochs=pick(1, 2), verbose=2)
matrix, offset = np.eye(784), np.zeros(784)
for layer in text_network.layers:
    kernel, bias = layer.get_weights()
    matrix, offset = matrix @ kernel, offset @ kernel + bias
difference = np.abs(
    noisy[:100] @ matrix + offset - text_network.predict(noisy[:100], verbose=0)
).max()
print(f"one matrix does the same as the five layers, up to {difference:.0e}")
x = np.random.default_rng(1).normal(size=(6, 784)).astype("float32")
rows = [x]
for _ in range(3):
    x = text_network.predict(x, verbose=0)
    rows.append(x)
pictures = np.clip(np.concatenate(rows), -1, 1).reshape(-1, 28, 28, 1)
ak.plots.grid(pictures, columns=6, row_labels=["noise", "once", "twice", "three times"], inches=1.0)

# %% [markdown]
# Of Gaussian noise a linear map can only make Gaussian noise, with other correlations: a smudge, and no
# repetition helps. A diffusion model needs the non-linearity, and it needs to know the time.
#
# **4. "The objective of a diffusion model is $\min_W \mathbb E[L(x, W(x))]$"** (text 002, section 4.1.3), the
# same formula as for its autoregressive model. Without noise and time in it, the best network is the one that
# returns its input:

# %%
identity_loss = np.mean((clean - clean) ** 2)
print(f"loss of the network that does nothing: {identity_loss}")

# %% [markdown]
# **5. `loss += criterion(outputs, labels).item()`, then `loss.backward()`** (text 002, its training loops). `.item()`
# makes a Python number of the loss, and numbers have no gradient:

# %%
try:
    loss = 0
    loss += float(tf.constant(0.5))
    loss.backward()
except AttributeError as error:
    print(f"AttributeError: {error}")

# %% [markdown]
# **6. "Diffusion models control the generation by adding noise step by step"** (text 001, section 2.1). Noise is added in
# training. Generation takes it away; DDIM and DPM-Solver++ add none at all. Twice the same start gives the same
# pictures, whatever seed the steps have:

# %% tags=["nbval-ignore-output"]
start_noise = keras.random.normal((4, 28, 28, 1), seed=0)
denoise = pixel_model.denoiser((tf.constant([0, 3, 7, 9]),))
runs = [
    np.asarray(ak.diffusion.DDIM(4).sample(denoise, start_noise, pixel_model.alpha_bar, seed=seed))
    for seed in (1, 2)
]
print("largest difference between two runs:", np.abs(runs[0] - runs[1]).max())

# %% [markdown]
# **7. "We learn $\mu_\theta$ and $\Sigma_\theta$"** (text 003, section 2.4.1). Ho et al. learned no
# $\Sigma_\theta$: their variances are fixed, and so are those of the latent model here. What the network
# gives is not $\mu_\theta$ either, but the noise, the image or the velocity, from which `posterior` makes the
# mean.
#
# **8. "Training is complex: a large number of noising steps has to be computed"** (text 002, section 3.3.3). One
# multiplication and one addition jump to any time; the chain of single steps is never walked:

# %% tags=["nbval-ignore-output"]
batch = tf.constant(test_images[:64])
batch_noise = tf.random.stateless_normal(batch.shape, (0, 0))
start = time.perf_counter()
jumped = pixel_model.diffuse(batch, batch_noise, tf.fill([64], 1000))
jump = time.perf_counter() - start
start = time.perf_counter()
x = batch
for k, beta in enumerate(betas):  # each step has noise of its own
    own = tf.random.stateless_normal(batch.shape, (1, k))
    x = np.sqrt(1 - beta) * x + np.sqrt(beta) * own
print(
    f"standard deviation after the jump and after the chain: {np.std(jumped):.3f}, {np.std(x):.3f}"
)
assert abs(np.std(x) - np.std(jumped)) < 0.02
print(
    f"jump {1000 * jump:.1f} ms, chain {1000 * (time.perf_counter() - start):.0f} ms for 64 pictures"
)

# %% [markdown]
# ## 12. What to try
#
# - `prediction="noise"` and `"image"` on the ring, with few steps. Which fails where, and does section 1's table say so?
# - Straighten section 4's flow: draw pairs of noise and end with `walk`, train an `ak.diffusion.mlp` on the lines between
#   them, and count steps again. How good are two?
# - `spacing="log_snr"` and `"quadratic"` for 5 steps of DPM-Solver++. (The schedule decides which is best.)
# - Inpaint the middle, or every second column. Then a *wrong* label for the half that is missing.
# - Pictures of your own: `ak.datasets.load("my/folder", image_size=32)` with `ak.diffusion.DiffusionModel((32, 32, 3))`.
#
# **Exercise.** Guidance has one scale for all times. Kynkäänniemi et al. (2024) use it only at medium noise. Write a
# subclass of `ak.diffusion.DiffusionModel` whose `denoiser` switches guidance off outside of an interval of times, and
# find out whether precision rises while recall stays.
#
# **Problem set.** Five graded tasks on this chapter: [problem set 04](exercises/mine/problems_04_diffusion.ipynb).
# The link opens your own copy, which `make lab` made; `make check EX=04` tells you how far you are.
#
# **Papers**
#
# - Ronneberger et al. 2015, *U-Net*, [arXiv:1505.04597](https://arxiv.org/abs/1505.04597); Jabri et al. 2022,
#   *Scalable adaptive computation for iterative generation*,
#   [arXiv:2212.11972](https://arxiv.org/abs/2212.11972) (the sigmoid schedule); Lin et al. 2023, *Common
#   diffusion noise schedules and sample steps are flawed*,
#   [arXiv:2305.08891](https://arxiv.org/abs/2305.08891)
# - Lipman et al. 2022, *Flow matching for generative modeling*,
#   [arXiv:2210.02747](https://arxiv.org/abs/2210.02747); Liu et al. 2022, *Flow straight and fast*,
#   [arXiv:2209.03003](https://arxiv.org/abs/2209.03003) (rectified flow); Kingma et al. 2021, *Variational
#   diffusion models*, [arXiv:2107.00630](https://arxiv.org/abs/2107.00630) (the weights of the bound)
# - Sohl-Dickstein et al. 2015, *Deep unsupervised learning using nonequilibrium thermodynamics*,
#   [arXiv:1503.03585](https://arxiv.org/abs/1503.03585)
# - Ho et al. 2020, *Denoising diffusion probabilistic models*, [arXiv:2006.11239](https://arxiv.org/abs/2006.11239)
# - Song et al. 2020, *Denoising diffusion implicit models*,
#   [arXiv:2010.02502](https://arxiv.org/abs/2010.02502); Song et al. 2021, *Score-based generative modeling
#   through stochastic differential equations*, [arXiv:2011.13456](https://arxiv.org/abs/2011.13456)
# - Nichol and Dhariwal 2021, *Improved denoising diffusion probabilistic models*,
#   [arXiv:2102.09672](https://arxiv.org/abs/2102.09672)
# - Salimans and Ho 2022, *Progressive distillation*, [arXiv:2202.00512](https://arxiv.org/abs/2202.00512)
#   (velocity); Hang et al. 2023, *Efficient diffusion training via min-SNR weighting strategy*,
#   [arXiv:2303.09556](https://arxiv.org/abs/2303.09556)
# - Ho and Salimans 2022, *Classifier-free diffusion guidance*,
#   [arXiv:2207.12598](https://arxiv.org/abs/2207.12598); Kynkäänniemi et al. 2024, *Applying guidance in a
#   limited interval*, [arXiv:2404.07724](https://arxiv.org/abs/2404.07724)
# - Karras et al. 2022, *Elucidating the design space of diffusion-based generative models*,
#   [arXiv:2206.00364](https://arxiv.org/abs/2206.00364); Lu et al. 2022, *DPM-Solver++*,
#   [arXiv:2211.01095](https://arxiv.org/abs/2211.01095)
# - Rombach et al. 2022, *High-resolution image synthesis with latent diffusion models*,
#   [arXiv:2112.10752](https://arxiv.org/abs/2112.10752); Lugmayr et al. 2022, *RePaint*,
#   [arXiv:2201.09865](https://arxiv.org/abs/2201.09865)
#
# [← 03 Style transfer](03_style_transfer.ipynb) · [05 Text generation →](05_text_generation.ipynb)

# %% tags=["nbval-ignore-output"]
if ak.profile.name() != "fast":  # the picture at the top
    shown = np.linspace(0, len(guesses) - 1, 8).round().astype(int)[:-1:2]
    rows = np.concatenate([*path[shown], guesses[-1]])
    banner = Image.fromarray(ak.plots.tile(rows, columns=10))
    banner.resize((2 * banner.width, 2 * banner.height), Image.NEAREST).save(
        "images/04_diffusion.png"
    )
