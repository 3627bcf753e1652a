# %% [markdown]
# # 02 Variational autoencoders
#
# *Mirrors: text 000 sections 2.1, 2.2.1, 2.2.3, 3.1; 001 2.1, 2.2.3; 003 2.2, 3.2, 4.2; 004 2.1, 3.1, 3.2.1,
# 3.3, 4.1.1, 4.2.1, 4.3.1, 5.2.1, 5.3.1, 5.4.*
#
# ![A plane of pictures: shoes, trousers, shirts and bags that turn into each other step by step](images/02_vae.png)
#
# Two numbers place each of these pictures, and between any two there is another. After this chapter
# you can train a variational autoencoder (VAE, 变分自编码器), say in nats how well it explains data,
# use its latent space to change pictures, and notice when it has quietly stopped learning.
#
# **Data:** Fashion-MNIST (60,000 + 10,000 grey images, MIT licence) and 1,797 handwritten digits (CC BY 4.0).
# **You need:** chapter 01's idea of a generator and of the Fréchet distance. No GPU, and once the
# course is set up, no network.
#
# [← 01 Generative adversarial networks](01_gan.ipynb) · [03 Style transfer →](03_style_transfer.ipynb)

# %% tags=["nbval-ignore-output"]
import io
import json
import math
import tempfile
from pathlib import Path

import aigc_keras as ak
import IPython.display
import ipywidgets
import keras
import numpy as np
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from keras import layers
from PIL import Image

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it takes many small models for one that is traced too often
pick = ak.profile.pick  # fast: does it run; lesson: a few minutes
ak.profile.announce("02_vae")

# %% [markdown]
# ## 1. The idea
#
# ### An autoencoder, and the holes in its map
#
# The pictures are those of chapter 01: one of each class.

# %% tags=["nbval-ignore-output"]
n_train = pick(2000, 60_000)
train_images, train_labels = ak.datasets.arrays("fashion_mnist", f"train[:{n_train}]")
test_images, test_labels = ak.datasets.arrays("fashion_mnist", f"test[:{pick(500, 5000)}]")
classes = ak.datasets.class_names("fashion_mnist")
train = ak.datasets.load("fashion_mnist", f"train[:{n_train}]", batch_size=64, seed=0)
first = [np.flatnonzero(test_labels == k)[0] for k in range(10)]
ak.plots.grid(test_images[first], columns=10, column_labels=classes, inches=1.0)

# %% [markdown]
# An **autoencoder** (自编码器) squeezes a picture $x$ through a few numbers $z$ and rebuilds it: an
# **encoder** (编码器) finds the **latents** (潜变量) $z$, a **decoder** (解码器) turns them into a
# picture again. Both learn from one question: how far apart are the two pictures?

# %%
boxes = {
    "x": (0, 0, "picture $x$", "data"),
    "encoder": (1, 0, "encoder", "network"),
    "z": (2, 0, "two\nnumbers $z$", "data"),
    "decoder": (3, 0, "decoder", "network"),
    "again": (4, 0, "picture\nagain", "data"),
    "loss": (2, -1.5, "how far\napart?", "loss"),
}
arrows = [
    ("x", "encoder", ""),
    ("encoder", "z", ""),
    ("z", "decoder", ""),
    ("decoder", "again", ""),
    ("x", "loss", ""),
    ("again", "loss", ""),
    ("loss", "encoder", "learns", 0.3),
    ("loss", "decoder", "learns", -0.3),
]
ak.plots.diagram(boxes, arrows, unit=(2.0, 1.1))

# %% [markdown]
# Here is one with two latents, so that each picture has a place in the plane. With `beta=0`, the class of
# this chapter is an autoencoder; [section 3](#3.-The-model) shows why. The map has a dot for each of some
# test pictures. Nobody told the network the classes; colours and names come afterwards.


