# %% [markdown]
# # Problem set 03: Style transfer (风格迁移)
#
# You need chapter 03: content and style loss (sections 1 and 3 to 5), AdaIN (section 7) and how it fails (section 10).
#
# | task | points |
# |---|---|
# | 1. The style of a region: finish a formula | 4 |
# | 2. Paint the background only: finish a train step | 4 |
# | 3. Five paintings: diagnose broken runs | 4 |
# | 4. What is a crop of a style worth? Measure it | 4 |
# | 5. A style of your own: an open task | 4 |
#
# Run the test cells, or type `make check EX=03`; the last points of a task are given by tests
# that you cannot see. The tasks do not need each other. This notebook must keep its name.

# %%
import aigc_keras as ak
import keras
import numpy as np
import tensorflow as tf
from keras import ops

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it takes many small models for one that is traced too often
pick = ak.profile.pick  # fast: does it run; lesson: some seconds a task


def photograph(name, size):
    """The middle square of a photograph of the course, float32 (size, size, 3) in [-1, 1]."""
    image = ak.datasets.photograph(name)
    height, width = image.shape[:2]
    image = ak.datasets.photograph(name, size=round(size * max(height, width) / min(height, width)))
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


# %% [markdown]
# ## 1. The style of a region (4 points)
#
# Two things trouble the Gram matrix (格拉姆矩阵) of the chapter. It takes the *whole* style picture, though you may like only
# its sky. And a feature that is simply bright everywhere fills it, though it says nothing about texture: add a
# constant to the features and the Gram matrix changes. The cure for both is the **weighted covariance** (加权协方差) of
# the channels. With features $F[p, i]$ (position $p$, channel $i$) and a mask $m[p] \ge 0$ that says how much each position
# counts,
#
# $$\mu_i = \frac{\sum_p m[p]\, F[p, i]}{\sum_p m[p]}, \qquad
# \Sigma[i, j] = \frac{\sum_p m[p]\, \bigl(F[p, i] - \mu_i\bigr)\bigl(F[p, j] - \mu_j\bigr)}{\sum_p m[p]}$$
#
# Write `region_covariance(features, mask)`: features (B, H, W, C) and masks (B, H, W), both floats, to $\Sigma$,
# (B, C, C). Each image of the batch has its own mask and its own result; the maps need not be square.
#
# - A mask may be **soft** (软掩码): any numbers from 0 on, not only 0 and 1, at least one of them above 0. Only their ratios matter.
# - Features of this network reach hundreds. A constant added to a channel must not matter in float32 either: if 3000 is
#   added, $\Sigma$ must stay the same up to 0.01 where features vary by about 1.
# - It shall serve in a loss: write it with TensorFlow or `keras.ops`, so that a `tf.GradientTape` can take its gradient with
#   respect to the features.


# %% solution="region_covariance"
def region_covariance(features, mask):
    """The covariance of the channels over the positions, each counted as much as the mask says.

    features: floats (B, H, W, C). mask: floats >= 0, (B, H, W). Returns (B, C, C).
    """
    ### BEGIN SOLUTION
    weights = mask / ops.sum(mask, axis=(1, 2), keepdims=True)
    mean = ops.einsum("bhw,bhwi->bi", weights, features)
    centred = features - mean[:, None, None]  # before any square: float32 has seven digits
    return ops.einsum("bhw,bhwi,bhwj->bij", weights, centred, centred)
    ### END SOLUTION


# %% tests="region_covariance" points=1
from aigc_keras.exercises import expect

rng = np.random.default_rng(0)
features = rng.normal(size=(1, 5, 5, 3)).astype("float32")
everything = np.ones((1, 5, 5), "float32")
rows = features.reshape(25, 3)
wanted = [(rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0)) / 25]
expect(
    "region_covariance with a mask of ones",
    region_covariance(features, everything),
    wanted,
    "With a mask of ones it is the usual covariance of the channels, divided by the number of positions.",
)
left = everything.copy()
left[:, :, 3:] = 0.0
rows = features[0, :, :3].reshape(15, 3)
wanted = [(rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0)) / 15]
expect(
    "region_covariance of the left three columns",
    region_covariance(features, left),
    wanted,
    "What lies outside of the region must not count: not in the sum, not in the mean, not in what you divide by.",
)
expect(
    "region_covariance of features that are shifted by 3",
    region_covariance(features + np.float32(3.0), left),
    wanted,
    "The mean of the region is subtracted first, channel by channel.",
    atol=1e-4,
)
rows = features.reshape(25, 3)
whole = (rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0)) / 25
expect(
    "region_covariance of two images: the left of the one, and the other, which varies twice as much",
    region_covariance(
        np.concatenate([features, 2 * features + 1]), np.concatenate([left, everything])
    ),
    [wanted[0], 4 * whole],
    "Each image has its own sum, its own mean and its own result: add up over positions, not over the batch.",
    atol=1e-4,
)

