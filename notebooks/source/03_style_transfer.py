# %% [markdown]
# # 03 Style transfer
#
# ![One photograph in four styles, painted by this chapter](images/03_style_transfer.png)
#
# One photograph, four styles, no painter. After this chapter you can paint a photograph in the style of
# any picture in three ways (one that takes its time, one that learns a single style, one that takes any style
# at once), say by which loss they do it and what that loss does not see, and repair the usual failures.
#
# **Data:** photographs from the packages scikit-image and scikit-learn (public domain, CC0, CC BY 2.0: the list
# is printed below), four styles that the course draws by code, and your own files. **You need:** convolutions, gradient
# descent. Chapters 01 and 02 help, but are not needed. No GPU, and once the course is set up, no network.
#
# **Mirrors:** text 000 sections 1.2, 2.1, 2.2.2, 2.3, 3.4; 001 3.3.
#
# [Before: 02 Variational autoencoders](02_vae.ipynb) · [after: 04 Diffusion](04_diffusion.ipynb)

# %% tags=["nbval-ignore-output"]
import tempfile
import time
from pathlib import Path

import aigc_keras as ak
import ipywidgets
import keras
import numpy as np
import tensorflow as tf
from aigc_keras import recipes
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # it takes many small models for one that is traced too often
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 65})  # photographs
pick = ak.profile.pick  # fast: does it run; lesson: a few minutes
ak.profile.announce("03_style_transfer")

# %% [markdown]
# ## 1. The idea
#
# **Style transfer** (风格迁移) wants a picture with the **content** (内容) of one image and the **style** (风格) of
# another. Compared pixel by pixel, a photograph and a painting of the same temple have nothing in common. A network
# that was trained to recognise things compares them better: its early layers answer to edges and colours, its later
# ones to eyes and roofs, whatever the brush. Gatys et al. (2016) measure both wishes in its **feature maps** (特征图) $F_l$ of
# layer $l$:
#
# - **Content loss** (内容损失): the maps of a deep layer should be those of the photograph, position by position.
# - **Style loss** (风格损失): the **Gram matrices** (格拉姆矩阵) should be those of the painting. A Gram matrix
#   says which channels are active *together*, averaged over all positions $p$, so it forgets where:
#
# $$G_l[i, j] = \frac{1}{N_l} \sum_{p=1}^{N_l} F_l[p, i]\; F_l[p, j]$$
#
# $$L = w_c \sum_l \frac{\lVert F_l - F_l^{\,content}\rVert^2}{\lVert F_l^{\,content}\rVert^2}
#     + w_s \sum_l \frac{\lVert G_l - G_l^{\,style}\rVert^2}{\lVert G_l^{\,style}\rVert^2}
#     + w_{color}\, L_{color} + w_{tv}\, TV$$
#
# The two fractions are *relative* errors: 0 is equal, 1 is as far away as an empty map. So layers with large and
# small numbers count alike, and a loss can be read. The last two terms are small helpers: the colours' mean and covariance should be
# the style's, and neighbouring pixels alike (**total variation**, 全变分).
#
# Then there are three ways to make the loss small, and that is the chapter:
#
# | way | what is trained | for a new content | for a new style |
# |---|---|---|---|
# | Gatys et al. 2016 | the picture | train again | train again |
# | Johnson et al. 2016 | a network for one style | one pass | train again |
# | AdaIN, Huang and Belongie 2017 | a decoder for all styles | one pass | one pass |

# %% [markdown]
# ## 2. The pictures
#
# The contents are photographs. None of the packages holds a painting, so the course draws four styles by code; any
# picture file of yours will do as well (section 9).

# %% tags=["nbval-ignore-output"]
print(ak.datasets.describe("photographs"))


def photograph(name, size):
    """The middle square of a photograph."""
    image = ak.datasets.photograph(name)
    height, width = image.shape[:2]
    image = ak.datasets.photograph(name, size=round(size * max(height, width) / min(height, width)))
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


size = pick(64, 256)
contents = {name: photograph(name, size) for name in ("china", "coffee", "chelsea", "astronaut")}
styles = {name: ak.patterns.draw(name, size) for name in ak.patterns.NAMES}
ak.plots.grid(
    np.stack([*contents.values(), *styles.values()]),
    columns=4,
    inches=3,
    title=f"contents: {', '.join(contents)}; styles: {', '.join(styles)}",
)