# %% tags=["nbval-ignore-output"]
def fit(model, data=train, steps=600, epochs=1, callbacks=(), **kwargs):
    """Train `model` for so many steps with its default settings; quietly, unless asked."""
    model.compile()
    arguments = {"verbose": 0, "callbacks": list(callbacks), **kwargs}
    return model.fit(data.repeat(), steps_per_epoch=steps // epochs, epochs=epochs, **arguments)


autoencoder = ak.vae.VAE((28, 28, 1), latent_dim=2, beta=0.0)
fit(autoencoder, steps=pick(20, 600))
n_map = pick(300, 5000)
places, _ = autoencoder.encode(test_images[:n_map])
ak.plots.latent_map(places, test_labels[:n_map], classes)

# %% [markdown]
# It tidies up well. Now let it invent: choose a $z$, decode it. But which $z$? Left, what one would try
# first, $z \sim \mathcal N(0, I)$; in the middle, $z$ from anywhere on the map; right, the places of test
# pictures.

# %% tags=["nbval-ignore-output"]
rng = np.random.default_rng(0)
low, high = places.min(axis=0), places.max(axis=0)
drawn = {
    "z ~ N(0, I)": rng.normal(size=(40, 2)),
    "z anywhere on the map": rng.uniform(low, high, size=(40, 2)),
    "z of test pictures": places[:40],
}
n_dots, *_ = np.histogram2d(*places.T, bins=20)
empty = np.mean(n_dots == 0)
print(f"The map reaches from {low.round(1)} to {high.round(1)}.")
print(f"Of its 20 x 20 cells, {empty:.0%} hold no picture.")
assert ak.profile.name() == "fast" or (empty > 0.25 and (high - low).min() > 10)
ak.plots.strip(
    [autoencoder.decode(z.astype("float32")) for z in drawn.values()],
    list(drawn),
    columns=5,
    inches=3.4,
)

# %% [markdown]
# An autoencoder stores, but it cannot invent. It chose its own map: how large it is, where the
# pictures lie and where nothing lies is nowhere agreed, so one does not know where to draw. And between the
# dots are holes: no picture ever led there, so nobody taught the decoder what to make of them.
#
# ### Why a prior
#
# Both have one cure: agree *beforehand* on a distribution from which one will draw, the **prior** (先验)
# $p(z) = \mathcal N(0, I)$, and make the encoder fill it, without holes. That is what a VAE adds. It starts
# as a story of how pictures come about: draw $z$ from the prior, then $x$ from the decoder's
# $p_\theta(x|z)$. We want the parameters $\theta$ under which the data are probable, and that needs an
# integral over every $z$:
#
# $$\log p_\theta(x) = \log \int p_\theta(x|z)\, p(z)\, dz$$
#
# ### The bound
#
# Nearly all $z$ explain a given $x$ badly, so guessing them at random is hopeless. The encoder's job is
# to propose the few that matter: a *distribution* $q_\phi(z|x)$, not a point. With it, four lines give
# a bound. Multiply and divide by $q$; the logarithm of a mean is at least the mean of the logarithm
# (Jensen's inequality, 詹森不等式):
#
# $$\begin{aligned}
# \log p_\theta(x) &= \log \mathbb E_{q_\phi(z|x)}\!\left[\frac{p_\theta(x|z)\,p(z)}{q_\phi(z|x)}\right] \\
# &\ge \mathbb E_{q_\phi(z|x)}\!\left[\log \frac{p_\theta(x|z)\,p(z)}{q_\phi(z|x)}\right] \\
# &= \underbrace{\mathbb E_{q_\phi(z|x)}[\log p_\theta(x|z)]}_{\text{reconstruction (重建)}}
#  - \underbrace{D_{KL}\big(q_\phi(z|x)\,\|\,p(z)\big)}_{\text{KL divergence (KL 散度)}}
#  \;=\; \mathrm{ELBO} \\
# \log p_\theta(x) - \mathrm{ELBO} &= D_{KL}\big(q_\phi(z|x)\,\|\,p_\theta(z|x)\big) \ge 0
# \end{aligned}$$
#
# That is the **evidence lower bound** (ELBO, 证据下界; Kingma and Welling 2014). The third line is what is
# trained: rebuild the picture, and stay close to the prior. The last line says how much the bound
# loses: what separates the encoder's guess from the true posterior (后验) $p_\theta(z|x)$. The first line
# offers a repair: averaging $K$ samples *before* the logarithm gives the **importance-weighted bound**
# (重要性加权下界; Burda et al. 2016), which climbs to $\log p(x)$ as $K$ grows:
#
# $$\mathcal L_K = \mathbb E\left[\log \frac1K \sum_{k=1}^K \frac{p_\theta(x|z_k)\,p(z_k)}{q_\phi(z_k|x)}\right],
# \qquad z_k \sim q_\phi(z|x), \qquad \mathcal L_1 = \mathrm{ELBO}$$
#
# ### A model that can be solved
#
# Believe no inequality that you can check. If decoder and prior are Gaussian and linear, $\log p(x)$
# is known exactly. Here is such a model of 16 pixels, $x = W^\top z + \text{noise}$, with an encoder that is
# deliberately a bit wrong:

# %%
rng = np.random.default_rng(0)
weights = rng.normal(size=(2, 16)).astype("float32") * 0.3  # W
noise_std = 0.2
posterior = np.linalg.inv(np.eye(2) + weights @ weights.T / noise_std**2)  # covariance of p(z|x)
to_posterior = weights.T @ posterior / noise_std**2  # x @ this is the mean of p(z|x)


def linear_vae():
    images = keras.Input((4, 4, 1))
    mean = layers.Dense(2, use_bias=False)
    log_variance = layers.Dense(2, kernel_initializer="zeros")
    flat = layers.Flatten()(images)
    encoder = keras.Model(images, [mean(flat), log_variance(flat)])
    mean.set_weights([0.97 * to_posterior])  # 3 % too close to zero, and too wide:
    log_variance.set_weights([np.zeros((16, 2)), np.log(1.5 * np.diag(posterior))])
    latents = keras.Input((2,))
    pixels = layers.Dense(16, use_bias=False)
    decoder = keras.Model(latents, layers.Reshape((4, 4, 1))(pixels(latents)))
    pixels.set_weights([weights])
    model = ak.vae.VAE((4, 4, 1), 2, likelihood="gaussian", encoder=encoder, decoder=decoder)
    model.log_scale.assign(np.log(noise_std))
    return model


linear = linear_vae()
exact_model = scipy.stats.multivariate_normal(
    np.zeros(16), weights.T @ weights + noise_std**2 * np.eye(16)
)
x = exact_model.rvs(4000, random_state=0)
x = x[np.abs(x).max(axis=1) < 1][:500]  # pixels are numbers in [-1, 1]
pictures = x.reshape(-1, 4, 4, 1).astype("float32")
exact = exact_model.logpdf(x).mean()

# %% [markdown]
# Here each term of the ELBO has a closed form as well. For
# $q = \mathcal N(\mu, \mathrm{diag}(\sigma^2))$, the decoder's noise $s$ and $W$'s rows $w_j$, the mean over $z$ of the
# squared error is the error at $\mu$ plus what the width of $q$ adds:
#
# $$\mathbb E_q[\log p(x|z)] = -\frac{1}{2 s^2}\Big(\lVert x - W^\top \mu\rVert^2
# + \sum_j \sigma_j^2 \lVert w_j\rVert^2\Big) - \frac{16}{2} \log 2\pi s^2$$
#
# So we can check the last line of the bound to the digit, without a sample: what the ELBO loses is the KL
# divergence to the true posterior, which is $\mathcal N(m, P)$ here:
#
# $$\tfrac12\Big(\mathrm{tr}\big(P^{-1}\mathrm{diag}(\sigma^2)\big) + (m-\mu)^\top P^{-1} (m-\mu) - 2
# + \log\det P - \sum_j \log\sigma_j^2\Big)$$

# %%
mean, log_variance = linear.encode(pictures)
variance = np.exp(log_variance)
squares = ((x - mean @ weights) ** 2).sum(axis=1) + variance @ (weights**2).sum(axis=1)
reconstruction = (-0.5 * (squares / noise_std**2 + 16 * np.log(2 * np.pi * noise_std**2))).mean()
kl = ak.vae.gaussian_kl(mean, log_variance).numpy().sum(axis=1).mean()
elbo = reconstruction - kl

precision = np.linalg.inv(posterior)
off = x @ to_posterior - mean
lost = variance @ np.diag(precision) + np.einsum("ni,ij,nj->n", off, precision, off) - 2
lost = 0.5 * (lost + np.linalg.slogdet(posterior)[1] - log_variance.sum(axis=1)).mean()
print(f"ELBO = {reconstruction:.3f} - {kl:.3f} = {elbo:.3f} nats; log p(x) = {exact:.3f} nats")
print(f"log p(x) - ELBO = {exact - elbo:.3f}; KL from q(z|x) to p(z|x) = {lost:.3f}")
assert abs(exact - elbo - lost) < 1e-3

# %% [markdown]
# A model whose $\log p(x)$ nobody knows has to draw samples. The dots are such estimates, each with the error
# of nine repetitions: they start at the ELBO and climb towards the exact value.

# %%
n_samples_each = (1, 2, 4, 8, 16)
estimates = np.array(
    [
        [linear.log_likelihood(pictures, n_samples=k, seed=seed).mean() for k in n_samples_each]
        for seed in range(9)
    ]
)
bounds, errors = estimates.mean(axis=0), estimates.std(axis=0) / 3
assert abs(bounds[0] - elbo) < 4 * errors[0] and elbo < bounds[-1] < exact + 0.01

fig, axes = ak.plots.figure(size=(7.0, 3.4))
axis = axes[0, 0]
axis.errorbar(
    n_samples_each, bounds, errors, fmt="o-", capsize=4, label="importance-weighted bound"
)
axis.axhline(exact, color="black", linestyle="--", label="exact log p(x)")
axis.axhline(elbo, color=ak.plots.COLORS[1], linestyle=":", label="exact ELBO")
axis.set_xscale("log", base=2)
axis.set(xlabel="samples K", ylabel="nats per image")
axis.set_xticks(n_samples_each, n_samples_each)
axis.legend()
print(f"K = 1: {bounds[0]:.2f}, K = {n_samples_each[-1]}: {bounds[-1]:.2f} nats")
fig

# %% [markdown]
# A **nat** (奈特) is a bit with the natural logarithm: 1 nat = 1.44 bits. All losses of this chapter are
# nats *per picture*: summed over pixels and latent dimensions, averaged over pictures.
# [Section 9](#9.-How-it-fails:-posterior-collapse) shows what happens to those who average over the
# pixels instead.
#
# ### Two more ingredients
#
# The KL divergence between the encoder's Gaussian and the prior has a closed form, dimension by
# dimension, which costs nothing and has no noise:
#
# $$D_{KL} = \tfrac12 \sum_j \big(\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1\big)$$
#
# The network gives $\log \sigma_j^2$, any number, so that $\sigma_j$ is never negative; the sum over $j$ comes
# later:

# %%
ak.show(ak.vae.gaussian_kl)

# %% [markdown]
# And the gradient has to pass through a random draw. The **reparameterisation** (重参数化) moves the
# randomness out of the way: $z = \mu + \sigma \varepsilon$ with $\varepsilon \sim \mathcal N(0, I)$. Now
# $z$ is an ordinary function of $\mu$ and $\sigma$. (`self.noise(shape)` draws $\varepsilon$ from the
# model's own random numbers.)

# %%
ak.show(ak.vae.VAE.reparameterise)

# %% [markdown]
# Both against each other: the closed form, and the mean of $\log q(z) - \log p(z)$ over samples.

# %%
mean, log_variance = np.float32(0.8), np.float32(-1.0)
epsilon = np.random.default_rng(0).normal(size=100_000)
z = mean + np.exp(0.5 * log_variance) * epsilon
q = scipy.stats.norm(mean, np.exp(0.5 * log_variance))
log_ratio = q.logpdf(z) - scipy.stats.norm.logpdf(z)
error = log_ratio.std() / np.sqrt(len(z))
closed_form = float(ak.vae.gaussian_kl(mean, log_variance))
print(
    f"closed form {closed_form:.4f} nats, from 100,000 samples {log_ratio.mean():.4f} ± {error:.4f}"
)

# %% [markdown]
# ## 2. How probable is a pixel?
#
# The decoder has to say how probable each pixel is. The **Bernoulli** likelihood (伯努利) reads a grey
# pixel, moved to $w \in [0, 1]$, as the probability of white, and its log-likelihood is minus the
# cross-entropy (交叉熵) with the decoder's probability $\mathrm{sigmoid}(l)$. The logits $l$ keep it exact
# where the sigmoid would round to 0 or 1:
#
# $$\log p(x|z) = \sum_{\text{pixels}} w \log \mathrm{sigmoid}(l) + (1 - w) \log\big(1 - \mathrm{sigmoid}(l)\big)
# = \sum_{\text{pixels}} w\, l - \log(1 + e^l)$$

# %%
ak.show(ak.vae.bernoulli)

# %% [markdown]
# The **Gaussian** one (`likelihood="gaussian"`, as in section 1) gives a density, with a standard
# deviation that is learned. Nats of the one cannot be compared with nats of the other. From here on this
# chapter uses the first.

# %% [markdown]
# ## 3. The model
#
# Drawn: the encoder gives a mean and a spread, noise chooses a $z$ between them, the decoder says how
# probable each pixel is. Solid arrows are what is computed; dashed, who learns from what. The decoder
# hears only of the reconstruction. The encoder hears of the KL divergence directly, and of the
# reconstruction through $z$: that is what the reparameterisation is for.

# %%
boxes = {
    "x": (0, 0, "picture\n$x$", "data"),
    "encoder": (1, 0, "encoder", "network"),
    "q": (2, 0, r"$\mu,\ \sigma$", "data"),
    "z": (3, 0, r"$z = \mu + \sigma\varepsilon$", "data"),
    "noise": (3, -1.4, r"noise $\varepsilon$", "noise"),
    "decoder": (4, 0, "decoder", "network"),
    "p": (5, 0, "$p(x|z)$", "data"),
    "kl": (2, -1.4, "KL\ndivergence", "loss"),
    "loss": (5, -1.4, "recon-\nstruction", "loss"),
}
arrows = [
    ("x", "encoder", ""),
    ("encoder", "q", ""),
    ("q", "z", ""),
    ("noise", "z", ""),
    ("z", "decoder", ""),
    ("decoder", "p", ""),
    ("q", "kl", ""),
    ("p", "loss", ""),
    ("kl", "encoder", "learns", -0.3),
    ("loss", "decoder", "learns", -0.3),
    ("decoder", "encoder", "learns through $z$", 0.3),
]
ak.plots.diagram(boxes, arrows, unit=(1.9, 1.1))

# %% [markdown]
# `VAE` is a `keras.Model`; `compile`, `fit`, `evaluate`, `save` are Keras' own. These lines are all there
# is to it:

# %%
ak.show(ak.vae.VAE.train_step)

# %%
ak.show(ak.vae.VAE.elbo_terms)

# %%
ak.show(ak.vae.VAE.objective)

# %% [markdown]
# - `unpack` takes the pictures out of a batch, and labels where the model wants them (`conditions`, empty here;
#   `join` puts both together as inputs of a network).
# - `elbo_terms` is the formula above: encode, draw one $z$ per picture, decode, and return both
#   terms: $\log p(x_i|z_i)$ of each picture $i$, and the KL divergence $D_{ij}$ of each of its latents $j$.
# - `objective` adds them up. As a formula, with a batch of $B$ pictures,
#
# $$L = -\frac1B \sum_i \log p(x_i|z_i) + \beta \sum_j \max\Big(\lambda,\; \frac1B \sum_i D_{ij}\Big)$$
#
#   With $\beta = 1$ and $\lambda = 0$ it is the negative ELBO. `beta` weighs the KL divergence; 0 leaves the
#   reconstruction alone: an autoencoder. $\lambda$ is `free_bits`, a cure that section 9 needs, as is the slow
#   start of `warm_beta`. (`batch_mean` is the mean over the whole batch where several processors share it.)
# - `descend` goes one step of the optimizer down the gradient that the tape has recorded: one loss that
#   falls, for both networks at once. Compare that with chapter 01.
# - `track_terms` adds the terms to the running means that `fit` prints.
#
# The networks are small: two strided convolutions down, dense layers, and back. Here the decoder's lines,
# then both as tables: what each layer gives, and how many weights it has.

# %%
ak.show(ak.vae.conv_decoder)

# %%
vae_2d = ak.vae.VAE((28, 28, 1), latent_dim=2)
ak.plots.shapes(vae_2d.encoder)

# %%
ak.plots.shapes(vae_2d.decoder)

# %% [markdown]
# ## 4. Training: a picture is two numbers
#
# Two dimensions again, now with the prior. The strip shows the same nine draws from the prior during
# training.

# %% tags=["nbval-ignore-output"]
steps = pick(32, 1000)
progress = ak.callbacks.SampleGrid(n=9, every=max(1, steps // 10), unit="step", display=False)
history = fit(vae_2d, steps=steps, epochs=pick(1, 8), callbacks=[progress], verbose=2)
progress.strip(n=5)

# %% [markdown]
# And all that `SampleGrid` has kept of them, as a film:

# %% tags=["nbval-ignore-output"]
with tempfile.TemporaryDirectory() as folder:
    film = IPython.display.Image(
        data=progress.gif(f"{folder}/film.gif").read_bytes(),
        format="gif",
        alt="Film of a training: nine grey squares become blurred clothes, then clearer ones",
    )
film

# %% tags=["nbval-ignore-output"]
fig, axes = ak.plots.figure(columns=2, size=(5.0, 3.2))
for axis, name in zip(axes[0], ("reconstruction_loss", "kl_divergence")):
    axis.plot(range(1, len(history.history[name]) + 1), history.history[name], "o-")
    axis.set(xlabel=f"{steps // 8} steps each", title=name.replace("_", " "))
axes[0, 0].set_ylabel("nats per image")
assert ak.profile.name() == "fast" or history.history["kl_divergence"][-1] > 3
fig

# %% [markdown]
# The left curve is the reconstruction: it falls. The right one is the KL divergence. It falls while the
# encoder tidies up its first guesses, and then it stays: the model pays some nats to say which picture it
# means and saves more than that on drawing it. A VAE whose KL goes to zero has learned nothing about
# single pictures ([section 9](#9.-How-it-fails:-posterior-collapse)).
#
# ### The map
#
# Encode the test pictures and put a dot where each one lands: section 1's map once more. Now it is round,
# as large as the prior, and the dots leave little of it empty. To compare the two, cut the plane into 20
# x 20 cells that the prior hits equally often.


# %% tags=["nbval-ignore-output"]
def without_picture(latents):
    """The share of 20 x 20 cells, each as probable as any under the prior, that hold no latents."""
    n_dots, *_ = np.histogram2d(*scipy.stats.norm.cdf(latents).T, bins=20, range=[(0, 1), (0, 1)])
    return np.mean(n_dots == 0)


means, _ = vae_2d.encode(test_images[:n_map])
for name, latents in (("autoencoder", places), ("VAE", means)):
    print(f"{name}: {without_picture(latents):.0%} of what the prior draws is where no picture is")
assert ak.profile.name() == "fast" or (
    without_picture(means) < 0.3 and without_picture(places) > 2 * without_picture(means)
)
ak.plots.latent_map(means, test_labels[:n_map], classes)

# %% [markdown]
# The other way round: go over the plane and decode every position. The positions are quantiles of the
# prior, so that each picture stands for the same share of it. Left, the map's left side; top, its top. Each
# garment turns into its neighbours.


# %% tags=["nbval-ignore-output"]
def manifold(model, n):
    """The plane of a model with two latent dimensions, decoded at n x n quantiles of the prior."""
    ticks = scipy.stats.norm.ppf((np.arange(n) + 0.5) / n)
    plane = np.stack(np.meshgrid(ticks, ticks[::-1]), axis=-1).reshape(-1, 2)
    return model.decode(plane.astype("float32"))


ak.plots.grid(
    manifold(vae_2d, 20),
    columns=20,
    inches=0.4,
    alt="The plane decoded on a grid: garments that turn into their neighbours step by step",
)

# %% [markdown]
# Run the next cell and move the sliders: the picture is decoded as you go. Before it is run, or where no widget
# runs, there is no slider; the strip below tells the same: one walk from left to right, one from bottom to top.


# %% tags=["nbval-ignore-output"]
def draw(latent_1=0.0, latent_2=0.0):
    return ak.plots.grid(
        vae_2d.decode([[latent_1, latent_2]]), inches=2.5, alt="The picture that is decoded there"
    )


sliders = ipywidgets.interact(draw, latent_1=(-2.5, 2.5), latent_2=(-2.5, 2.5))

# %% tags=["nbval-ignore-output"]
values = np.linspace(-2.5, 2.5, 11)
walks = np.zeros((2, 11, 2), "float32")
walks[0, :, 0] = walks[1, :, 1] = values
ak.plots.grid(
    vae_2d.decode(walks.reshape(-1, 2)),
    columns=11,
    row_labels=["latent 1", "latent 2"],
    column_labels=[f"{value:.1f}" for value in values],
)

# %% [markdown]
# ## 5. The number, and sixteen dimensions
#
# Two numbers say "a shoe, rather high". They cannot say which one. With 16 dimensions: in each column
# below a test picture, and under it what three models make of it.

# %% tags=["nbval-ignore-output"]
vae_16d = ak.vae.VAE((28, 28, 1), latent_dim=16)
fit(vae_16d, steps=pick(30, 1400), verbose=2)
checkpoints = {d: ak.checkpoints.load(f"vae_{d}d_fashion_mnist") for d in (2, 16)}
some = first + [i + 1 for i in first]
rows = {
    "test image": test_images[some],
    "2 latents": vae_2d.reconstruct(test_images[some]),
    "16 latents": vae_16d.reconstruct(test_images[some]),
    "16, checkpoint": checkpoints[16].reconstruct(test_images[some]),
}
ak.plots.grid(np.concatenate(list(rows.values())), columns=20, row_labels=list(rows), inches=0.6)

# %% [markdown]
# The checkpoint is the same class of model, with networks of twice the width, trained for longer by the recipe
# `aigc_keras.recipes.train_vae_16d`. Now the numbers, on test pictures that no model has seen:
#
# - the **negative ELBO** and its KL part, in nats per picture: lower is better;
# - the importance-weighted **bound** with 64 samples, turned round in the same way: what the ELBO had
#   lost;
# - can one still **read the garment**? The classifier of chapter 01's features judges the
#   reconstructions as if they were pictures.
#
# The errors are standard errors over the pictures.
#
# Two neighbours give the scale. A model without latents knows one probability per pixel, the mean
# picture. And the network of Keras' own published VAE example (two convolutions and 16 dense units,
# batch 128), trained for as long as ours by `make bench`.

# %% tags=["nbval-ignore-output"]
features = ak.metrics.fashion_features()


def accuracy(images):
    """The share of pictures that the classifier puts into the class of the test picture."""
    _, probabilities = features.extract(images)
    return np.mean(probabilities.argmax(axis=1) == test_labels[: len(images)])


white = np.clip((train_images.mean(axis=0) + 1) / 2, 1e-4, 1 - 1e-4)
pixel_means = -ak.vae.bernoulli(test_images, np.log(white / (1 - white))).numpy().mean()
print(f"{'one mean picture':18s} -ELBO {pixel_means:.1f}")
models = {
    "2-D": vae_2d,
    "2-D, checkpoint": checkpoints[2],
    "16-D": vae_16d,
    "16-D, checkpoint": checkpoints[16],
}
few = test_images[: pick(50, 250)]
negative_elbo, gap = {}, {}
for name, model in models.items():
    result = model.evaluate(test_images, batch_size=500, verbose=0, return_dict=True)
    negative_elbo[name] = result["negative_elbo"]
    one, many = (model.log_likelihood(few, n_samples=k, seed=0) for k in (1, 64))
    gap[name] = (many - one).mean()
    print(
        f"{name:18s} -ELBO {result['negative_elbo']:.1f}, of which KL {result['kl_divergence']:.1f}; "
        f"64 samples gain {gap[name]:.1f} ± {(many - one).std() / len(few) ** 0.5:.1f}; "
        f"read as its class: {accuracy(model.reconstruct(test_images)):.1%}"
    )
print(f"{'test images':18s} read as their class: {accuracy(test_images):.1%}")
assert ak.profile.name() == "fast" or negative_elbo["16-D"] < negative_elbo["2-D"] < pixel_means

# %%
races = json.loads(Path("../data/benchmarks.json").read_text())["races"]
for dimensions in (2, 16):
    for result in races[f"VAE, {dimensions} latent dimensions"]["results"]:
        runs = {name: score["values"] for name, score in result["scores"].items()}
        print(
            f"{dimensions:2d} latents, {runs['seconds'][0]:.0f} s, {result['setting']}: -ELBO "
            + ", ".join(f"{value:.1f}" for value in runs["negative_elbo"])
            + "; active latents "
            + ", ".join(f"{value}" for value in runs["active_units"])
            + f"; about {np.mean(runs['steps']):.0f} steps"
        )
    published, ours = (
        result["scores"]["negative_elbo"]["values"]
        for result in races[f"VAE, {dimensions} latent dimensions"]["results"]
    )
    assert max(ours) < min(published)

# %% [markdown]
# Ours is ahead in every run: its networks are wide where the published one is narrow (256 units against
# 16) and narrow where it is dear (no convolution at full size), so the same minute holds more steps. And one
# of the published network's runs with 16 latents has not a single active latent, and costs about what the mean
# picture costs. [Section 9](#9.-How-it-fails:-posterior-collapse) explains that.

# %% [markdown]
# ## 6. New pictures, and chapter 01's distance
#
# Draw $z$ from the prior, decode. On the left the model of this lesson, in the middle the checkpoint, on the
# right the conditional GAN of chapter 01 (its checkpoint). The two checkpoints had about the same time. But the
# GAN was told the classes, and the VAE was not: the fair race is that of
# [section 11](#11.-VAE-or-GAN:-which-is-hard-to-train?).

# %% tags=["nbval-ignore-output"]
gan = ak.checkpoints.load("conditional_gan_fashion_mnist")
drawn = {
    "VAE, this lesson": vae_16d,
    "VAE, checkpoint": checkpoints[16],
    "GAN, checkpoint": gan,
}
ak.plots.strip(
    [model.generate(40, seed=2) for model in drawn.values()], list(drawn), columns=8, inches=4
)

# %%
for name in ("vae_16d_fashion_mnist", "conditional_gan_fashion_mnist"):
    facts = ak.checkpoints.manifest()[name]
    print(f"{name}: {facts['parameters']:,} weights, {facts['training_minutes']} minutes")

# %% [markdown]
# Smooth, plausible, a little out of focus: a VAE draws the *mean* of everything that one $z$ could be. The
# measure is that of chapter 01, with the same features and, as the distance depends on how many are compared,
# with as many images: the numbers can stand in the same table.

# %% tags=["nbval-ignore-output"]
n_samples = len(test_images)  # of each set, in all of this chapter
test_features = features.extract(test_images)
scores = {}


def evaluate(name, samples):
    """Score samples against the test images, print the line, and keep it for the table."""
    scores[name] = ak.metrics.evaluate_samples(samples, test_features, features)
    print(f"{name:20s} {scores[name]}")


evaluate("real images", train_images[:n_samples])
for name, model in drawn.items():
    evaluate(name, model.generate(n_samples, seed=0))
evaluate("reconstructions", checkpoints[16].reconstruct(test_images))
assert ak.profile.name() == "fast" or scores["reconstructions"].recall < 0.5

# %% [markdown]
# The last line is no model of new pictures: it scores *reconstructions* of the very test pictures, so no
# garment is missing and none is too many. That it has a distance at all is blur. The samples are further
# away: blur, and latents that the prior draws and no picture uses. (How much is which? Fréchet distances
# do not add, so their difference is not the share of anything.)
#
# And look at its recall. Recall is the share of test pictures that lie close to a generated one, "close"
# being the distance from one generated picture to its third nearest neighbour. Blurred pictures resemble
# each other: they lie close together, and a picture with all its folds lies outside. So a low recall need
# not mean that kinds of garments are missing. Here it means blur.

# %% [markdown]
# ## 7. Play
#
# ### From one picture to another
#
# Halfway between two pictures, pixel by pixel, is a double exposure. Halfway between their latents is a
# garment. `interpolate` encodes both ends and walks on the sphere (球面插值) or on the line.

# %% tags=["nbval-ignore-output"]
model = checkpoints[16]
start, end = test_images[first][[9, 1, 7]], test_images[first][[5, 3, 8]]
mixed = np.stack([(1 - t) * start + t * end for t in np.linspace(0, 1, 8)], axis=1)
spherical = model.interpolate(start, end, n=8)
rows = np.stack([mixed, spherical], axis=1).reshape(-1, 28, 28, 1)
ak.plots.grid(rows, columns=8, row_labels=["pixels", "latents"] * 3)

# %% [markdown]
# ### Arithmetic with attributes
#
# What separates a pullover from a T-shirt is, on average, sleeves. So take the mean latents of the pullovers,
# subtract those of the T-shirts, and add the difference to a T-shirt that the model has never seen (潜空间
# 算术). The classifier says at which strength a T-shirt counts as a pullover:

# %% tags=["nbval-ignore-output"]
latents, _ = model.encode(train_images[: pick(2000, 5000)])
centre = {k: latents[train_labels[: len(latents)] == k].mean(axis=0) for k in range(10)}
sleeves = centre[classes.index("Pullover")] - centre[classes.index("T-shirt/top")]
shirts, _ = model.encode(test_images[test_labels == classes.index("T-shirt/top")])
strengths = np.linspace(0, 2, 6)
for strength in strengths:
    _, probabilities = features.extract(model.decode(shirts + strength * sleeves))
    share = np.mean(probabilities.argmax(axis=1) == classes.index("Pullover"))
    print(f"T-shirt + {strength:.1f} x sleeves: taken for a pullover {share:.0%}")
changed = np.stack([model.decode(shirts[:6] + s * sleeves) for s in strengths], axis=1)
ak.plots.grid(
    changed.reshape(-1, 28, 28, 1), columns=6, column_labels=[f"{s:.1f}" for s in strengths]
)

# %% [markdown]
# ### On request
#
# A **conditional VAE** (条件变分自编码器, Sohn et al. 2015) gives the label to the encoder and the decoder. The
# latents no longer need to say *what* it is and keep the *how*: each column below has one $z$, each
# row one class.

# %% tags=["nbval-ignore-output"]
labelled = ak.datasets.load(
    "fashion_mnist", f"train[:{n_train}]", batch_size=64, labels=True, seed=0
)
conditional = ak.vae.ConditionalVAE((28, 28, 1), num_classes=10, latent_dim=16)
fit(conditional, labelled, steps=pick(30, 900), verbose=2)
styles = np.tile(conditional.sample_latents(10, seed=1), (10, 1))
ak.plots.grid(
    conditional.decode(styles, np.repeat(np.arange(10), 10)),
    columns=10,
    row_labels=classes,
    inches=0.6,
)

# %% tags=["nbval-ignore-output"]
asked = np.arange(n_samples) % 10
samples = conditional.generate(n_samples, labels=asked, seed=0)
evaluate("conditional VAE", samples)
_, probabilities = features.extract(samples)
read = probabilities.argmax(axis=1)
print(f"read as the class that was asked for: {np.mean(read == asked):.1%}, namely")
for k in range(10):
    others = np.bincount(read[(asked == k) & (read != k)], minlength=10)
    wrong = f"; else mostly {classes[others.argmax()]}" if others.any() else ""
    print(f"  {classes[k]:12s} {np.mean(read[asked == k] == k):4.0%}{wrong}")
kept = {name: np.mean(read[asked == k] == k) for k, name in enumerate(classes)}
assert ak.profile.name() == "fast" or kept["Sandal"] < 0.6 < 0.85 < kept["Trouser"]

# %% [markdown]
# It draws what it is asked for, as far as an outline can tell. Trousers are trousers. A shirt, a coat and
# a pullover differ by a collar and a row of buttons, which blur takes away. And a sandal is thin straps,
# in another place on each: their mean is the outline of a shoe, which the classifier then names. The
# recall next to zero has the reason of section 6: blur. And these latents say less than those of
# section 5: compare the KL divergences at the end of the two trainings.
#
# ### Handwritten digits
#
# Text 003 (section 4.2) takes a VAE for handwritten digits (手写数字) as its example: an encoder of strided
# convolutions to mean and variance, the reparameterisation, a decoder of transposed convolutions, the
# cross-entropy of the pixels. That is the model above, `vae.VAE`; only the data change. There are 1,500
# digits to learn from, of 8 x 8 pixels each, enlarged. On the left digits that the model has not seen, in
# the middle the same ones rebuilt from 16 latents, on the right new ones: many are digits, some stand
# between two.


# %% tags=["nbval-ignore-output"]
def framed(images):
    """The images with a black margin: these digits touch their edges."""
    return np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), constant_values=-1)


digits = ak.datasets.load("digits", "train", batch_size=64, seed=0)
unseen, _ = ak.datasets.arrays("digits", "test")
vae_digits = ak.vae.VAE((28, 28, 1), latent_dim=16)
fit(vae_digits, digits, steps=pick(4, 500))
result = vae_digits.evaluate(unseen, verbose=0, return_dict=True)
print(f"-ELBO {result['negative_elbo']:.1f}, of which KL {result['kl_divergence']:.1f} nats")
columns = {
    "unseen digits": unseen[:64],
    "rebuilt": vae_digits.reconstruct(unseen[:64]),
    "new": vae_digits.generate(64, seed=0),
}
ak.plots.strip([framed(images) for images in columns.values()], list(columns), columns=8, inches=4)

# %% [markdown]
# ## 8. Beta: how much a picture may say
#
# The weight $\beta$ (Higgins et al. 2017) is a price. At 0 the latents may say as much as they like; the
# higher it is, the more a nat of them must save on the reconstruction. This is a trade, so draw it as
# one: each point is a model, and no point is better in both.

# %% tags=["nbval-ignore-output"]
betas = pick((1,), (0.1, 1, 4, 15))
sweep, results = {}, {}
for beta in betas:
    keras.utils.set_random_seed(0)
    sweep[beta] = ak.vae.VAE((28, 28, 1), latent_dim=16, beta=beta)
    fit(sweep[beta], steps=pick(20, 400))
    results[beta] = sweep[beta].evaluate(test_images, batch_size=500, verbose=0, return_dict=True)
    active = sweep[beta].active_units(test_images[:1000]).sum()
    print(
        f"beta {beta:4}: reconstruction {results[beta]['reconstruction_loss']:.1f}, "
        f"KL {results[beta]['kl_divergence']:5.1f}, -ELBO {results[beta]['negative_elbo']:.1f} nats; "
        f"{active} of 16 latents active"
    )

# %% tags=["nbval-ignore-output"]
rates = [results[beta]["kl_divergence"] for beta in betas]
distortions = [results[beta]["reconstruction_loss"] for beta in betas]
assert ak.profile.name() == "fast" or (
    rates == sorted(rates, reverse=True) and distortions == sorted(distortions)
)
fig, axes = ak.plots.figure(size=(7.0, 4.0))
axis = axes[0, 0]
axis.plot(rates, distortions, "o-")
for beta, rate, distortion in zip(betas, rates, distortions):
    axis.annotate(f" β = {beta}", (rate, distortion), va="bottom")
axis.set(xlabel="KL divergence, nats per image", ylabel="reconstruction, nats per image")
fig

# %% [markdown]
# ### The same curve as compression
#
# The KL divergence is what it costs to tell somebody who has the decoder which $z$ was drawn (rate, 码率):
# divide by 784 pixels and $\log 2$, and it is **bits per pixel**. So a VAE is an image compressor (图像压缩),
# and it has competitors. PNG keeps every pixel as it is; JPEG, like the VAE, may be wrong, and its error
# is measured by the peak signal-to-noise ratio (PSNR, 峰值信噪比):
# $10 \log_{10}(2^2 / \text{mean squared error})$ for pixels in $[-1, 1]$. To be fair to both, a thousand
# pictures go into one file, so that headers do not count. To be fair to JPEG and PNG, too: theirs are
# real files. The VAE's bits are what a perfect coder would reach, and the decoder, which both sides must
# have, is not counted.


# %% tags=["nbval-ignore-output"]
def psnr(images, reference):
    """Peak signal-to-noise ratio in dB: pixels in [-1, 1] have a peak of 2."""
    return 10 * np.log10(4 / np.mean((images - reference) ** 2))


batch = test_images[: pick(100, 1000)]
sheet = ak.plots.tile(batch, 20)[..., 0]


def file_size(**settings):
    """(bits per pixel, PSNR) of the sheet of test images as a file."""
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, **settings)
    back = np.asarray(Image.open(file), "float32") / 127.5 - 1
    return 8 * file.tell() / sheet.size, psnr(back, sheet / 127.5 - 1)