# %% tests="region_covariance" points=3
from aigc_keras.exercises import expect

rng = np.random.default_rng(1)
features = rng.normal(size=(2, 4, 7, 3)).astype("float32")
soft = rng.uniform(0.1, 2.0, size=(2, 4, 7)).astype("float32")
result = np.array(region_covariance(features, soft))
# More is tested when you hand in: soft masks, maps that are not square, large constants, gradients, shuffled and single positions.
### BEGIN HIDDEN TESTS
wanted = []
for f, m in zip(features.reshape(2, 28, 3).astype("float64"), soft.reshape(2, 28), strict=True):
    mean = sum(w * x for w, x in zip(m, f, strict=True)) / m.sum()
    outer = sum(w * np.outer(x - mean, x - mean) for w, x in zip(m, f, strict=True))
    wanted.append(outer / m.sum())
expect(
    "region_covariance of two images of 4 x 7 with soft masks",
    result,
    wanted,
    "A position of weight 2 counts as two of weight 1 in the same place, not as four; and the maps are not square.",
)
x = tf.constant(features)
with tf.GradientTape() as tape:
    tape.watch(x)
    total = tf.reduce_sum(region_covariance(x, tf.constant(soft)) ** 2)
gradient = tape.gradient(total, x)
expect(
    "whether there is a gradient (1: yes)",
    gradient is not None,
    1,
    "NumPy cannot be differentiated: TensorFlow or keras.ops.",
)
expect(
    "the sum of features times gradient, for the sum of the squares of the result",
    tf.reduce_sum(x * gradient),
    4 * np.sum(np.square(wanted)),  # Euler: the squares of covariances are homogeneous of degree 4
    "Covariances grow with the square of the features. Is everything in the gradient, the mean too?",
    rtol=1e-3,
)
expect(
    "region_covariance with the mask times 50",
    region_covariance(features, 50.0 * soft),
    wanted,
    "Only the ratios of the weights matter.",
)
expect(
    "region_covariance with 3000 added",
    region_covariance(features + np.float32(3000.0), soft),
    wanted,
    "The square of 3000 has seven digits, and float32 has no more: what must be subtracted before it is squared?",
    rtol=0.0,
    atol=0.01,
)
order = rng.permutation(28)
expect(
    "region_covariance with the positions shuffled",
    region_covariance(
        features.reshape(2, 28, 3)[:, order].reshape(2, 7, 4, 3),
        soft.reshape(2, 28)[:, order].reshape(2, 7, 4),
    ),
    wanted,
    "Features and masks are shuffled alike: where a position lies must not matter.",
)
single = np.zeros((2, 4, 7), "float32")
single[:, 2, 5] = 0.3
expect(
    "region_covariance of one position",
    region_covariance(features, single),
    np.zeros((2, 3, 3)),
    "One position does not vary.",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Paint the background only (4 points)
#
# `Painter` is a small version of the chapter's `StyleTransfer`: a `keras.Model` whose picture is a weight. Three things
# are different. It paints only a **region** (区域) of the picture. Its style loss follows Huang and
# Belongie (2017, eq. 13; here with mean squares in place of their norms): it compares each channel's mean $\mu$ and standard deviation $\sigma$ over the positions, not the Gram
# matrix. And its network is an ordinary Keras model that somebody has left trainable.
#
# With $F_l$, $l = 1 \dots L$, the maps of the picture, $C_l$ their number of channels, $N$ the number of entries of $F_L$:
#
# $$L_{content} = \frac1N \sum \bigl(F_L - F_L^{\,content}\bigr)^2, \qquad
# L_{style} = \sum_{l=1}^{L} \frac{1}{C_l} \sum_{c=1}^{C_l} \Bigl[\bigl(\mu_{lc} - \mu_{lc}^{\,style}\bigr)^2 + \bigl(\sigma_{lc} - \sigma_{lc}^{\,style}\bigr)^2\Bigr]$$
#
# $$L = w_{content}\, L_{content} + w_{style}\, L_{style} + w_{variation}\, TV$$
#
# The targets are there already (`content_maps`, `style_statistics`). `ak.style.channel_statistics` gives $\mu$ and $\sigma$, and
# `ak.style.total_variation` gives $TV$. Write `train_step` of `RegionPainter`:
#
# 1. the four losses of the picture *as it is now*, before the step;
# 2. the gradient of $L$ with respect to the picture, and to nothing else; where `region` is 0, it is 0;
# 3. a step of `self.optimizer`, which changes `self.pixels` and no other weight, whether it could be trained or not;
# 4. the picture ends in [-1, 1] after each step, however large the step;
# 5. the `trackers` are told the losses, and a dict from each tracker's name to its result comes back: in `fit` that is the
#    mean over the steps of an epoch.
#
# `fit` compiles the step to a graph: no `.numpy()` in it. `ops.convert_to_tensor(self.pixels)` is the
# picture as a tensor, `self.pixels.value` the variable that a `tf.GradientTape` knows.


# %%
class Painter(keras.Model):
    """The picture `pixels` (1, H, W, 3), which starts as the content.

    content, style: images (H, W, 3) in [-1, 1]. region: (H, W), 1 where it is painted, otherwise 0.
    features: a Keras model from pictures (B, H, W, 3) to a list of L maps (B, h, w, C_l).
    """

    def __init__(
        self,
        content,
        style,
        region,
        features,
        content_weight=1.0,
        style_weight=1.0,
        variation_weight=1.0,
    ):
        super().__init__()
        self.features = features
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.variation_weight = variation_weight
        self.region = tf.constant(region[None, :, :, None], "float32")  # (1, H, W, 1)
        self.content_maps = features(tf.constant(content[None]))[-1]  # (1, h, w, C_L)
        self.style_statistics = [  # of each layer (1, 2, C_l): means, standard deviations
            ak.style.channel_statistics(maps) for maps in features(tf.constant(style[None]))
        ]
        self.pixels = self.add_weight((1, *content.shape), name="pixels", dtype="float32")
        self.pixels.assign(content[None])
        names = ("loss", "content_loss", "style_loss", "variation_loss")
        self.trackers = [keras.metrics.Mean(name=name) for name in names]
        self.built = True

    def paint(self, steps):
        """Train the picture for some steps; returns the losses, means over these steps."""
        nothing = tf.data.Dataset.from_tensors(0).repeat()
        history = self.fit(nothing, steps_per_epoch=steps, shuffle=False, verbose=0).history
        return {name: values[-1] for name, values in history.items()}

    def picture(self):
        """The picture (H, W, 3)."""
        return ops.convert_to_numpy(self.pixels)[0]


# %% solution="RegionPainter"
class RegionPainter(Painter):
    def train_step(self, data):
        """One step of the picture; `data` is not used. Returns a dict from tracker to mean."""
        ### BEGIN SOLUTION
        with tf.GradientTape() as tape:
            picture = ops.convert_to_tensor(self.pixels)
            maps = self.features(picture)
            losses = {
                "content_loss": ops.mean(ops.square(maps[-1] - self.content_maps)),
                # The mean over (1, 2, C) of both squares is half of what the text adds up.
                "style_loss": sum(
                    2.0 * ops.mean(ops.square(ak.style.channel_statistics(found) - wanted))
                    for found, wanted in zip(maps, self.style_statistics, strict=True)
                ),
                "variation_loss": ak.style.total_variation(picture),
            }
            losses["loss"] = (
                self.content_weight * losses["content_loss"]
                + self.style_weight * losses["style_loss"]
                + self.variation_weight * losses["variation_loss"]
            )
        gradient = tape.gradient(losses["loss"], self.pixels.value)
        self.optimizer.apply([self.region * gradient], [self.pixels])
        self.pixels.assign(ops.clip(self.pixels, -1.0, 1.0))
        for tracker in self.trackers:
            tracker.update_state(losses[tracker.name])
        return {tracker.name: tracker.result() for tracker in self.trackers}
        ### END SOLUTION


# %% tests="RegionPainter" points=1
from aigc_keras.exercises import expect
from IPython.display import display

# A network that changes nothing, twice: then all losses can be worked out by hand.
entry = keras.Input((None, None, 3))
unchanged = keras.Model(entry, [keras.layers.Identity()(entry), keras.layers.Identity()(entry)])
chess = (
    np.where(np.indices((6, 8)).sum(0) % 2, 0.5, -0.5)[..., None].repeat(3, -1).astype("float32")
)
flat = np.full((6, 8, 3), 0.3, "float32")
right = np.zeros((6, 8), "float32")
right[:, 4:] = 1.0

painter = RegionPainter(chess, flat, right, unchanged)
painter.compile(keras.optimizers.SGD(0.0))
painter.pixels.assign(chess[None] + 0.1)  # mean 0.1, deviation 0.5; the style: 0.3 and 0
losses = painter.paint(1)
expect(
    "content_loss of a picture that is 0.1 too bright",
    losses["content_loss"],
    0.1**2,
    "Of the last maps, the mean of the squared differences.",
)
deviation = np.sqrt(0.25 + 1e-5) - np.sqrt(1e-5)  # channel_statistics adds 1e-5 to a variance
expect(
    "style_loss of two layers",
    losses["style_loss"],
    2 * (0.2**2 + deviation**2),
    "The mean over the channels, but the sum of both statistics and the sum of the layers.",
)
expect(
    "loss with all weights 1",
    losses["loss"],
    0.1**2 + 2 * (0.2**2 + deviation**2) + 2.0,
    "The three parts, each times its weight. The total variation of this chessboard is 2.",
)

painter = RegionPainter(chess, flat, right, unchanged, style_weight=0.0, variation_weight=0.0)
painter.compile(
    keras.optimizers.SGD(0.5 * chess.size), run_eagerly=True
)  # just the rate that finds the content
painter.pixels.assign(chess[None] + 0.1)
painter.paint(1)
expect(
    "the picture after a step on the content loss alone",
    painter.picture(),
    chess + 0.1 * (1.0 - right)[..., None],
    "The right half, the region, becomes the content at once; the left half must stay as it was.",
)

# What your step paints: the background of the cat, with the features of the chapter.
side = pick(32, 96)
tower = ak.style.PerceptualFeatures(
    ["block1_conv1", "block2_conv1", "block3_conv1"], dtype="float32"
)
cat, mosaic = photograph("chelsea", side), ak.patterns.draw("mosaic", side)
y, x = (np.indices((side, side)) + 0.5) / side
oval = (((x - 0.5) / 0.42) ** 2 + ((y - 0.5) / 0.48) ** 2 > 1.0).astype("float32")
entry = keras.Input((None, None, 3))
seeing = keras.Model(entry, list(tower(entry).values()))
painter = RegionPainter(cat, mosaic, oval, seeing, 0.1)
painter.compile(keras.optimizers.Adam(0.05), run_eagerly=ak.profile.name() == "fast")
painter.paint(pick(1, 20))
display(
    ak.plots.grid(
        np.stack([cat, mosaic, painter.picture()]),
        column_labels=["content", "style", "your painter"],
        inches=3,
    )
)

# %% tests="RegionPainter" points=3
from aigc_keras.exercises import expect

rng = np.random.default_rng(2)
content, style = rng.uniform(-0.9, 0.9, (2, 5, 7, 3)).astype("float32")
now = rng.uniform(-0.9, 0.9, (5, 7, 3)).astype("float32")
region = (rng.uniform(size=(5, 7)) < 0.6).astype("float32")
entry = keras.Input((None, None, 3))
first = keras.layers.Dense(4, "tanh", bias_initializer="random_normal")
second = keras.layers.Dense(5, "tanh", bias_initializer="random_normal")
network = keras.Model(entry, [first(entry), second(first(entry))])  # on each pixel; trainable
before = [w.copy() for w in network.get_weights()]
painter = RegionPainter(content, style, region, network, 0.7, 2.0, 0.3)
painter.compile(keras.optimizers.SGD(0.5))
painter.pixels.assign(now[None])
losses = [painter.paint(1)]
after = [painter.picture()]
# More is tested when you hand in: the gradient, the network's weights, many and large steps.
### BEGIN HIDDEN TESTS


def independent(picture):
    """The losses in NumPy, float64."""

    def maps(image):
        (a, b), (c, d) = ([w.astype("float64") for w in before[i : i + 2]] for i in (0, 2))
        hidden = np.tanh(image.astype("float64") @ a + b)
        return [hidden, np.tanh(hidden @ c + d)]

    found, wanted = maps(picture), maps(content)
    parts = [np.mean((found[-1] - wanted[-1]) ** 2), 0.0]
    for x, y in zip(found, maps(style), strict=True):
        parts[1] += np.mean((x.mean((0, 1)) - y.mean((0, 1))) ** 2)
        deviations = [np.sqrt(maps.var((0, 1)) + 1e-5) for maps in (x, y)]
        parts[1] += np.mean((deviations[0] - deviations[1]) ** 2)
    parts.append(sum(np.abs(np.diff(picture.astype("float64"), axis=i)).mean() for i in (0, 1)))
    return [0.7 * parts[0] + 2.0 * parts[1] + 0.3 * parts[2], *parts]


def moved(picture, rate):
    """The picture after a step along the gradient by differences."""
    gradient = np.zeros_like(picture, "float64")
    for at in np.ndindex(*picture.shape):
        up, down = picture.astype("float64"), picture.astype("float64")
        up[at] += 1e-5
        down[at] -= 1e-5
        gradient[at] = (independent(up)[0] - independent(down)[0]) / 2e-5
    return np.clip(picture - rate * region[..., None] * gradient, -1.0, 1.0)


names = ("loss", "content_loss", "style_loss", "variation_loss")
expect(
    ", ".join(names),
    [losses[0][name] for name in names],
    independent(now),
    "The losses of the picture before the step, each part before its weight.",
    rtol=1e-3,
)
expect(
    "the picture after a step",
    after[0],
    moved(now, 0.5),
    "Only the gradient of the whole loss, only with respect to the picture, only in the region.",
    atol=1e-4,
)
for old, new in zip(before, network.get_weights(), strict=True):
    expect(
        "a weight of the feature network after a step",
        new,
        old,
        "The network is the judge. A judge that is trained learns to call every picture good.",
        rtol=0.0,
        atol=0.0,
    )
painter.pixels.assign(now[None])
mean = painter.paint(2)
expect(
    "losses over two steps",
    [mean[name] for name in names],
    np.mean([independent(now), independent(after[0])], axis=0),
    "fit shows the mean over the steps of the epoch: ask the trackers, not the last step.",
    rtol=1e-3,
)
painter = RegionPainter(content, style, region, network, 0.7, 2.0, 0.3)
painter.compile(keras.optimizers.SGD(1e3), run_eagerly=True)
painter.pixels.assign(now[None])
painter.paint(1)
expect(
    "the picture after a step that is far too large",
    np.abs(painter.picture()).max(),
    1.0,
    "Whatever the step, the picture must end in [-1, 1].",
)
expect(
    "what lies outside the region after a step that is far too large",
    painter.picture()[region == 0],
    now[region == 0],
    "Nothing outside of the region moves.",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Five paintings (4 points)
#
# Five students painted the cat in the style of the mosaic with the chapter's `StyleTransfer`, each with Adam and steps that
# shrink. Each has made one mistake, or none. The settings stand in a scrambled table on purpose, so that the code does
# not tell you what the pictures and the curves do. The losses are the parts *before* their weights, on a logarithmic scale.
#
# Give each run one of these verdicts (4 points, one less for a wrong one, two less for two, else none):
#
# | verdict | meaning |
# |---|---|
# | `"healthy"` | nothing is wrong |
# | `"learning rate too small"`, `"learning rate too large"` | by a factor of 10 or more |
# | `"content weight too small"`, `"content weight too large"` | by a factor of 10 or more, against the style's |
# | `"variation weight too large"` | by a factor of 10 or more |
# | `"content and style swapped"` | the two pictures took each other's place |
# | `"a style without texture"` | failure 2 of the chapter |

# %%
SCRAMBLED = np.array(
    [
        [2.7183, -4.7129, 5.4641, -2.3473, 8.2083],
        [4.9260, -4.9633, 2.5574, -0.1945, 7.0891],
        [2.6661, -0.4510, -2.3939, 1.9525, -4.5235],
        [0.4082, -1.2898, 1.2227, -0.5086, 5.2452],
        [1.8256, 3.3724, -5.7545, 2.6235, -10.1049],
    ]
)
settings = np.exp(SCRAMBLED @ np.random.default_rng(5).normal(size=(5, 5)))
side = pick(32, 96)
given = [photograph("chelsea", side), ak.patterns.draw("mosaic", side)]
runs, paintings = {}, []
for name, s in zip("ABCDE", settings, strict=True):
    model = ak.style.StyleTransfer(
        *given[:: 1 if s[4] > 1 else -1],
        content_weight=s[1],
        style_weight=s[2],
        variation_weight=s[3],
    )
    rate = keras.optimizers.schedules.InverseTimeDecay(s[0], decay_steps=50, decay_rate=1.0)
    # Two steps are done before a graph for them is built.
    model.compile(keras.optimizers.Adam(rate), run_eagerly=ak.profile.name() == "fast")
    runs[name] = model.fit(pick(1, 4), epochs=pick(1, 6), verbose=0).history
    paintings.append(model.picture())
ak.plots.grid(
    np.stack([*given, *paintings]),
    columns=7,
    column_labels=["the cat", "the mosaic", *runs],
    inches=2.4,
)

# %%
fig, axes = ak.plots.figure(columns=5, size=(3.4, 3.4), sharey=True)
for axis, (name, history) in zip(axes[0], runs.items(), strict=True):
    for key in ("content_loss", "style_loss", "variation_loss"):
        axis.semilogy(
            range(1, len(history[key]) + 1), history[key], "o-", label=key.replace("_", " ")
        )
    axis.set(title=name, xlabel=f"{pick(1, 4)} steps each")
axes[0, 0].set_ylabel("loss before its weight")
axes[0, 4].legend()
fig

# %% solution="diagnosis"
diagnosis = {"A": "", "B": "", "C": "", "D": "", "E": ""}
### BEGIN SOLUTION
diagnosis = {
    "A": "variation weight too large",  # flat patches, the variation falls far below the start
    "B": "learning rate too small",  # the recoloured photograph: no loss has moved
    "C": "content and style swapped",  # healthy curves, the mosaic's rings in the cat's fur
    "D": "content weight too large",  # content loss far below the style loss, which rises
    "E": "learning rate too large",  # style loss of 100 at first, pixels at their limits
}
### END SOLUTION

# %% tests="diagnosis" points=0
from aigc_keras.exercises import expect_one_of

verdicts = (
    "healthy",
    "learning rate too small",
    "learning rate too large",
    "content weight too small",
    "content weight too large",
    "variation weight too large",
    "content and style swapped",
    "a style without texture",
)
for name in "ABCDE":
    expect_one_of(f"diagnosis of run {name}", diagnosis.get(name), verdicts)

# %% tests="diagnosis" points=4
from aigc_keras.exercises import wrong_names

# Whether the names are right is tested when you hand in.
assert any(diagnosis.values()), "diagnosis: nothing came.\nHint: look at the curves first."
### BEGIN HIDDEN TESTS
truth = {
    "A": "variation weight too large",
    "B": "learning rate too small",
    "C": "content and style swapped",
    "D": "content weight too large",
    "E": "learning rate too large",
}
wrong = wrong_names("diagnosis", diagnosis, truth)
if wrong:
    print(f"Look again at {', '.join(wrong)}.")
(4, 3, 2, 0, 0, 0)[len(wrong)]  # the points
### END HIDDEN TESTS

# %% [markdown]
# ## 4. What is a crop of a style worth? (4 points)
#
# How much of a painting must one see to know its style? Take the Gram matrix of a crop (裁剪) instead of that of the whole
# map and measure how wrong it is: $e = \lVert G^{\,crop} - G \rVert^2 / \lVert G \rVert^2$, where $\lVert\cdot\rVert^2$ is the sum of the squares of all
# entries and $G$ the chapter's Gram matrix (a mean over positions) of the whole map.
#
# If its $n$ positions were drawn *independently*, each anywhere in the map, we should know what to expect:
#
# $$\mathbb E[e] = \frac{V}{n}, \qquad V = \frac{\operatorname{mean}_p \bigl(\sum_i F[p, i]^2\bigr)^2}{\lVert G \rVert^2} - 1$$
#
# But neighbours are alike, so a crop tells less. Its **effective number** (有效样本数) of positions is the $n$ of that formula
# which belongs to the error that you measure.
#
# Write `crop_worth(maps, side, n_crops, seed)`: from one map (H, W, C), which need not be square, cut `n_crops` crops of `side` × `side`
# positions, each independently of the others at a place that is drawn uniformly among all where it fits
# (`np.random.default_rng(seed)`; crops may overlap). Return three floats:
#
# 1. the mean of $e$ over the crops,
# 2. the **standard error** (标准误) of that mean, from the differences between the crops (divide the squares by $n_{crops} - 1$),
# 3. the effective number of positions of a crop.


# %% solution="crop_worth"
def crop_worth(maps, side, n_crops, seed):
    """(mean error, its standard error, effective number of positions) of a crop's Gram matrix.

    maps: floats (H, W, C). side: of the crops, in positions. n_crops: how many, at least 2.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    maps = np.asarray(maps, "float64")

    def gram(part):
        flat = part.reshape(-1, part.shape[-1])
        return flat.T @ flat / len(flat)

    whole = gram(maps)
    size = np.sum(whole**2)
    errors = np.empty(n_crops)
    for k in range(n_crops):
        top, left = (rng.integers(length - side + 1) for length in maps.shape[:2])
        errors[k] = np.sum((gram(maps[top : top + side, left : left + side]) - whole) ** 2) / size
    variability = np.mean(np.sum(maps**2, axis=-1) ** 2) / size - 1.0
    mean = errors.mean()
    return mean, errors.std(ddof=1) / np.sqrt(n_crops), variability / mean
    ### END SOLUTION


# %% tests="crop_worth" points=1
from aigc_keras.exercises import expect
from IPython.display import display

# Noise has no neighbours: a crop of 64 positions is worth 64, a little more since the map is finite.
noise = np.random.default_rng(3).normal(size=(60, 60, 4)).astype("float32")
result = crop_worth(noise, 8, 300, seed=0)
expect("how many results came", len(result or ()), 3, "Three floats. Is there a `return`?")
expect(
    "the number of results, and of those that are finite and above 0",
    [len(result), np.sum(np.isfinite(result) & (np.array(result) > 0))],
    [3, 3],
    "Three floats: the mean error, its standard error, the effective number.",
)
expect(
    "mean error on noise",
    result[0],
    5.0 / 64,  # V = 5 for Gaussian noise of four channels
    "For each crop the sum of the squared differences over that of the whole's entries; then the mean over the crops.",
    rtol=0.15,
)
expect(
    "effective number of positions on noise",
    result[2],
    64.0,
    "Solve E[e] = V / n for n, with the error that you measured.",
    rtol=0.15,
)

# Your measurement on the course's styles: crops of 8 x 8 = 64 positions of 64 x 64.
tower = ak.style.PerceptualFeatures(["block2_conv1"], dtype="float32")
worths, bars = [], []
for name in ak.patterns.NAMES:
    maps = tower(ak.patterns.draw(name, pick(64, 128))[None])["block2_conv1"][0].numpy()
    error, standard_error, worth = crop_worth(maps, 8, pick(4, 100), seed=0)
    worths.append(worth)
    bars.append(worth * standard_error / error)
display(
    ak.plots.bars(
        worths,
        bars,
        ak.patterns.NAMES,
        "effective positions",
        title="What 64 positions of a style are worth",
    )
)

# %% tests="crop_worth" points=3
from aigc_keras.exercises import expect

rng = np.random.default_rng(4)
# Each position is the mean of its neighbours in noise: now neighbours are alike.
raw = rng.normal(size=(46, 66, 3))
smooth = sum(raw[i : i + 40, j : j + 60] for i in range(7) for j in range(7)) / 7.0 + 0.5
sizes = {3: 2500, 12: 1600}  # how many crops of which side
measured = [crop_worth(smooth.astype("float32"), side, n, seed=1) for side, n in sizes.items()]
# More is tested when you hand in: against all crops there are, and how the standard error behaves.
### BEGIN HIDDEN TESTS
products = smooth[..., :, None] * smooth[..., None, :]
whole = products.mean((0, 1))
variability = np.mean((smooth**2).sum(-1) ** 2) / (whole**2).sum() - 1.0
sums = np.zeros((41, 61, 3, 3))
sums[1:, 1:] = products.cumsum(0).cumsum(1)
for (side, n), (error, standard_error, worth) in zip(sizes.items(), measured, strict=True):
    corners = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    every = ((corners / side**2 - whole) ** 2).sum((-2, -1)).ravel() / (whole**2).sum()
    exact = every.std() / np.sqrt(n)
    expect(
        f"mean error of crops of side {side}",
        error,
        every.mean(),
        "Here it is compared with all crops that there are, within four standard errors.",
        rtol=0.0,
        atol=4 * exact,
    )
    expect(
        f"standard error of the mean error, side {side}",
        standard_error,
        exact,
        "How far would the mean move with another seed? Less, the more crops you take.",
        rtol=0.25,
    )
    expect(
        f"effective number of positions, side {side}",
        worth,
        variability / error,
        "V / e, with V from all positions of the map.",
        rtol=1e-3,
    )
# A strip as wide as the crop, with two values: a crop's Gram matrix is 1 or 9, that of the whole 11 / 3.
low, high = (8 / 11) ** 2, (16 / 11) ** 2  # the two errors
for shape in ((1, 3, 1), (3, 1, 1)):
    strip = np.float32([1, 1, 3]).reshape(shape)
    share = (crop_worth(strip, 1, 300, seed=2)[0] - low) / (high - low)
    expect(
        f"share of the crops that lie at the last place, side 1, map {shape}",
        share,
        1 / 3,
        "All places where a crop fits, the last one as well; one that is as large as the map fits, too.",
        rtol=0.0,
        atol=4 * np.sqrt(2 / 9 / 300),
    )
for seed in range(6):
    error, standard_error, _ = crop_worth(strip, 1, 4, seed=seed)
    last = np.round(4 * (error - low) / (high - low))  # crops at the last place
    expect(
        f"standard error of four crops, of which {last:g} lie at the last place",
        standard_error,
        (high - low) * np.sqrt(last / 4 * (1 - last / 4) / 3),
        "Divide the squares by n_crops - 1: the mean is taken from the same crops.",
        rtol=1e-3,
        atol=1e-4,
    )
### END HIDDEN TESTS

# %% [markdown]
# ## 5. A style of your own (4 points)
#
# Invent a pattern, draw it with NumPy, and let AdaIN (自适应实例归一化, the checkpoint `adain`) paint a photograph of the course in it.
# The cell below defines
#
# - `own_photo`: the name of a photograph, one of `ak.datasets.class_names("photographs")`;
# - `own_style`: float32 (128, 128, 3) in [-1, 1], drawn by your own code: not one of the course's patterns, no file. It needs
#   **detail** (after averages over 16 × 16 px are subtracted, a standard deviation of 0.1 or more is left)
#   and must not be **noise** (averages over 2 × 2 px still have 0.7 or more of the standard deviation of the pixels);
# - `own_painting`: float32 (128, 128, 3) in [-1, 1], what `adain.stylize` makes of `photograph(own_photo, 128)` and `own_style`
#   with its default strength, unchanged.
#
# A program tests that (1 point). A person grades the picture and your text below it (3 points):
#
# 1. **The style**: the pattern has strokes, lines or patches of a size and a direction of their own, and colours that were chosen.
# 2. **The painting**: the content can be recognised, and something of the pattern besides its colours can be seen
#    (direction, width or contrast of its marks).
# 3. **The text**, 60 to 150 words: what of your pattern came over and what did not, and why, by what the loss measures. Name at least one
#    thing of each kind.

# %%
adain = ak.checkpoints.load("adain")

# %% solution="own_painting"
own_photo = "chelsea"
own_style = np.zeros((128, 128, 3), "float32")
own_painting = np.zeros((128, 128, 3), "float32")
### BEGIN SOLUTION
# A woven mat: threads of about 8 px, over and under each other, warm in one direction, cool in the other.
y, x = np.indices((128, 128)) / 8.0
over = (np.floor(x) + np.floor(y)) % 2 == 0
across = np.where(over, y, x) % 1.0  # place in the thread that lies on top, 0 to 1
round_thread = np.sin(np.pi * across)[..., None]
warm = np.array([0.9, 0.35, -0.6]) + 0.1 * np.sin(x)[..., None]
cool = np.array([-0.7, -0.1, 0.5]) + 0.1 * np.cos(y)[..., None]
own_style = np.where(over[..., None], warm, cool) * round_thread - 0.8 * (1.0 - round_thread)
own_style = np.clip(own_style, -1.0, 1.0).astype("float32")
own_painting = adain.stylize(photograph(own_photo, 128), own_style)
### END SOLUTION
ak.plots.grid(
    np.stack([photograph(own_photo, 128), own_style, own_painting]),
    column_labels=["photograph", "style", "painting"],
    inches=4,
)

# %% tests="own_painting" points=1
from aigc_keras.exercises import expect, expect_one_of

expect_one_of("own_photo", own_photo, ak.datasets.class_names("photographs"))
for name, image in {"own_style": own_style, "own_painting": own_painting}.items():
    expect(
        f"the shape of {name}", np.shape(image), (128, 128, 3), "One image: height, width, colours."
    )
    expect(
        f"{name}, the number of its values that are not in [-1, 1]",
        np.sum(~(np.abs(image) <= 1.0)),
        0,
        "Clip it; a NaN is not in the range either.",
    )


def deviation_of_means(image, block):
    """Standard deviation of the averages over blocks of pixels."""
    parts = np.reshape(image, (128 // block, block, 128 // block, block, 3))
    return parts.mean((1, 3)).std((0, 1)).mean()


pixels, twos = (deviation_of_means(own_style, block) for block in (1, 2))
blocks = np.repeat(np.repeat(np.reshape(own_style, (8, 16, 8, 16, 3)).mean((1, 3)), 16, 0), 16, 1)
detail = np.std(own_style - blocks)
expect(
    "detail of own_style, up to 0.1",
    min(detail, 0.1),
    0.1,
    "Too flat: see failure 2 of the chapter.",
)
expect(
    "own_style, deviation of averages over 2 x 2 px to that of the pixels, up to 0.7",
    min(twos / pixels, 0.7),
    0.7,
    "This is noise: strokes and lines are wider than a pixel.",
)
# More is tested when you hand in: is the pattern your own, is the painting AdaIN's?
### BEGIN HIDDEN TESTS
for name in ak.patterns.NAMES:
    known = ak.patterns.draw(name, 128)
    turned = [np.rot90(known[::flip], k) for flip in (1, -1) for k in range(4)]
    nearest = min(np.abs(other - own_style).mean() for other in turned)
    expect(
        f"mean difference of own_style from the course's {name}, up to 0.05",
        min(nearest, 0.05),
        0.05,
        "Draw a pattern of your own.",
    )
model = ak.checkpoints.load("adain")
repainted = model.stylize(photograph(own_photo, 128), np.asarray(own_style, "float32"))
expect(
    "mean difference of own_painting from what AdaIN paints",
    np.abs(repainted - own_painting).mean(),
    0.0,
    "own_painting = adain.stylize(the photograph at 128 px, own_style), with nothing done to it.",
    atol=0.01,
)
### END HIDDEN TESTS

# %% [markdown] open="own_painting" points=3
# What came over: the colours, orange, blue and nearly black instead of the cat's browns, since mean and covariance of the
# colours are matched in closed form. And the texture, in part: short upright and level bars with a light middle and dark sides, in fur that
# had only oblique hairs. AdaIN gives each channel of four layers the mean and standard deviation that it has in the mat; filters for
# edges of these two directions and this width answer as strongly as they do there.
#
# What did not come over is the weave. In the mat each thread runs over one and under the next, like a chessboard; in the
# painting bars lie where the photograph has edges, and nothing alternates. Means and deviations over all positions do
# not know which position is beside which, and the normalised maps keep the places of the photograph.