# %% [markdown]
# ## 3. The network that sees
#
# `PerceptualFeatures` is the trunk of **VGG16**, a network that was trained on 1.2 million photographs of ImageNet and then on
# finding edges; its weights lie in a package, so that nothing is downloaded. (`weights="imagenet"` takes the untouched
# VGG19 instead, which Keras downloads.) Nothing in it is trained any more. These are its lines:

# %%
ak.show(ak.style.PerceptualFeatures.call)

# %%
tower = ak.style.PerceptualFeatures(
    ["block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1"]
)
for name, maps in tower(photograph("china", 128)[None]).items():
    print(f"{name}: {maps.shape[1]:3d} x {maps.shape[2]:3d} positions, {maps.shape[3]:3d} channels")

# %% [markdown]
# ### What a layer knows: turn it round
#
# Start from noise and train the *picture* until one layer's maps are those of the photograph. What comes back is
# what that layer still knows; what does not, it has thrown away. `StyleTransfer` is a `keras.Model` that trains only
# the picture, so `fit()` needs no data.

# %% tags=["nbval-ignore-output"]
small = pick(32, 128)
steps = pick(2, 60)
keys = ("block1_conv1", "block2_conv2", "block3_conv3", "block4_conv1", "block4_conv3")
china = photograph("china", small)
inverted = [china]
for layer in keys:
    model = ak.style.StyleTransfer(
        china,
        None,
        content_layers=[layer],
        content_weight=1.0,
        style_weight=0.0,
        color_weight=0.0,
        variation_weight=0.5,
        initial="noise",
    )
    model.compile()
    model.fit(steps, verbose=0)
    inverted.append(model.picture())
ak.plots.grid(np.stack(inverted), columns=6, column_labels=["photograph", *keys], inches=2.2)

# %% [markdown]
# The first block gives the photograph back. With depth the colours go first (this network was trained to find edges), then the
# fine edges; the temple stays where it is. That is what we want from content: the *what* and *where*, not the
# paint. The course takes `block4_conv2`.

# %% [markdown]
# ## 4. What a Gram matrix keeps and what it loses
#
# Here is all of it:

# %%
ak.show(ak.style.gram_matrix)

# %% [markdown]
# Shuffle the positions of a feature map: every map is destroyed, the Gram matrix is the same number for number
# (up to the rounding of a sum in another order).

# %%
exact = ak.style.PerceptualFeatures(["block2_conv1"], dtype="float32")
maps = exact(ak.patterns.draw("strokes", 128)[None])["block2_conv1"].numpy()
positions = maps.reshape(-1, maps.shape[-1])
shuffled = np.random.default_rng(0).permutation(positions).reshape(maps.shape)
change = ak.style.relative_error(shuffled, maps)
gram_change = ak.style.relative_error(ak.style.gram_matrix(shuffled), ak.style.gram_matrix(maps))
assert gram_change < 1e-6 < change
print(f"relative error of the maps {change:.2f}, of their Gram matrices below 0.000001")

# %% [markdown]
# So what survives? Train pictures from noise on the style loss alone, with more and more layers. Nothing says where anything
# belongs.


# %% tags=["nbval-ignore-output"]
def texture(style, layers, seed=0):
    """A picture of the style loss alone, from noise."""
    model = ak.style.StyleTransfer(
        np.zeros((small, small, 3), "float32"),
        style,
        content_weight=0.0,
        style_layers=layers,
        variation_weight=0.1,
        initial="noise",
        seed=seed,
    )
    model.compile()
    model.fit(steps, verbose=0)
    return model.picture()


names = ak.style.STYLE_LAYERS
textures = [styles["waves"][:small, :small]]
textures += [texture(styles["waves"], names[:n]) for n in range(1, len(names) + 1)]
textures += [texture(styles["waves"], names, seed=1)]
labels = ["style", "block 1", "blocks 1-2", "blocks 1-3", "blocks 1-4", "another seed"]
ak.plots.grid(np.stack(textures), columns=6, column_labels=labels, inches=2.2)