png_bits = file_size(format="png", optimize=True)[0]
jpeg = [file_size(format="jpeg", quality=quality, optimize=True) for quality in (1, 5, 10, 20, 40)]


def sent(model):
    """(bits per pixel, PSNR) of the test images, sent as a z each."""
    mean, log_variance = model.encode(batch)
    received = model.decode(model.reparameterise(mean, log_variance))
    nats = ak.vae.gaussian_kl(mean, log_variance).numpy().sum(axis=1).mean()
    return nats / math.log(2) / 784, psnr(received, batch)


vae = [sent(sweep[beta]) for beta in betas]
longer = sent(checkpoints[16])
fig, axes = ak.plots.figure(size=(7.0, 4.0))
axis = axes[0, 0]
for points, label in (
    (vae, "VAE, 16 latents, short training"),
    (jpeg, "JPEG"),
    ([longer], "VAE, 16 latents, checkpoint"),
):
    axis.semilogx(*np.transpose(points), "o-", label=label)
axis.axvline(png_bits, color="black", linestyle="--", label="PNG (no error at all)")
axis.set(xlabel="bits per pixel", ylabel="PSNR, dB")
axis.legend()
at_one = vae[betas.index(1)]
print(
    f"PNG {png_bits:.2f} bits per pixel without error; the smallest JPEG {jpeg[0][0]:.3f} at {jpeg[0][1]:.1f} dB;"
)
print(f"the VAE with beta = 1 {at_one[0]:.3f} bits per pixel at {at_one[1]:.1f} dB;")
print(f"the checkpoint, beta = 1 as well, {longer[0]:.3f} at {longer[1]:.1f} dB")
assert longer[1] > max(quality for _, quality in vae) + 0.5
assert ak.profile.name() == "fast" or longer[0] < max(bits for bits, _ in vae)
fig