# %% [markdown]
# Block 1 brings the colours and the grain, blocks 2 and 3 the strokes and how they lie beside each other; block 4 changes
# little at this size. The last two pictures were trained towards the same Gram matrices and have nothing in the same place: style here means
# *texture* (纹理), everything that does not depend on where. A composition, a face, "a temple on the left" are
# not in it. Keep that in mind whenever somebody says that a network has learned a painter's style.

# %% [markdown]
# ## 5. Gatys: train the picture
#
# Both losses together, from the photograph recoloured. The lines of the loss and of the step:

# %%
ak.show(ak.style.PerceptualLoss.call)

# %%
ak.show(ak.style.StyleTransfer.train_step)

# %% [markdown]
# - The gradient goes through the network down to the pixels, and `descend` changes them and nothing else.
# - The style's Gram matrices and the content's maps never change, so they are computed once.
# - Layers that no loss uses are not built, and the network runs in bfloat16 where the processor multiplies in it.

# %% tags=["nbval-ignore-output"]
gatys = ak.style.StyleTransfer(contents["china"], styles["strokes"])
gatys.compile()
progress = ak.callbacks.SampleGrid(n=1, every=2, display=False)
epochs = pick(2, 10)
start = time.perf_counter()
history = gatys.fit(pick(1, 10), epochs=epochs, callbacks=[progress], verbose=0)
print(f"{time.perf_counter() - start:.1f} s for {epochs * pick(1, 10)} steps at {size} px")
progress.strip(n=5)

# %% tags=["nbval-ignore-output"]
ak.plots.curves(
    history,
    ["content_loss", "style_loss"],
    xlabel=f"{pick(1, 10)} steps each",
    ylabel="relative error",
)

# %% [markdown]
# The style loss falls at once. The content loss would be zero for the photograph itself; the first large steps throw it up, and as the
# steps shrink it comes part of the way back: the picture buys style with content. Where they settle is a matter of the
# weights.
#
# ### The trade-off, as a grid
#
# From left to right the content weight grows; each picture has had the same number of steps. The start is the recoloured
# photograph: so the cat is there even where nobody asks for it.

# %% tags=["nbval-ignore-output"]
content_weights = pick((0.05, 1.0), (0.0, 0.05, 0.2, 1.0))
trade_off, pictures = {}, []
for name in ("strokes", "mosaic"):
    for weight in content_weights:
        model = ak.style.StyleTransfer(
            photograph("chelsea", small), ak.patterns.draw(name, size), content_weight=weight
        )
        model.compile()
        model.fit(pick(2, 60), verbose=0)
        pictures.append(model.picture())
        losses = {k: float(v) for k, v in model.objective(model.picture()).items()}
        trade_off.setdefault(name, []).append((losses["content_loss"], losses["style_loss"]))
ak.plots.grid(
    np.stack(pictures),
    columns=len(content_weights),
    row_labels=list(trade_off),
    column_labels=[f"content weight {w:g}" for w in content_weights],
    inches=2.6,
)

# %% tags=["nbval-ignore-output"]
fig, axes = ak.plots.figure(size=(7.0, 3.8))
axis = axes[0, 0]
for name, both in trade_off.items():
    axis.plot(*zip(*both[1 if len(both) > 2 else 0 :], strict=True), "o-", label=name)
axis.set(xlabel="content loss", ylabel="style loss")
axis.legend()
fig

# %% [markdown]
# Less of one loss costs more of the other: such a curve is a **Pareto front** (帕累托前沿). A weight does not make a picture better,
# it chooses a point. (Far right, the network is content and the eye is not: what a deep layer asks for need not look good.)
#
# ### Three options that painters ask for
#
# **Keep the colours** (`preserve_color`): train the brightness only. **Mix styles** (`style_mix`): the target is the mean of
# their Gram matrices. **Coarse to fine** (由粗到细, `coarse_to_fine`): first at half the size, where a step costs a
# quarter and a brush stroke is half as long, then at full size.

# %% tags=["nbval-ignore-output"]
few = pick(2, 50)


def paint(style, **kwargs):
    return ak.style.coarse_to_fine(contents["china"], style, few, verbose=0, **kwargs).picture()


paintings = {
    "strokes": gatys.picture(),
    "mosaic": paint(styles["mosaic"]),
    "waves": paint(styles["waves"]),
    "ink_wash": paint(styles["ink_wash"]),
    "strokes, colours kept": paint(styles["strokes"], preserve_color=True),
    "strokes and waves": paint([styles["strokes"], styles["waves"]]),
}
ak.plots.grid(
    np.stack(list(paintings.values())),
    columns=3,
    inches=3.8,
    title="strokes, mosaic, waves; ink wash, strokes with the colours kept, strokes and waves",
)

# %% [markdown]
# ## 6. Johnson: train a network for one style
#
# Training each picture anew is slow. Johnson et al. (2016) train a **feed-forward network** (前馈网络) with the
# *same* loss, over many photographs; afterwards one pass paints any photograph. Its lines:

# %%
ak.show(ak.style.FastStyleTransfer.train_step)

# %% [markdown]
# Three things make it work:
#
# - **Instance normalisation** (实例归一化, Ulyanov et al. 2016): each channel of each picture gets mean 0 and
#   variance 1. The contrast of the photograph should not matter for the paint, and with this layer it cannot.
# - **No checkerboard** (棋盘格): the network doubles its maps by repeating pixels and *then* convolves. Transposed
#   convolutions of stride 2 add up unevenly (Odena et al. 2016).
# - **Begin at a picture.** What the network gives is *added* to the recoloured photograph, and its last layer begins with
#   zeros. So step 0 is no grey soup but the photograph in the style's colours.

# %%
ak.show(ak.style.InstanceNormalization.call)

# %% tags=["nbval-ignore-output"]
keras.utils.set_random_seed(0)
crops = ak.datasets.load("photographs", "train", batch_size=4, image_size=64, seed=0)
fast = ak.style.FastStyleTransfer(styles["waves"], width=pick(8, 32), content_weight=0.15)
fast.compile()
test_images = np.stack([photograph(name, small) for name in ("china", "coffee")])
stages = [fast.predict(test_images, verbose=0)]
start = time.perf_counter()
per_epoch = pick(1, 80)
thirds = []
for _ in range(3):
    result = fast.fit(crops.repeat(), steps_per_epoch=per_epoch, verbose=0, shuffle=False)
    thirds.append({key: values[-1] for key, values in result.history.items()})
    stages.append(fast.predict(test_images, verbose=0))
print(f"{time.perf_counter() - start:.0f} s for {3 * per_epoch} steps of four crops")
for key in ("content_loss", "style_loss"):
    print(f"{key}, mean of each third: {', '.join(f'{third[key]:.2f}' for third in thirds)}")
ak.plots.grid(
    np.stack(stages, axis=1).reshape(-1, *test_images.shape[1:]),
    columns=4,
    column_labels=[f"step {i * per_epoch}" for i in range(4)],
    inches=2.8,
)

# %% [markdown]
# Less than a minute of training, on crops of 64 px, and waves roll around the cup. `ak.checkpoints.load("fast_style_waves")` is
# the same class, trained for longer on crops of 128 px with more weight on the content. It saw crops of seven of the
# photographs; the temple and the coffee were not among them.

# %% tags=["nbval-ignore-output"]
fast = ak.checkpoints.load("fast_style_waves")
facts = ak.checkpoints.manifest()["fast_style_waves"]
print(
    f"Trained for {facts['training_minutes']} minutes; {facts['bytes'] / 1e6:.1f} MB; on crops it "
    f"never saw: content loss {facts['content_loss']}, style loss {facts['style_loss']}"
)
painted = np.stack([fast.stylize(image) for image in contents.values()])
ak.plots.grid(painted, columns=4, inches=3)

# %% [markdown]
# ## 7. AdaIN: any style in one pass
#
# A network for each style is still a training for each style. Huang and Belongie (2017) noticed what instance
# normalisation does: it removes the statistics of the photograph's maps (mean $\mu$ and standard deviation $\sigma$ of
# each channel), and its learned scale and shift put in those of *one* style. So do not learn them: take them from
# any style picture $y$. That is **adaptive instance normalisation** (自适应实例归一化) of the maps $x$ of the photograph:
#
# $$\mathrm{AdaIN}(x, y) = \sigma(y)\,\frac{x - \mu(x)}{\sigma(x)} + \mu(y)$$
#
# Only the way back from maps to a picture has to be learned, once for all styles: the **decoder** (解码器).