# %% [markdown]
# It is far below PNG because it knows only clothes and is allowed to be wrong. To the right its curve
# flattens where JPEG's goes on: more bits buy little there. One would blame the 16 numbers, and be wrong.
# The checkpoint has 16 as well, and lies above the whole curve for fewer bits than its right end: what
# those points lack is training (and width). A smaller $\beta$ allows the latents to say more; it does not
# teach the decoder to listen.

# %% [markdown]
# ## 9. How it fails: posterior collapse
#
# **Posterior collapse** (后验坍塌): the encoder says the same for every picture, $q(z|x) = p(z)$, and the decoder
# no longer listens. It is a comfortable place: the KL divergence is zero, and while the decoder has not
# learned to use $z$, every nat spent on it is wasted. There are two ways to get there.
#
# **The wrong sum.** Much published code *averages* the reconstruction over the pixels and *sums* the KL
# divergence over the latents. The KL then weighs 784 times too much: it is $\beta = 784$ under another
# name.
#
# **A bad start.** The objective is right, but the first steps are rough: the reconstruction is still bad,
# the KL is large, and closing down the encoder is the quickest way to save. The network of Keras'
# published example starts with random variances and squeezes everything through 16 ReLU units. With 2
# latents it learns, with 16 it is luck ([section 5](#5.-The-number,-and-sixteen-dimensions) lists three
# seeds of each), and with 256 this seed collapses.
#
# - The **symptom**: all samples look alike, and so do all reconstructions.
# - The **detector**: KL near zero, no **active units** (活跃单元): latents whose mean changes from picture to
#   picture. And the negative ELBO is about that of section 5's one mean picture.
# - The **cure** for the wrong sum is the right one. For the bad start there are two. Let the KL's weight
#   grow from zero, so that the decoder learns first (`warmup_steps`, 预热); in step $t$ of $T$ it is
#   $\beta_t = \beta \min(1, t / T)$. Or give every latent some nats for nothing (`free_bits`, 自由比特): the
#   $\lambda$ of section 3. Below $\lambda$ the maximum is constant, so nothing pushes a latent further
#   down. Our own networks start with posteriors of variance 1 and have 256 units.