# %%
ak.show(ak.style.adaptive_instance_normalization)

# %%
ak.show(ak.style.AdaIN.losses_of)

# %% [markdown]
# The original decodes the deepest maps alone and takes days to learn how to draw. Ours gets the normalised maps of all
# four style layers and, as in section 6, paints only the *change* of the recoloured photograph, so that detail need
# not be invented. It learns from random pairs of a photograph and a style:

# %% tags=["nbval-ignore-output"]
keras.utils.set_random_seed(0)
crop_images, _ = ak.datasets.arrays("photographs", "train")
pairs = recipes.style_pairs(crop_images, n_seeds=pick(1, 2))
some_contents, some_styles = next(iter(pairs.unbatch().batch(6)))
ak.plots.grid(np.concatenate([some_contents, some_styles]), columns=6, inches=1.8)

# %% tags=["nbval-ignore-output"]
fresh = ak.style.AdaIN()
fresh.compile()
learned = fresh.fit(pairs.repeat(), steps_per_epoch=pick(1, 15), epochs=pick(1, 5), verbose=0)
ak.plots.curves(
    learned, ["content_loss", "style_loss"], xlabel="15 steps each", ylabel="relative error"
)

# %% [markdown]
# Now the checkpoint: the same lines, trained for longer.

# %% tags=["nbval-ignore-output"]
adain = ak.checkpoints.load("adain")
facts = ak.checkpoints.manifest()["adain"]
print(
    f"Trained for {facts['training_minutes']} minutes; {facts['bytes'] / 1e6:.1f} MB; on photographs it "
    f"never saw: content loss {facts['content_loss']}, style loss {facts['style_loss']}"
)
table = [adain.stylize(image, style) for image in contents.values() for style in styles.values()]
ak.plots.grid(
    np.stack(table),
    columns=4,
    row_labels=list(contents),
    column_labels=list(styles),
    inches=2.4,
)

# %% [markdown]
# Sixteen pictures, sixteen passes, no training; the temple and the coffee are new to it. Look close, too: mostly the colours change,
# there are halos along edges and a fine grid from the decoder's upsampling, and faces suffer. At `alpha=0` one sees what the decoder
# alone does to a photograph: it is no exact inverse of the features. And because statistics are numbers that can be mixed, two knobs come
# for free: `alpha`, from the photograph's own statistics (0) to the style's (1), and shares of several styles. Move the sliders; where no
# widget runs, the two rows below tell the same.

# %% tags=["nbval-ignore-output"]
pair = [styles["strokes"], styles["mosaic"]]


def draw(alpha=1.0, mosaic=0.5):
    picture = adain.stylize(contents["coffee"], pair, (1 - mosaic, mosaic), alpha)
    return ak.plots.grid(picture[None], inches=3.5)


sliders = ipywidgets.interact(
    draw,
    alpha=ipywidgets.FloatSlider(1.0, min=0, max=1, continuous_update=False),
    mosaic=ipywidgets.FloatSlider(0.5, min=0, max=1, continuous_update=False),
)

# %% tags=["nbval-ignore-output"]
shares = np.linspace(0, 1, 6)
strengths = [adain.stylize(contents["coffee"], styles["strokes"], alpha=a) for a in shares]
mixes = [adain.stylize(contents["coffee"], pair, (1 - a, a)) for a in shares]
ak.plots.grid(
    np.stack(strengths + mixes),
    columns=6,
    row_labels=["alpha", "share of\nmosaic"],
    column_labels=[f"{share:.1f}" for share in shares],
    inches=2.3,
)

# %% [markdown]
# ## 8. The three methods, measured
#
# One judge for all: the loss of section 1 with `StyleTransfer`'s weights. The contents are crops (128 px) of the two
# photographs that no network was trained on, the style is "waves". Two baselines: the photograph as it is, and the
# photograph in the style's colours. After ± stands the standard error over the crops.

# %% tags=["nbval-ignore-output"]
n_crops = pick(2, 6)
judged, _ = ak.datasets.arrays("photographs", f"test[:{n_crops}]")
waves = ak.patterns.draw("waves", 256)


def gatys_picture(crop):
    model = ak.style.StyleTransfer(crop, waves)
    model.compile()
    model.fit(few, verbose=0)
    return model.picture()


methods = {
    "photograph": lambda crop: crop,
    "recoloured": lambda crop: ak.style.StyleTransfer(crop, waves).picture(),
    "Gatys": gatys_picture,
    "Johnson": fast.stylize,
    "AdaIN": lambda crop: adain.stylize(crop, waves),
}
judges = [ak.style.StyleTransfer(crop, waves) for crop in judged]
scores, examples = {}, {}
print(f"{'':12s}{'s a picture':>12s}{'loss':>16s}{'content_loss':>16s}{'style_loss':>16s}")
for name, method in methods.items():
    examples[name] = method(judged[0])  # the first call builds the graph
    start = time.perf_counter()
    pictures = [method(crop) for crop in judged]
    line = f"{name:12s}{(time.perf_counter() - start) / n_crops:12.2f}"
    losses = [judge.objective(picture) for judge, picture in zip(judges, pictures, strict=True)]
    for key in ("loss", "content_loss", "style_loss"):
        values = np.array([float(loss[key]) for loss in losses])
        scores[name, key] = values.mean()
        line += f"{values.mean():9.3f} ± {values.std(ddof=1) / np.sqrt(n_crops):.3f}"
    print(line)
if ak.profile.name() != "fast":
    for name in ("Gatys", "Johnson", "AdaIN"):
        assert scores[name, "loss"] < scores["recoloured", "loss"] < scores["photograph", "loss"]
ak.plots.grid(
    np.stack(list(examples.values())), columns=5, column_labels=list(examples), inches=2.5
)

# %% [markdown]
# - **Gatys** comes nearest to the judge: it trains on the very picture that is judged. It is also the one that makes you
#   wait, for every picture again.
# - **Johnson** needs a fraction of that time and gets most of the way, for the one style it knows.
# - **AdaIN** gets less far, but it has never been trained for this style alone, and it takes yours as well.
# - All three pay about the same in content. Even colours alone are not free.
#
# Judge with your eyes, too: the loss does not know halos, a grid, or a face that is no face any more.
#
# ## 9. Your own picture
#
# Two files are enough. `stylize` reads JPEG and PNG (turned as the camera says, transparent parts on white, grey and
# 16-bit as well), makes them smaller, and paints; `method` is `"gatys"`, `"fast"` (trains a network for your
# style, from the checkpoint on: some minutes) or `"adain"`. Put your own names here:

# %% tags=["nbval-ignore-output"]
folder = Path(tempfile.mkdtemp())
ak.images.write(folder / "photo.jpg", ak.datasets.photograph("flower"))
ak.images.write(folder / "style.png", ak.patterns.draw("strokes", 256, seed=5))

start = time.perf_counter()
result = ak.style.stylize(
    folder / "photo.jpg", folder / "style.png", method="adain", size=pick(64, 640)
)
print(f"{time.perf_counter() - start:.1f} s for {result.shape[1]} x {result.shape[0]} px")
ak.images.write(folder / "painted.png", result)
fig, axes = ak.plots.figure(size=(7.5, 5.0))
axes[0, 0].imshow(ak.plots.tile(result[None], columns=1))
axes[0, 0].axis("off")
fig

# %% [markdown]
# Large pictures are painted in overlapping tiles, normalised by the statistics of the whole: no seams, and the networks
# never see more than a tile.
#
# ## 10. How it fails
#
# **Failure 1: too much style.** Symptom: a nice texture, but of what? Detector: a content loss above 1. It is a relative error, so
# an *empty* map has exactly 1: the painting is then further from its content than nothing at all. (Another
# photograph is further still.)

# %% tags=["nbval-ignore-output"]
chelsea = photograph("chelsea", small)
wrong = photograph("china", small)
runs = {}
for label, weight, initial in (
    ("too much style", 0.0, "noise"),
    ("cure 1: weight", 1.0, "noise"),
    ("cure 2: start", 0.05, "recolored"),
):
    model = ak.style.StyleTransfer(
        chelsea, ak.patterns.draw("mosaic", size), content_weight=weight, initial=initial
    )
    model.compile()
    model.fit(few, verbose=0)
    runs[label] = model.picture()
judge = ak.style.StyleTransfer(chelsea, ak.patterns.draw("mosaic", size))
for label, picture in {"another photograph": wrong, **runs}.items():
    print(f"{label:20s} content loss {float(judge.objective(picture)['content_loss']):.2f}")