# %%
ak.show(ak.vae.VAE.warm_beta)

# %% [markdown]
# A cure must be judged after it has ended: warm-up takes the first quarter of the training, and the
# evaluation always has the full weight. Free bits make the detector useless, since they *give* every
# latent some nats: the line below says how many. So do not count active latents there; ask whether the
# negative ELBO, which charges for every nat, is better than that of a mean picture.


# %% tags=["nbval-ignore-output"]
def published_networks(latent_dim):
    """The layers of Keras' published VAE example."""
    small = {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}
    images = keras.Input((28, 28, 1))
    x = layers.Conv2D(32, **small)(images)
    x = layers.Conv2D(64, **small)(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    encoder = keras.Model(images, [layers.Dense(latent_dim)(x), layers.Dense(latent_dim)(x)])
    latents = keras.Input((latent_dim,))
    x = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64, activation="relu")(latents))
    x = layers.Conv2DTranspose(64, **small)(x)
    x = layers.Conv2DTranspose(32, **small)(x)
    outputs = layers.Conv2DTranspose(1, 3, padding="same")(x)
    return {"encoder": encoder, "decoder": keras.Model(latents, outputs)}


n_trial, n_long, judged = pick(4, 250), pick(4, 750), test_images[: pick(100, 1000)]
small_batches = ak.datasets.load("fashion_mnist", f"train[:{n_train}]", batch_size=32, seed=0)
trials = {
    "averaged over pixels": {"latent_dim": 16, "beta": 784.0},
    "summed": {"latent_dim": 16},
    "published network": {"latent_dim": 256},
    "with warm-up": {"latent_dim": 256, "warmup_steps": n_long // 4},
    "with free bits": {"latent_dim": 256, "free_bits": 0.05},
}
panels, active, trial = [], {}, {}
for name, settings in list(trials.items())[: pick(3, 5)]:
    keras.utils.set_random_seed(0)
    networks = published_networks(256) if settings["latent_dim"] == 256 else {}
    model = ak.vae.VAE((28, 28, 1), **networks, **settings)
    n_steps = n_long if networks else n_trial
    fit(model, small_batches, steps=n_steps)
    result = model.evaluate(judged, batch_size=500, verbose=0, return_dict=True)
    trial[name] = result["negative_elbo"]
    active[name] = model.active_units(judged).sum()
    panels.append(model.generate(16, seed=0))
    print(
        f"{name:21s} {n_steps} steps: -ELBO {trial[name]:.1f}, KL {result['kl_divergence']:5.2f} nats, "
        f"{active[name]:3d} of {model.latent_dim} latents active"
    )
print(f"{'one mean picture':21s} -ELBO {pixel_means:.1f}; free bits give {0.05 * 256:.1f} nats")
if ak.profile.name() != "fast":
    assert active["averaged over pixels"] == active["published network"] == 0
    assert trial["averaged over pixels"] > trial["summed"] + 50
    assert trial["published network"] > pixel_means - 10
    assert trial["published network"] > max(trial["with warm-up"], trial["with free bits"]) + 50
ak.plots.strip(panels, list(trial), columns=4)

# %% [markdown]
# Each panel has sixteen samples. The two collapsed models draw nearly the same grey picture sixteen
# times; the others draw different ones. How good they are does not count here: none was trained for long.

# %% [markdown]
# ## 10. Taking noise away
#
# Text 001 (section 2.1) has autoencoders "to remove noise and to reconstruct samples" (去除噪声和重构样本). That
# is a training of its own, and a simple one: the **denoising autoencoder** (去噪自编码器, Vincent et al. 2008)
# gets a noisy picture
# $\tilde x = x + \sigma \varepsilon$ (`corrupt`) and shall give the clean one. No prior, no KL divergence: the loss is
# the mean squared error, $\lVert x - f(\tilde x) \rVert^2$ per pixel.

# %%
ak.show(ak.vae.DenoisingAutoencoder.train_step)

# %% tags=["nbval-ignore-output"]
denoiser = ak.vae.DenoisingAutoencoder((28, 28, 1), noise_std=0.5)
fit(denoiser, steps=pick(30, 550))
clean = test_images[:1000]
noisy = np.asarray(denoiser.corrupt(clean, seed=0))  # also beyond [-1, 1]: noise is not clipped
denoised = denoiser.denoise(noisy)
# The opponent may choose: the best width of a Gaussian blur.
blurred = max(
    (scipy.ndimage.gaussian_filter(noisy, (0, s, s, 0)) for s in np.arange(0.5, 2.1, 0.1)),
    key=lambda images: psnr(images, clean),
)
rows = {"noisy": noisy, "blurred": blurred, "denoised": denoised, "clean": clean}
rows = {name: np.clip(images, -1, 1) for name, images in rows.items()}
for name in ("noisy", "blurred", "denoised"):
    print(
        f"{name:9s} {psnr(rows[name], clean):.1f} dB, {accuracy(rows[name]):.0%} read as their class"
    )
assert ak.profile.name() == "fast" or psnr(denoised, clean) > psnr(blurred, clean) + 1
ak.plots.grid(
    np.concatenate([images[:12] for images in rows.values()]), columns=12, row_labels=list(rows)
)

# %% [markdown]
# From top to bottom: noisy, blurred, denoised, clean.
#
# Why does this belong to a course on generation? The best possible denoiser of squared error gives the
# mean of all clean pictures that could have led to the noisy one, and that is (Tweedie's formula;
# Miyasawa 1961)
#
# $$\mathbb E[x \mid \tilde x] = \tilde x + \sigma^2\, \nabla_{\tilde x} \log p_\sigma(\tilde x)$$
#
# where $p_\sigma$ is the density of the *noisy* pictures, not of the clean ones: only for little noise
# are the two about the same (Alain and Bengio 2014 prove that limit). What the denoiser adds points to
# where noisy pictures are more probable. Check it where both sides are known: data that are $-1$ or $1$,
# whose noisy density is two bells and whose best denoiser is $\tanh(\tilde x / \sigma^2)$.

# %%
sigma = 0.5
noisy_x = np.linspace(-2, 2, 4001)
density = (scipy.stats.norm.pdf(noisy_x, -1, sigma) + scipy.stats.norm.pdf(noisy_x, 1, sigma)) / 2
tweedie = noisy_x + sigma**2 * np.gradient(np.log(density), noisy_x)
difference = np.abs(tweedie - np.tanh(noisy_x / sigma**2))[1:-1].max()
assert difference < 1e-4
for i in (2000, 2200, 2500, 3500):
    print(f"noisy {noisy_x[i]:.1f}: mean of the clean ones {tweedie[i]:.3f}")

# %% [markdown]
# Follow that direction from pure noise in many small steps, with less noise at each, and a picture
# appears. That is a diffusion model ([chapter 04](04_diffusion.ipynb)). One big step is not enough; it
# gives the mean of everything:

# %% tags=["nbval-ignore-output"]
noise = denoiser.noise_std * np.random.default_rng(0).normal(size=(12, 28, 28, 1))
ak.plots.grid(
    denoiser.denoise(noise), columns=12, alt="What the denoiser makes of pure noise in one big step"
)

# %% [markdown]
# ## 11. VAE or GAN: which is hard to train?
#
# The texts disagree with each other and with themselves: text 004 (section 3.3) calls the VAE "hard to
# train" (训练困难) and the GAN "relatively simple" (训练相对简单) in one cell of its table and "unstable" (训练不稳定)
# in the next. That is a question one can measure. `make bench BENCH_ARGS="--race 60"` trains both for the
# same time, our VAE with 16 latents and our DCGAN, both with their default settings and without labels,
# from several seeds; then with ten times and a tenth of the learning rate. Each dot below is a run: left
# its distance (lower is better), then precision and recall (higher is better).

# %%
titles = {"frechet": "Fréchet distance", "precision": "precision", "recall": "recall"}
fig, axes = ak.plots.figure(columns=3, size=(4.2, 3.6))
for result in races["VAE or GAN"]["results"]:
    runs = result["scores"]
    kind, _, rate = result["setting"].partition(", ")
    column = ["learning rate / 10", "", "learning rate x 10"].index(rate)
    print(
        f"{result['setting']:26s} {len(result['seeds'])} runs of {np.mean(runs['seconds']['values']):.0f} s",
        end="",
    )
    for axis, (name, title) in zip(axes[0], titles.items()):
        values = runs[name]["values"]
        print(f"; {title} {min(values):.2f} to {max(values):.2f}", end="")
        color = ak.plots.COLORS[0 if kind == "VAE" else 1]
        shift = -0.1 if kind == "VAE" else 0.1
        label = kind if column == 1 else None
        axis.plot([column + shift] * len(values), values, "o", color=color, alpha=0.7, label=label)
        axis.set(title=title, xlabel="learning rate", xlim=(-0.5, 2.5))
        axis.set_xticks(range(3), ["/ 10", "default", "x 10"])
    print()
axes[0, 0].set(yscale="log", ylim=(5, 50))
axes[0, 0].set_yticks([5, 10, 20, 40], [5, 10, 20, 40])
axes[0, 0].yaxis.set_minor_formatter("")
axes[0, -1].legend()

race = {result["setting"]: result["scores"] for result in races["VAE or GAN"]["results"]}
ours, theirs = ({k: v["values"] for k, v in race[name].items()} for name in ("VAE", "DCGAN"))
assert np.ptp(ours["frechet"]) < np.ptp(theirs["frechet"]) / 2
assert np.mean(ours["frechet"]) < np.mean(theirs["frechet"])
assert all(max(ours[name]) < min(theirs[name]) for name in ("precision", "recall"))
steep = {
    kind: race[f"{kind}, learning rate x 10"]["frechet"]["values"] for kind in ("VAE", "DCGAN")
}
assert max(steep["VAE"]) > 3 * max(steep["DCGAN"])
fig

# %% [markdown]
# What they say:
#
# - With its default settings the **VAE** is the steadier one: its distances lie close together, those of
#   the GAN lie apart. On average it is also a little ahead after so short a time, but in the distance
#   only: in precision and recall every run of the GAN is better than every run of the VAE.
# - With time the **GAN** goes further. The table of
#   [section 6](#6.-New-pictures,-and-chapter-01's-distance) has both after about the same time, though
#   that GAN also has labels, which helps. The blur stays.
# - With ten times the learning rate it was the *VAE* that failed: one of its runs collapsed as in
#   [section 9](#9.-How-it-fails:-posterior-collapse), while all runs of the GAN went well.
#
# So neither is "hard to train" as such. A VAE has one known way to fail, a number that shows it and two
# cures. A GAN has several, and the losses of its two players tell of their game, not of the pictures;
# [chapter 01](01_gan.ipynb) shows them, and the one exception, the Wasserstein critic, whose loss
# estimates a distance.

# %% [markdown]
# ## 12. Corrections to the text
#
# Each one: what the text says, what is right, and where a line can show it, the line.
#
# **1. "The encoder compresses the input to a point"** (text 003, section 2.2.1: "编码器将输入数据压缩为潜在空间中的一个点").
# That is an autoencoder. A VAE's encoder gives a distribution, and its width is what makes the space
# between the points usable (the same text has it right in section 4.2). The average standard deviation of
# the 16 latents, where a point would have 0 and the prior has 1:

# %% tags=["nbval-ignore-output"]
_, log_variance = vae_16d.encode(test_images)
print(" ".join(f"{std:.2f}" for std in np.sort(np.exp(0.5 * log_variance).mean(axis=0))))

# %% [markdown]
# **2. The formula with $\beta$ "is the evidence lower bound"** (text 003, section 2.2.1: "上式是VAE的证据下界").
# For $\beta \ge 1$ it is a bound, for $\beta < 1$ it need not be. On section 1's model, where everything
# is known exactly:

# %%
for beta in (0.0, 0.5, 1.0, 2.0):
    value = reconstruction - beta * kl
    print(f"beta {beta}: {value:6.2f} {'<=' if value <= exact else '> '} log p(x) = {exact:.2f}")

# %% [markdown]
# **3. "We maximise the reconstruction term and minimise the KL term at the same time"** (text 003,
# section 4.2: "同时最大化重建项和最小化KL散度项"). What is maximised is their difference. They pull against each other:
# section 8's curve has no point that is best in both. Where the KL is least, at zero, is the collapse of
# section 9.

# %% tags=["nbval-ignore-output"]
for beta in (betas[0], betas[-1]):
    print(
        f"beta {beta}: reconstruction {results[beta]['reconstruction_loss']:.1f}, "
        f"KL {results[beta]['kl_divergence']:.1f}"
    )

# %% [markdown]
# **4. "We maximise the following loss", with "the pixelwise cross-entropy as the reconstruction term"**
# (text 003, section 4.2: "我们最大化如下损失函数 ... 像素wise的交叉熵损失"). The term is *minus* the cross-entropy. Maximise
# what is printed, and the best picture is the one that is certainly wrong:

# %%
true_pixel = 1.0
for guess in (0.01, 0.5, 0.99):
    cross_entropy = -true_pixel * math.log(guess)
    print(f"a white pixel, taken for white with {guess:.2f}: cross-entropy {cross_entropy:.2f}")

# %% [markdown]
# **5. "VAE training minimises reconstruction error and KL divergence"** (text 004, section 3.2.1:
# "最小化重构误差和KL散度"), without a word on how each is added up. That word decides: section 9's first two panels
# have the same network, data, seed and steps.

# %% tags=["nbval-ignore-output"]
print(f"averaged: {active['averaged over pixels']} active latents; summed: {active['summed']}")

# %% [markdown]
# **6. "The VAE maximises the likelihood of the data and minimises the reconstruction error"** (text 000,
# section 2.1: "最大化数据似然和最小化重构误差"). It maximises a *bound* of the likelihood, and the reconstruction is one
# half of that bound, no second goal. What the bound leaves out is not constant, so a better bound is not
# always a better likelihood:

# %% tags=["nbval-ignore-output"]
for name in ("2-D", "16-D"):
    print(f"{name}: at least {gap[name]:.1f} nats between the ELBO and log p(x)")

# %% [markdown]
# **7. "Models such as GANs and VAE", by "adversarial training of a generative against a discriminative
# model"** (text 000, section 3.1: "如GANs、VAE等 ... 通过生成模型与判别模型之间的对抗训练"). A VAE has no discriminator and no
# opponent: two networks, one loss, one optimizer.

# %%
print([layer.name for layer in vae_16d.layers], type(vae_16d.optimizer).__name__)

# %% [markdown]
# **8. The autoencoder among the generative models** (text 001, section 2.1:
# "自编码器：通过压缩和解码两个过程，学习数据的编码和解码关系，用于生成式任务中去除噪声和重构样本", used "in generative tasks to remove noise and to
# reconstruct samples"; section 1.1 lists it beside GAN and diffusion). It does reconstruct, and trained
# for it ([section 10](#10.-Taking-noise-away)) it removes noise. It does not generate: it has no
# distribution to draw from. Section 1's autoencoder and section 4's VAE have the same networks and both
# are asked for $z \sim \mathcal N(0, I)$:

# %% tags=["nbval-ignore-output"]
compared = {"autoencoder": autoencoder, "VAE": vae_2d}
distances = {}
for name, model in compared.items():
    drawn_features, _ = features.extract(model.generate(n_samples, seed=0))
    distances[name] = ak.metrics.frechet_distance(test_features[0], drawn_features)
    print(f"{name:11s} Fréchet distance {distances[name]:.1f} ({n_samples:,} images)")
assert ak.profile.name() == "fast" or distances["autoencoder"] > 1.5 * distances["VAE"]
ak.plots.strip(
    [model.generate(40, seed=0) for model in compared.values()],
    list(compared),
    columns=10,
    inches=5,
)

# %% [markdown]
# **9. The code of text 004** (section 5.2.1) consists of a class and a function whose bodies are the
# comment "code omitted" (省略代码). It is not even Python:

# %%
printed = "class VAE(nn.Module):\n    # 省略代码...\n\ndef train_vae(model, optimizer):\n    # 省略代码...\n"
try:
    compile(printed, "text 004", "exec")
except IndentationError as error:
    print(f"IndentationError: {error.msg}")

# %% [markdown]
# **10. "VAE: hard to train. GAN: relatively simple"** (text 004, section 3.3): section 11 measured it.
#
# **11. "Samples of limited quality"** (text 004, section 3.3: "生成的样本质量有限"). True, and section 6 says of which
# kind: blur, and latents that no picture uses.
#
# **12. Charts without their subject.** Text 000, section 2.2.1, "the relation of GANs and VAE"
# (GANs和VAE的关系), draws a generator and a discriminator and no VAE. Text 001, section 2.2.3, "the relation
# of GAN and autoencoder" (GAN与自编码器的关系), has no autoencoder. What relates them: both turn
# $z \sim \mathcal N(0, I)$ into a picture by a decoder. The VAE learns it from a bound and has an
# encoder; the GAN learns it from an opponent and has none.
#
# **13. "Data of different modalities are generated by a VAE"** (text 000, section 2.2.3:
# "通过VAE生成不同模态的数据"). One VAE models the data that its likelihood describes; pixels in this chapter.
# Nothing in a VAE turns one medium into another unless it is trained on both.
#
# **14. The result of the VAE** (text 004, section 5.4) is a link to a picture on a server elsewhere. The
# GAN's picture beside it has the same address as the "map of core concepts" (核心概念联系) of section 2.2 of
# that text: `i.imgur.com/7Z8jZ8M.png`. One of the two is not what it is called. We could not look, so we
# do not say which. (What a result looks like when it can be checked: sections 4 and 6.)
#
# **15. "GANs are widely used to generate pictures, as in DeepArt, DeepFakes"** (text 004, sections 3.4
# and 6.1: "GAN广泛应用于图像生成，如DeepArt、DeepFakes等"). The face swaps that gave DeepFakes the name were made by
# autoencoders: one encoder for both faces and a decoder for each. (That is the common account of that
# program; we did not run it.)

# %% [markdown]
# ## 13. What to try
#
# - `likelihood="gaussian"`: what standard deviation does it learn (`model.log_scale`)? Are the pictures
#   sharper?
# - Draw from a mixture of Gaussians fitted to `encode(train_images)` instead of the prior
#   (`sklearn.mixture.GaussianMixture`). How much of the distance goes away?
# - Add a pullover's sleeves to a dress, or the heel of an ankle boot to a sandal.
# - Train on pictures of your own: `ak.datasets.load("my/folder", image_size=64)` with `ak.vae.VAE((64,
#   64, 3))`.
#
# **Exercise.** The Bernoulli likelihood is a density only for black and white. The *continuous Bernoulli*
# (Loaiza-Ganem and Cunningham 2019) adds the constant that grey pixels need. Write a subclass of
# `ak.vae.VAE` whose `reconstruction_log_likelihood` has it, and check with a numerical integral that the
# density of one pixel is 1 in total.
#
# **Problem set.** Five graded tasks on this chapter: [problem set 02](exercises/mine/problems_02_vae.ipynb).
# The link opens your own copy, which `make lab` made; `make check EX=02` tells you how far you are.
#
# **Papers**
#
# - Kingma and Welling 2014, *Auto-encoding variational Bayes*,
#   [arXiv:1312.6114](https://arxiv.org/abs/1312.6114)
# - Burda et al. 2016, *Importance weighted autoencoders*, [arXiv:1509.00519](https://arxiv.org/abs/1509.00519)
# - Higgins et al. 2017, *beta-VAE*, ICLR; Bowman et al. 2016, *Generating sentences from a continuous
#   space*, [arXiv:1511.06349](https://arxiv.org/abs/1511.06349) (warm-up); Kingma et al. 2016, *Improving
#   variational inference with inverse autoregressive flow*,
#   [arXiv:1606.04934](https://arxiv.org/abs/1606.04934) (free bits)
# - Sohn et al. 2015, *Learning structured output representation using deep conditional generative
#   models*, NeurIPS
# - Vincent et al. 2008, *Extracting and composing robust features with denoising autoencoders*, ICML;
#   Alain and Bengio 2014, *What regularized auto-encoders learn from the data-generating distribution*,
#   [arXiv:1211.4246](https://arxiv.org/abs/1211.4246); Miyasawa 1961, *An empirical Bayes estimator of
#   the mean of a normal population*; Efron 2011, *Tweedie's formula and selection bias*
# - Loaiza-Ganem and Cunningham 2019, *The continuous Bernoulli*,
#   [arXiv:1907.06845](https://arxiv.org/abs/1907.06845)
#
# [← 01 Generative adversarial networks](01_gan.ipynb) · [03 Style transfer →](03_style_transfer.ipynb)

# %% tags=["nbval-ignore-output"]
if ak.profile.name() != "fast":  # the picture at the top
    plane = Image.fromarray(ak.plots.tile(manifold(checkpoints[2], 16), columns=16))
    plane.save("images/02_vae.png")