ak.plots.grid(
    np.stack([chelsea, wrong, *runs.values()]),
    columns=5,
    column_labels=["content", "another", *runs],
    inches=2.5,
)

# %% [markdown]
# Both cures bring the loss below 1: more weight on the content, and a better start. The eye prefers the second: what is in its place from
# the beginning need not be found.
#
# **Failure 2: a style without texture.** Symptom: smears and flat areas. Here the style is a fine photograph of a rocket
# before a dark blue sky. Detector: how large is the style loss of a *flat sheet* in the style's mean colour? Where
# a sheet is nearly right already, there is nothing to paint with.

# %% tags=["nbval-ignore-output"]
candidates = {name: photograph(name, size) for name in ("rocket", "retina", "immunohistochemistry")}
sheet_loss = {}
for name, style in {**candidates, **styles}.items():
    judge = ak.style.StyleTransfer(chelsea, style)
    sheet = np.broadcast_to(style.mean((0, 1)), chelsea.shape).astype("float32")
    sheet_loss[name] = float(judge.objective(sheet)["style_loss"])
    print(f"{name:21s} style loss of a flat sheet: {sheet_loss[name]:.2f}")

# %% [markdown]
# Cure: choose a style that the detector likes. The tissue under the microscope (`immunohistochemistry`) is one, though nobody
# painted it.

# %% tags=["nbval-ignore-output"]
results = []
for name in ("rocket", "immunohistochemistry"):
    model = ak.style.StyleTransfer(photograph("chelsea", small), candidates[name])
    model.compile()
    model.fit(few, verbose=0)
    results += [candidates[name][-small:, -small:], model.picture()]
ak.plots.grid(
    np.stack(results),
    columns=4,
    column_labels=["rocket, a part", "the result", "tissue, a part", "the result"],
    inches=2.8,
)

# %% [markdown]
# ## 11. Corrections to the text
#
# **1. "GANs apply the style of one image to another"** (text 000, section 2.2.2, a flow chart from GANs to style
# transfer; again in 3.4). None of the three methods here has a discriminator or an adversarial loss. What Gatys' method
# trains:

# %%
model = ak.style.StyleTransfer(np.zeros((64, 64, 3), "float32"), ak.patterns.draw("waves", 64))
for variable in model.trainable_variables:
    print(variable.name, tuple(variable.shape))
print("losses:", ", ".join(metric.name for metric in model.trackers))

# %% [markdown]
# There *is* a GAN for a relative of this task. CycleGAN (循环一致生成对抗网络, Zhu et al. 2017) learns from two *collections* of
# pictures, say horses and zebras, and translates one kind into the other, shapes included. It has a chapter of its own
# later (image to image).
#
# **2. "A generative model learns from large amounts of training data and generates content of a similar distribution"**
# (text 000, section 1.2, with style transfer among its examples). Gatys' method learns no distribution and has no
# training data: two pictures and a judge, and everything the judge knows it learned from other photographs. `fit`
# takes no data:

# %%
model.compile()
print(list(model.fit(1, verbose=0).history))

# %% [markdown]
# **3. Style transfer "turns the style of an image into another style, for example a painting's"** (text 000, section
# 2.1). What is transferred are statistics of texture. Cut the style into 64 tiles and lay them out at random: composition and
# depth are gone, the target hardly moves. Compare it with another style:


# %%
def tiled(image, parts=8, seed=0):
    side = image.shape[0] // parts
    tiles = image.reshape(parts, side, parts, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    tiles = np.random.default_rng(seed).permutation(tiles).reshape(parts, parts, side, side, 3)
    return tiles.swapaxes(1, 2).reshape(image.shape)


def grams(image):
    tower = ak.style.PerceptualFeatures(ak.style.STYLE_LAYERS, dtype="float32")
    return [ak.style.gram_matrix(maps) for maps in tower(image[None]).values()]


strokes = ak.patterns.draw("strokes", 256)
errors = {}
for name, other in {"in tiles": tiled(strokes), "mosaic": ak.patterns.draw("mosaic", 256)}.items():
    pairs_of_grams = zip(grams(other), grams(strokes), strict=True)
    errors[name] = np.mean([float(ak.style.relative_error(a, b)) for a, b in pairs_of_grams])
    print(f"strokes against {name}: relative error of the Gram matrices {errors[name]:.1f}")
assert errors["in tiles"] < 0.5 * errors["mosaic"]

# %% [markdown]
# **4. "The style of generated samples is hard to control"** (text 001, section 3.3). Here it is a number. The style loss along
# `alpha`, from section 7:

# %% tags=["nbval-ignore-output"]
judge = ak.style.StyleTransfer(contents["coffee"], styles["strokes"])
along = [float(judge.objective(picture)["style_loss"]) for picture in strengths]
print(", ".join(f"{share:.1f}: {loss:.2f}" for share, loss in zip(shares, along, strict=True)))
if ak.profile.name() != "fast":
    assert along == sorted(along, reverse=True)

# %% [markdown]
# **5. "Pre-trained models are adapted by fine-tuning or by style transfer"** (text 000, section 2.3). Style transfer changes a
# picture, not a model. The pre-trained network has no weight that could be trained, before or after:

# %%
print(len(tower.trainable_weights), "trainable weights")

# %% [markdown]
# ## 12. What to try
#
# - Your own photograph and your own style: section 9. Which styles does the detector of section 10 refuse?
# - `style_layers=("block1_conv1",)` or `("block4_conv1",)` alone: what becomes of the strokes?
# - Draw the style at 512 px instead of 256: `ak.patterns.draw("mosaic", 512)`. Why do the stones grow?
# - `ak.style.PerceptualFeatures(..., weights="imagenet")`, where there is a network: other textures, other colours?
#
# **Exercise.** A Gram matrix forgets *all* order. Berger and Memisevic (2016) multiply each map with a *shifted* copy of the
# maps instead, which keeps regular patterns. Write `shifted_gram(features, shift)`, check that `shift=0` is `gram_matrix`,
# show that it does notice when the positions are shuffled, and paint the mosaic with it.
#
# **Problem set.** Five graded tasks on this chapter: [problem set 03](exercises/mine/problems_03_style_transfer.ipynb).
# The link opens your own copy, which `make lab` made; `make check EX=03` tells you how far you are.
#
# **Papers**
#
# - Gatys, Ecker, Bethge 2016, *Image style transfer using convolutional neural networks*, CVPR; 2016, *Preserving color in
#   neural artistic style transfer*, [arXiv:1606.05897](https://arxiv.org/abs/1606.05897); 2017, *Controlling perceptual factors in neural style transfer*,
#   [arXiv:1611.07865](https://arxiv.org/abs/1611.07865)
# - Johnson, Alahi, Fei-Fei 2016, *Perceptual losses for real-time style transfer*, [arXiv:1603.08155](https://arxiv.org/abs/1603.08155)
# - Ulyanov, Vedaldi, Lempitsky 2016, *Instance normalization*, [arXiv:1607.08022](https://arxiv.org/abs/1607.08022)
# - Huang, Belongie 2017, *Arbitrary style transfer in real-time with adaptive instance normalization*, [arXiv:1703.06868](https://arxiv.org/abs/1703.06868)
# - Odena, Dumoulin, Olah 2016, *Deconvolution and checkerboard artifacts*, Distill
# - Simonyan, Zisserman 2014, *Very deep convolutional networks*, [arXiv:1409.1556](https://arxiv.org/abs/1409.1556); Xie, Tu 2015, *Holistically-nested edge
#   detection*, [arXiv:1504.06375](https://arxiv.org/abs/1504.06375) (the weights of this chapter)
# - Zhu et al. 2017, *Unpaired image-to-image translation using cycle-consistent adversarial networks*, [arXiv:1703.10593](https://arxiv.org/abs/1703.10593)
# - Berger, Memisevic 2016, *Incorporating long-range consistency in CNN-based texture generation*, [arXiv:1606.01286](https://arxiv.org/abs/1606.01286)

# %% tags=["nbval-ignore-output"]
if ak.profile.name() != "fast":  # the picture at the top
    banner = np.stack([paintings[name] for name in ("strokes", "mosaic", "waves", "ink_wash")])
    Image.fromarray(ak.plots.tile(banner, columns=4)).save("images/03_style_transfer.png")
