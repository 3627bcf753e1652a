# %% [markdown]
# # 03 Style transfer
#
# *Mirrors: text 000 sections 1.2, 2.1, 2.2.2, 2.3, 3.4; 001 3.3.*
#
# ![One photograph in four styles, painted by this chapter](images/03_style_transfer.png)
#
# One photograph, four styles, no painter. After this chapter you can paint a photograph in the style of
# any picture in three ways (one that takes its time, one that learns a single style, one that takes any style
# at once), say by which loss they do it and what that loss does not see, and repair the usual failures.
#
# **Data:** photographs from the packages scikit-image and scikit-learn (public domain, CC0, CC BY 2.0: the
# list is printed below), four styles that the course draws by code, and your own files. **You need:**
# convolutions, gradient descent. Chapters 01 and 02 help, but are not needed. No GPU, and once the course is
# set up, no network.
#
# [← 02 Variational autoencoders](02_vae.ipynb) · [04 Diffusion →](04_diffusion.ipynb)

# %% tags=["nbval-ignore-output"]
import tempfile
import time
from pathlib import Path

import aigc_keras as ak
import ipywidgets
import keras
import numpy as np
import tensorflow as tf
from IPython.display import Image
from matplotlib_inline.backend_inline import set_matplotlib_formats

keras.utils.set_random_seed(0)
tf.get_logger().setLevel("ERROR")  # many models are no error
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 50})  # photographs
pick = ak.profile.pick  # fast: does it run; lesson: a few minutes
tf.config.run_functions_eagerly(pick(True, False))  # fast: graphs take longer to build than to run
ak.profile.announce("03_style_transfer")

# %% [markdown]
# ## 1. The idea
#
# **Style transfer** (风格迁移) wants a picture with the **content** (内容) of one image and the **style**
# (风格) of another. Compared pixel by pixel, a photograph and a painting of the same temple have nothing in
# common. A network that was trained to recognise things compares them better: its early layers answer to
# edges and colours, its later ones to eyes and roofs, whatever the brush. Gatys et al. (2016) measure both
# wishes in its **feature maps** (特征图) $F_l$ of layer $l$:
#
# - **Content loss** (内容损失): the maps of a deep layer should be those of the photograph, position by
#   position.
# - **Style loss** (风格损失): the **Gram matrices** (格拉姆矩阵) should be those of the painting. A Gram matrix
#   says which channels are active *together*, averaged over all positions $p$, so it forgets where:
#
# $$G_l[i, j] = \frac{1}{N_l} \sum_{p=1}^{N_l} F_l[p, i]\; F_l[p, j]$$
#
# $$\begin{aligned}
# L &= w_c \sum_l \frac{\lVert F_l - F_l^{\,content}\rVert^2}{\lVert F_l^{\,content}\rVert^2} \\
#   &+ w_s \sum_l \frac{\lVert G_l - G_l^{\,style}\rVert^2}{\lVert G_l^{\,style}\rVert^2} \\
#   &+ w_{color}\, L_{color} + w_{tv}\, TV
# \end{aligned}$$
#
# The two fractions are *relative* errors: 0 is equal, 1 is as far away as an empty map. So layers with large
# and small numbers count alike, and a loss can be read. The last two terms are small helpers: the colours'
# mean and covariance should be the style's, and neighbouring pixels alike (**total variation**, 全变分).
#
# Then there are three ways to make the loss small, and that is the chapter. In the drawing solid arrows say
# what is computed from what, and dashed ones what learns from the loss: from top to bottom the picture
# itself, a network, a decoder. "VGG" is always the same trained network, and it learns nothing.

# %%
ak.plots.diagram(
    {
        "Gatys": (0, 3.2, "Gatys", "noise"),
        "pixels": (3.9, 3.2, "picture", "data"),
        "VGG 1": (5, 3.2, "VGG", "network"),
        "loss 1": (6.1, 3.2, "loss", "loss"),
        "Johnson": (0, 1.6, "Johnson", "noise"),
        "photo 2": (1.2, 1.6, "photo", "data"),
        "network": (2.6, 1.6, "network", "network"),
        "picture 2": (3.9, 1.6, "picture", "data"),
        "VGG 2": (5, 1.6, "VGG", "network"),
        "loss 2": (6.1, 1.6, "loss", "loss"),
        "AdaIN": (0, 0, "AdaIN", "noise"),
        "photo 3": (1.2, 0.4, "photo", "data"),
        "style 3": (1.2, -0.4, "style", "data"),
        "decoder": (2.6, 0, "decoder", "network"),
        "picture 3": (3.9, 0, "picture", "data"),
        "VGG 3": (5, 0, "VGG", "network"),
        "loss 3": (6.1, 0, "loss", "loss"),
    },
    [
        ("pixels", "VGG 1", ""),
        ("VGG 1", "loss 1", ""),
        ("loss 1", "pixels", "the picture learns", 0.35),
        ("photo 2", "network", ""),
        ("network", "picture 2", ""),
        ("picture 2", "VGG 2", ""),
        ("VGG 2", "loss 2", ""),
        ("loss 2", "network", "the network learns", 0.25),
        ("photo 3", "decoder", ""),
        ("style 3", "decoder", ""),
        ("decoder", "picture 3", ""),
        ("picture 3", "VGG 3", ""),
        ("VGG 3", "loss 3", ""),
        ("loss 3", "decoder", "the decoder learns", 0.25),
    ],
    unit=(1.6, 1.0),
)

# %% [markdown]
# | way | what is trained | for a new content | for a new style |
# |---|---|---|---|
# | Gatys et al. 2016 | the picture | train again | train again |
# | Johnson et al. 2016 | a network for one style | one pass | train again |
# | AdaIN, Huang and Belongie 2017 | a decoder for all styles | one pass | one pass |

# %% [markdown]
# ## 2. The pictures
#
# The contents are photographs. We looked for a real painting in everything that is installed with the course,
# and there is none: scikit-image brings photographs, micrographs and textures, scikit-learn two photographs,
# matplotlib a portrait photograph and icons; TensorFlow Datasets knows where paintings can be fetched
# (`cycle_gan`), but carries none. So the course draws four styles by code. Any picture file of yours will do
# as well ([section 9](#9.-Your-own-picture)).

# %% tags=["nbval-ignore-output"]
print(ak.datasets.describe("photographs"))


def photograph(name, size):
    """The middle square of a photograph."""
    image = ak.datasets.photograph(name)
    height, width = image.shape[:2]
    longer = round(size * max(height, width) / min(height, width))
    image = ak.datasets.photograph(name, size=longer)
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def gallery(pictures, columns=3, inches=3.6):
    """A dict of pictures (H, W, 3), each under its name."""
    rows = -(-len(pictures) // columns)
    fig, axes = ak.plots.figure(columns, rows, size=(inches, inches + 0.4))
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, picture) in zip(axes.flat, pictures.items()):
        axis.imshow(ak.plots.tile(picture[None], columns=1))
        axis.set_title(name)
    return fig


size = pick(64, 224)
photographs = ("china", "coffee", "chelsea", "astronaut")
contents = {name: photograph(name, size) for name in photographs}
styles = {name: ak.patterns.draw(name, size) for name in ak.patterns.NAMES}
gallery({**contents, **styles}, columns=4)

# %% [markdown]
# ## 3. The network that sees
#
# `PerceptualFeatures` is the trunk of **VGG16**, a network that was trained on 1.2 million photographs of
# ImageNet and then on finding edges; its weights lie in a package, so that nothing is downloaded.
# (`weights="imagenet"` takes the untouched VGG19 instead, which Keras downloads.) It is a tower of four
# **blocks** of convolutions; between two blocks the maps are halved. The style is read at the first
# convolution of each block, the content deep in the last one:

# %%
ak.plots.diagram(
    {
        "picture": (0, 0, "picture", "data"),
        "1": (1.2, 0, "block 1", "network"),
        "2": (2.4, 0, "block 2", "network"),
        "3": (3.6, 0, "block 3", "network"),
        "4": (4.8, 0, "block 4", "network"),
        "content": (4.8, 1.4, "content loss:\nmaps", "loss"),
        "style": (3, -1.5, "style loss: Gram matrices", "loss"),
    },
    [
        ("picture", "1", ""),
        ("1", "2", "½"),
        ("2", "3", "½"),
        ("3", "4", "½"),
        ("1", "style", "conv1"),
        ("2", "style", "conv1"),
        ("3", "style", "conv1"),
        ("4", "style", "conv1"),
        ("4", "content", "conv2"),
    ],
    unit=(1.9, 1.0),
)

# %% [markdown]
# Nothing in it is trained any more. These are its lines:

# %%
ak.show(ak.style.PerceptualFeatures.call)

# %% [markdown]
# What the style layers give for a picture of 128 x 128 px: fewer and fewer places, more and more maps.

# %%
tower = ak.style.PerceptualFeatures(ak.style.STYLE_LAYERS)
china_maps = tower(photograph("china", 128)[None])
for name, maps in china_maps.items():
    _, height, width, channels = maps.shape
    print(f"{name}: {height:3d} x {width:3d} positions, {channels:3d} channels")

# %% [markdown]
# And three maps of each, those that vary most, as pictures: white is where a channel answers. First there are
# bright areas and edges, in the end whole regions such as the sky. The rims of the deeper maps differ because
# there the convolutions see the zeros outside of the picture.


# %% tags=["nbval-ignore-output"]
def as_pictures(maps, n=3, side=128):
    """The `n` maps that vary most, (n, side, side, 1) in [-1, 1]."""
    maps = np.asarray(maps[0], "float32")
    chosen = np.argsort(maps.var((0, 1)))[::-1][:n]
    maps = maps[..., chosen] / maps[..., chosen].max((0, 1))
    repeats = side // maps.shape[0]
    maps = maps.repeat(repeats, 0).repeat(repeats, 1)
    return 2 * maps.transpose(2, 0, 1)[..., None] - 1


ak.plots.grid(
    np.concatenate([as_pictures(maps) for maps in china_maps.values()]),
    columns=3,
    row_labels=[name.replace("_", "\n") for name in china_maps],
    inches=2.4,
)

# %% [markdown]
# ### What a layer knows: turn it round
#
# Start from noise and train the *picture* until one layer's maps are those of the photograph. What comes back
# is what that layer still knows; what does not, it has thrown away. (Total variation keeps out noise; deep
# layers do not see it, so there it weighs more.) `StyleTransfer` is a `keras.Model` that trains only the
# picture, so `fit()` needs no data.

# %% tags=["nbval-ignore-output"]
small = pick(32, 128)
china = photograph("china", small)
inverted = {"photograph": china}
layers = (*ak.style.STYLE_LAYERS, *ak.style.CONTENT_LAYERS)
for layer, variation_weight in zip(layers, (0.5, 0.5, 3.0, 3.0, 3.0)):
    model = ak.style.StyleTransfer(
        china,
        None,
        content_layers=[layer],
        content_weight=1.0,
        style_weight=0.0,
        color_weight=0.0,
        variation_weight=variation_weight,
        initial="noise",
    )
    model.compile()
    model.fit(pick(2, 60), verbose=0)
    inverted[layer] = model.picture()
gallery(inverted)

# %% [markdown]
# The first block gives the photograph back. With depth the colours go first (this network was trained to find
# edges), then the fine edges; the temple stays where it is. That is what we want from content: the *what* and
# *where*, not the paint. The course takes `block4_conv2`.

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
gram = ak.style.gram_matrix(maps)
gram_change = ak.style.relative_error(ak.style.gram_matrix(shuffled), gram)
assert gram_change < 1e-6 < change
print(f"relative error of the maps {change:.2f}, of their Gram matrices below 0.000001")

# %% [markdown]
# As pictures: one map of the style and the same one shuffled, and below them the Gram matrices of all 128
# channels. A dark dot in row $i$ and column $j$ says that channels $i$ and $j$ answer at the same places.
# Right, for comparison, another style.

# %% tags=["nbval-ignore-output"]
other = exact(ak.patterns.draw("waves", 128)[None])["block2_conv1"].numpy()
shown = {"strokes": maps, "strokes, shuffled": shuffled, "waves": other}
channel = maps.var((0, 1, 2)).argmax()
fig, axes = ak.plots.figure(columns=3, rows=2, size=(3.4, 3.4))
for (label, each), (above, below) in zip(shown.items(), axes.T):
    above.imshow(each[0, ..., channel], cmap="gray")
    below.imshow(np.sqrt(ak.style.gram_matrix(each)[0]), cmap="Blues")
    above.set_title(label)
    below.set_xlabel("Gram matrix")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
fig

# %% [markdown]
# So what survives? Train pictures from noise on the style loss alone, with more and more layers. Nothing says
# where anything belongs.


# %% tags=["nbval-ignore-output"]
def texture(style, layers, seed=0):
    """A picture of the style loss alone, from noise."""
    return ak.style.coarse_to_fine(
        np.zeros((small, small, 3), "float32"),
        style,
        pick(2, 140),
        levels=pick(1, 2),
        content_weight=0.0,
        style_layers=layers,
        initial="noise",
        seed=seed,
        verbose=0,
    ).picture()


names = ak.style.STYLE_LAYERS
waves = styles["waves"][:small, :small]
textures = {"style": waves}
for n in pick((1, 4), (1, 2, 4)):
    label = "block 1" if n == 1 else f"blocks 1 to {n}"
    textures[label] = texture(waves, names[:n])
textures["another seed"] = texture(waves, names, seed=1)
gallery(textures)

# %% [markdown]
# Block 1 brings the colours and their contrast, the others the strokes and how they lie beside each other.
# The last two pictures have nothing in the same place. Are their Gram matrices nearly the same? Relative
# errors, averaged over the four layers, of the first seed to the second and to the style, and beside them the
# same for the pixels:

# %% tags=["nbval-ignore-output"]
exact = ak.style.PerceptualFeatures(names, dtype="float32")


def grams(image):
    """The Gram matrices of the style layers of a picture."""
    return [ak.style.gram_matrix(maps) for maps in exact(image[None]).values()]


def style_distance(image, target):
    """Relative error of the Gram matrices, averaged over the layers."""
    pairs = zip(grams(image), grams(target))
    return np.mean([float(ak.style.relative_error(a, b)) for a, b in pairs])


first, second = textures["blocks 1 to 4"], textures["another seed"]
for label, target in {"the other seed": second, "the style": waves}.items():
    pixels = float(ak.style.relative_error(first[None], target[None]))
    distance = style_distance(first, target)
    print(f"to {label:14s}: Gram matrices {distance:.3f}, pixels {pixels:.2f}")
    if ak.profile.name() != "fast":
        assert distance < 0.1 * pixels

# %% [markdown]
# So style here means *texture* (纹理), everything that does not depend on where. A composition, a face, "a
# temple on the left" are not in it. Keep that in mind whenever somebody says that a network has learned a
# painter's style.

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
# - Layers that no loss uses are not built, and the network runs in bfloat16 where the processor multiplies in
#   it.
#
# One trick of painters helps: paint larger than the frame. Outside of a picture the convolutions see zeros,
# and the training answers with lines along the edges. So the photograph gets `BORDER` more pixels on each
# side, mirrored, which are cut off in the end.

# %% tags=["nbval-ignore-output"]
edge = ak.style.BORDER


def cut(image):
    """Without the mirrored edges."""
    return image[..., edge:-edge, edge:-edge, :]


temple = ak.style.mirrored(contents["china"])
gatys = ak.style.StyleTransfer(temple, styles["strokes"])
gatys.compile()
epochs = pick(2, 8)
progress = ak.callbacks.SampleGrid(n=1, every=epochs // 2, display=False)
start = time.perf_counter()
history = gatys.fit(pick(1, 10), epochs=epochs, callbacks=[progress], verbose=0)
print(f"{time.perf_counter() - start:.1f} s for {epochs * pick(1, 10)} steps at {size} px")
progress.batches = [cut(images) for images in progress.batches]
progress.strip(n=3)

# %% tags=["nbval-ignore-output"]
ak.plots.curves(
    history,
    ["content_loss", "style_loss"],
    xlabel=f"{pick(1, 10)} steps each",
    ylabel="relative error",
)

# %% [markdown]
# The style loss falls at once. The content loss would be zero for the photograph itself; the first large
# steps throw it up, and as the steps shrink it comes part of the way back: the picture buys style with
# content. Where they settle is a matter of the weights.
#
# Here the first steps as a film, with a cat at half the size; it begins again at its end:

# %% tags=["nbval-ignore-output"]
cat = ak.style.StyleTransfer(ak.style.mirrored(photograph("chelsea", small)), styles["strokes"])
cat.compile()
film = ak.callbacks.SampleGrid(n=1, every=pick(1, 4), unit="step", display=False)
cat.fit(pick(2, 20), callbacks=[film], verbose=0)
film.batches = [cut(images) for images in film.batches]
with tempfile.TemporaryDirectory() as folder:
    moving = film.gif(f"{folder}/film.gif").read_bytes()
Image(
    data=moving,
    format="gif",
    alt="The photograph of a cat turns into a painting of blue and yellow strokes",
)

# %% [markdown]
# ### The trade-off, as a grid
#
# From left to right the content weight grows; each picture starts from the recoloured photograph and has had
# the same number of steps.

# %% tags=["nbval-ignore-output"]
content_weights = pick((0.05, 1.0), (0.05, 0.2, 1.0))
large = ak.style.mirrored(photograph("chelsea", small))
trade_off, pictures = {}, []
for name in ("strokes", "mosaic"):
    for weight in content_weights:
        model = ak.style.StyleTransfer(large, styles[name], content_weight=weight)
        model.compile()
        model.fit(pick(2, 40), verbose=0)
        pictures.append(cut(model.picture()))
        losses = {k: float(v) for k, v in model.objective(model.picture()).items()}
        both = losses["content_loss"], losses["style_loss"]
        trade_off.setdefault(name, []).append(both)
ak.plots.grid(
    np.stack(pictures),
    columns=len(content_weights),
    row_labels=list(trade_off),
    column_labels=[f"content weight {w:g}" for w in content_weights],
    inches=3.4,
)

# %% tags=["nbval-ignore-output"]
fig, axes = ak.plots.figure(size=(7.0, 3.8))
axis = axes[0, 0]
for name, both in trade_off.items():
    axis.plot(*zip(*both), "o-", label=name)
    if ak.profile.name() != "fast":
        assert both == sorted(both, reverse=True)  # less content loss ...
        assert both == sorted(both, key=lambda losses: losses[1])  # ... more style loss
axis.set(xlabel="content loss", ylabel="style loss")
axis.legend()
fig

# %% [markdown]
# Less of one loss costs more of the other: such a curve is a **Pareto front** (帕累托前沿). A weight does not
# make a picture better, it chooses a point. (Far right, the network is content and the eye is not: what a
# deep layer asks for need not look good.)
#
# ### Three options that painters ask for
#
# **Keep the colours** (`preserve_color`): train the brightness only. **Mix styles** (`style_mix`): the target
# is the mean of their Gram matrices. **Coarse to fine** (由粗到细, `coarse_to_fine`): first at half the size,
# where a step costs a quarter and a brush stroke is half as long, then at full size.

# %% tags=["nbval-ignore-output"]
few = pick(2, 40)


def paint(content, style, levels=1, **kwargs):
    """A photograph in a style, painted larger than the frame and cut."""
    content = ak.style.mirrored(content)
    return cut(ak.style.coarse_to_fine(content, style, few, levels, verbose=0, **kwargs).picture())


levels = pick(1, 2)
paintings = {
    "strokes": cut(gatys.picture()),
    "mosaic": paint(contents["china"], styles["mosaic"], levels),
    "waves": paint(contents["china"], styles["waves"], levels),
    "ink_wash": paint(contents["china"], styles["ink_wash"], levels),
    "strokes, colours kept": paint(
        contents["china"], styles["strokes"], levels, preserve_color=True
    ),
    "strokes and waves": paint(contents["china"], [styles["strokes"], styles["waves"]], levels),
}
gallery(paintings)

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
# - **No checkerboard** (棋盘格): the network doubles its maps by repeating pixels and *then* convolves.
#   Transposed convolutions of stride 2 add up unevenly (Odena et al. 2016).
# - **Begin at a picture.** What the network gives is *added* to the recoloured photograph, and its last layer
#   begins with zeros. So step 0 is no grey soup but the photograph in the style's colours.

# %%
ak.show(ak.style.InstanceNormalization.call)

# %% [markdown]
# The network as a table. In the middle five **residual blocks** (残差块) at a quarter of the size: each adds
# something to its maps and passes them on. The second output of each normalisation are the statistics that it
# used.

# %% tags=["nbval-ignore-output"]
fast = ak.style.FastStyleTransfer(styles["waves"], width=pick(8, 32), content_weight=0.15)
ak.plots.shapes(fast.measure)

# %% tags=["nbval-ignore-output"]
keras.utils.set_random_seed(0)
crops = ak.datasets.load(
    "photographs", f"train[:{pick(8, 1000)}]", batch_size=4, image_size=64, seed=0
)
fast.compile()
rows = ("china", "coffee", "chelsea")
columns = {"before": [fast.stylize(contents[name]) for name in rows]}
start = time.perf_counter()
trained = fast.fit(
    crops.repeat(),
    steps_per_epoch=pick(1, 20),
    epochs=pick(2, 5),
    verbose=0,
    shuffle=False,
)
print(f"{time.perf_counter() - start:.0f} s for {pick(2, 100)} steps of four crops")
columns["this lesson"] = [fast.stylize(contents[name]) for name in rows]
ak.plots.curves(
    trained,
    ["content_loss", "style_loss"],
    xlabel=f"{pick(1, 20)} steps each",
    ylabel="relative error",
)

# %% [markdown]
# `ak.checkpoints.load("fast_style_waves")` is the same class, trained for longer on crops of 128 px instead
# of 64, with more weight on the content. It saw crops of seven of the photographs; the temple and the coffee
# were not among them. It lays its waves on the lake, in the cup, and on the cat's cheek: nothing in the loss
# knows what must stay smooth. And they look more like a rope than like waves: what the loss compares is
# local, and a row of light and dark beads has nearly the right statistics. A human face is lost under them,
# so none is shown: try `contents["astronaut"]`.

# %% tags=["nbval-ignore-output"]
fast = ak.checkpoints.load("fast_style_waves")
facts = ak.checkpoints.manifest()["fast_style_waves"]
print(
    f"Trained for {facts['training_minutes']} minutes, {facts['bytes'] / 1e6:.1f} MB.\n"
    f"On crops it never saw: content loss {facts['content_loss']}, "
    f"style loss {facts['style_loss']}"
)
columns["checkpoint"] = [fast.stylize(contents[name]) for name in rows]
ak.plots.grid(
    np.stack([picture for row in zip(*columns.values()) for picture in row]),
    columns=3,
    row_labels=rows,
    column_labels=list(columns),
    inches=3.4,
)

# %% [markdown]
# ## 7. AdaIN: any style in one pass
#
# A network for each style is still a training for each style. Huang and Belongie (2017) noticed what instance
# normalisation does: it removes the statistics of the photograph's maps (mean $\mu$ and standard deviation
# $\sigma$ of each channel), and its learned scale and shift put in those of *one* style. So do not learn
# them: take them from any style picture $y$. That is **adaptive instance normalisation** (自适应实例归一化)
# of the maps $x$ of the photograph:
#
# $$\mathrm{AdaIN}(x, y) = \sigma(y)\,\frac{x - \mu(x)}{\sigma(x)} + \mu(y)$$
#
# Only the way back from maps to a picture has to be learned, once for all styles: the **decoder** (解码器).

# %%
ak.show(ak.style.adaptive_instance_normalization)

# %%
ak.show(ak.style.AdaIN.losses_of)

# %% [markdown]
# The decoder as a table: from the bottom of the tower back to the size of the picture. At each doubling the
# maps of the next finer layer join in.

# %%
fresh = ak.style.AdaIN()
ak.plots.shapes(fresh.decoder)

# %% [markdown]
# The original decodes the deepest maps alone and takes days to learn how to draw. Ours gets the normalised
# maps of all four style layers and, as in section 6, paints only the *change* of the recoloured photograph,
# so that detail need not be invented. It learns from random pairs of a photograph and a style:

# %% tags=["nbval-ignore-output"]
keras.utils.set_random_seed(0)
crop_images, _ = ak.datasets.arrays("photographs", f"train[:{pick(12, 100)}]")
drawn = [ak.patterns.draw(name, 128, seed) for seed in range(pick(2, 4)) for name in styles]
pairs = tf.data.Dataset.zip(
    *(tf.data.Dataset.from_tensor_slices(x).shuffle(100, seed=0) for x in (crop_images, drawn))
)
ak.plots.grid(
    np.concatenate(list(zip(*pairs.take(6).as_numpy_iterator()))),
    columns=6,
    inches=1.8,
    alt="Six parts of photographs, and below each the style that it is trained with",
)

# %% tags=["nbval-ignore-output"]
fresh.compile()
learned = fresh.fit(
    pairs.batch(2).repeat(), steps_per_epoch=pick(1, 8), epochs=pick(1, 5), verbose=0
)
ak.plots.curves(
    learned, ["content_loss", "style_loss"], xlabel="8 steps each", ylabel="relative error"
)

# %% [markdown]
# Each point is the mean over sixteen pairs, easy and hard ones: so short a curve says little more than that
# both losses can be learned. Now the checkpoint: the same lines, trained for longer and on more styles.

# %% tags=["nbval-ignore-output"]
adain = ak.checkpoints.load("adain")
facts = ak.checkpoints.manifest()["adain"]
print(
    f"Trained for {facts['training_minutes']} minutes, {facts['bytes'] / 1e6:.1f} MB.\n"
    f"On photographs it never saw: content loss {facts['content_loss']}, "
    f"style loss {facts['style_loss']}"
)
chosen = ("strokes", "ink_wash")
table = [adain.stylize(image, styles[name]) for image in contents.values() for name in chosen]
ak.plots.grid(
    np.stack(table),
    columns=2,
    row_labels=list(contents),
    column_labels=chosen,
    inches=3.0,
)

# %% [markdown]
# One pass for each picture, no training; the temple and the coffee are new to it. Mostly the colours and the
# contrast are the style's; a stroke it does not lay. It is a sketch of the method, not its best. Look close:
# there are light rims around things, where statistics are stretched at an edge, and beside them small steps,
# because the decoder's doublings repeat pixels and few convolutions follow. With the mosaic and the waves
# these steps become a grid, so these styles are not shown here.
#
# Because statistics are numbers that can be mixed, two knobs come for free: `alpha`, from the photograph (0)
# to the style (1), and shares of several styles. (`stylize` scales what is painted by `alpha`, too: the
# decoder is no exact inverse of the features.) Move the sliders; where no widget runs, the two rows below
# tell the same.

# %% tags=["nbval-ignore-output"]
pair = [styles[name] for name in chosen]


def draw(alpha=1.0, ink_wash=0.5):
    picture = adain.stylize(contents["coffee"], pair, (1 - ink_wash, ink_wash), alpha)
    return ak.plots.grid(picture[None], inches=3.5, alt="The coffee, painted as the sliders say")


sliders = ipywidgets.interact(
    draw,
    alpha=ipywidgets.FloatSlider(1.0, min=0, max=1, continuous_update=False),
    ink_wash=ipywidgets.FloatSlider(0.5, min=0, max=1, continuous_update=False),
)

# %% tags=["nbval-ignore-output"]
shares = (0.0, 0.5, 1.0)
coffee = contents["coffee"]
strengths = [adain.stylize(coffee, styles["strokes"], alpha=a) for a in shares]
mixes = [adain.stylize(coffee, pair, (1 - a, a)) for a in shares]
np.testing.assert_allclose(strengths[0], coffee, atol=1e-3)
ak.plots.grid(
    np.stack(strengths + mixes),
    columns=3,
    row_labels=["alpha", "share of\nink wash"],
    column_labels=[f"{share:g}" for share in shares],
    inches=3.4,
)

# %% [markdown]
# ## 8. The three methods, measured
#
# One judge for all: the loss of section 1 with `StyleTransfer`'s weights. The contents are crops (128 px) of
# the two photographs that no network was trained on, the style is "waves". Two baselines: the photograph as
# it is, and the photograph in the style's colours. After ± stands the standard error over the crops.

# %% tags=["nbval-ignore-output"]
n_crops = pick(2, 4)
judged, _ = ak.datasets.arrays("photographs", f"test[:{n_crops}]")
waves = ak.patterns.draw("waves", pick(64, 256))
methods = {
    "photograph": lambda crop: crop,
    "recoloured": lambda crop: ak.style.StyleTransfer(crop, waves).picture(),
    "Gatys": lambda crop: paint(crop, waves),
    "Johnson": fast.stylize,
    "AdaIN": lambda crop: adain.stylize(crop, waves),
}
judges = [ak.style.StyleTransfer(crop, waves) for crop in judged]
scores, examples = {}, {}
keys = ("loss", "content_loss", "style_loss")
print(f"{'':12s}{'s a picture':>12s}" + "".join(f"{key:>16s}" for key in keys))
for name, method in methods.items():
    pictures, seconds = [], []
    for crop in judged:
        start = time.perf_counter()
        pictures.append(method(crop))
        seconds.append(time.perf_counter() - start)
    examples[name] = pictures[0]
    line = f"{name:12s}{np.median(seconds):12.2f}"  # the first pass builds a graph
    losses = [judge.objective(picture) for judge, picture in zip(judges, pictures)]
    for key in keys:
        values = np.array([float(loss[key]) for loss in losses])
        scores[name, key] = values.mean()
        line += f"{values.mean():9.3f} ± {values.std(ddof=1) / np.sqrt(n_crops):.3f}"
    print(line)
if ak.profile.name() != "fast":
    for name in ("Gatys", "Johnson", "AdaIN"):
        assert scores[name, "loss"] < scores["recoloured", "loss"]
        assert scores[name, "content_loss"] > scores["recoloured", "content_loss"]
    assert scores["Gatys", "loss"] < scores["Johnson", "loss"] < scores["AdaIN", "loss"]
    assert scores["recoloured", "loss"] < scores["photograph", "loss"]
gallery(examples)

# %% [markdown]
# - **Gatys** comes nearest to the judge: it trains on the very picture that is judged. It is also the one
#   that makes you wait, for every picture again.
# - **Johnson** needs a fraction of that time and gets most of the way, for the one style it knows.
# - **AdaIN** gets less far, but it has never been trained for this style alone, and it takes yours as well.
# - All three pay in content. Even colours alone are not free.
#
# Judge with your eyes, too: the loss does not know rims, a grid, or a face that is no face any more.
#
# ## 9. Your own picture
#
# Two files are enough. `stylize` reads JPEG and PNG (turned as the camera says, transparent parts on white,
# grey and 16-bit as well), makes them smaller, and paints; `method` is `"gatys"`, `"fast"` (trains a network
# for your style, from the checkpoint on: some minutes) or `"adain"`. Put your own names here:

# %% tags=["nbval-ignore-output"]
folder = Path(tempfile.mkdtemp())
ak.images.write(folder / "photo.jpg", ak.datasets.photograph("flower"))
ak.images.write(folder / "style.png", ak.patterns.draw("strokes", pick(64, 256), seed=5))

start = time.perf_counter()
result = ak.style.stylize(
    folder / "photo.jpg", folder / "style.png", method="adain", size=pick(64, 640)
)
print(f"{time.perf_counter() - start:.1f} s for {result.shape[1]} x {result.shape[0]} px")
ak.images.write(folder / "painted.png", result)
gallery({"a flower, in strokes": result}, columns=1, inches=6.0)

# %% [markdown]
# Large pictures are painted in overlapping tiles, normalised by the statistics of the whole: no seams, and
# the networks never see more than a tile.
#
# ## 10. How it fails
#
# **Failure 1: the content is lost.** Symptom: a nice texture, but of what? Here nobody asks for content
# (weight 0), and the picture starts from noise. Two attempts at a cure, each of which changes one thing: the
# *weight* of the content, or the *start*, from the recoloured photograph.
#
# Detector: not the content loss. The first attempt makes just that number small, so it cannot be the judge.
# What nobody trained on is the brightness as one sees it from the last row: average it over squares of 8 px,
# and correlate it with the photograph's. 1 is the photograph, about 0 a picture that has nothing to do with
# it.


# %% tags=["nbval-ignore-output"]
def from_afar(image, px=8):
    """Mean brightness of each square of `px` pixels."""
    side = image.shape[0] // px
    return image.mean(-1).reshape(side, px, side, px).mean((1, 3)).ravel()


chelsea = photograph("chelsea", small)
cures = {
    "no content, from noise": (0.0, "noise"),
    "another weight": (1.0, "noise"),
    "another start": (0.0, "recolored"),
}
judge = ak.style.StyleTransfer(chelsea, styles["mosaic"])
runs, likeness, content_losses = {}, {}, {}
for label, (weight, initial) in cures.items():
    runs[label] = paint(chelsea, styles["mosaic"], content_weight=weight, initial=initial)
    likeness[label] = np.corrcoef(from_afar(runs[label]), from_afar(chelsea))[0, 1]
    content_losses[label] = float(judge.objective(runs[label])["content_loss"])
    print(f"{label:23s} from afar {likeness[label]:5.2f}, content loss {content_losses[label]:.2f}")
if ak.profile.name() != "fast":
    assert content_losses["another weight"] < content_losses["another start"]
    assert max(likeness["no content, from noise"], likeness["another weight"]) < 0.5
    assert likeness["another start"] > 0.8
gallery(runs)

# %% [markdown]
# The eye and the detector agree: the weight alone brings back an outline, but no cat; the start does it, and
# costs nothing. What is in its place from the beginning need not be found. The content loss prefers the wrong
# one. That is **Goodhart's law** (古德哈特定律): a number that one optimises is no longer a good judge.
#
# **Failure 2: a style without texture.** Symptom: smears and flat areas. Here the style is a fine photograph
# of a rocket before a dark blue sky. Detector: how large is the style loss of a *flat sheet* in the style's
# mean colour? Where a sheet is nearly right already, there is nothing to paint with.

# %% tags=["nbval-ignore-output"]
candidates = {name: photograph(name, size) for name in ("rocket", "retina", "immunohistochemistry")}
sheet_loss = {}
for name, style in {**candidates, **styles}.items():
    judge = ak.style.StyleTransfer(chelsea, style)
    sheet = np.broadcast_to(style.mean((0, 1)), chelsea.shape).astype("float32")
    sheet_loss[name] = float(judge.objective(sheet)["style_loss"])
    print(f"{name:21s} style loss of a flat sheet: {sheet_loss[name]:.2f}")

# %% [markdown]
# Cure: choose a style that the detector likes. The tissue under the microscope (`immunohistochemistry`) is
# one, though nobody painted it.

# %% tags=["nbval-ignore-output"]
results = {}
for label, name in (("rocket", "rocket"), ("tissue", "immunohistochemistry")):
    results[f"{label}, a part"] = candidates[name][-small:, -small:]
    results[f"in the style of the {label}"] = paint(chelsea, candidates[name])
gallery(results, columns=2)

# %% [markdown]
# ## 11. Corrections to the text
#
# **1. "GANs apply the style of one image to another"** (text 000, section 2.2.2, a flow chart from GANs to
# style transfer; again in 3.4). None of the three methods here has a discriminator or an adversarial loss.
# What Gatys' method trains:

# %%
grey = np.zeros((64, 64, 3), "float32")
model = ak.style.StyleTransfer(grey, ak.patterns.draw("waves", 64))
for variable in model.trainable_variables:
    print(variable.name, tuple(variable.shape))
print("losses:", ", ".join(metric.name for metric in model.trackers))

# %% [markdown]
# There *is* a GAN for a relative of this task. CycleGAN (循环一致生成对抗网络, Zhu et al. 2017) learns from
# two *collections* of pictures, say horses and zebras, and translates one kind into the other, shapes
# included. It has a chapter of its own later (image to image).
#
# **2. "A generative model learns from large amounts of training data and generates content of a similar
# distribution"** (text 000, section 1.2, with style transfer among its examples). Gatys' method learns no
# distribution and has no training data: two pictures and a judge, and everything the judge knows it learned
# from other photographs. `fit` takes no data:

# %%
model.compile()
print(list(model.fit(1, verbose=0).history))

# %% [markdown]
# **3. Style transfer "turns the style of an image into another style, for example a painting's"** (text 000,
# section 2.1). What is transferred are statistics of texture. Cut the style into 64 tiles and lay them out at
# random: composition and depth are gone, the target hardly moves. Compare it with another style:


# %% tags=["nbval-ignore-output"]
def tiled(image, parts=8, seed=0):
    side = image.shape[0] // parts
    tiles = image.reshape(parts, side, parts, side, 3).swapaxes(1, 2)
    tiles = tiles.reshape(-1, side, side, 3)
    tiles = np.random.default_rng(seed).permutation(tiles)
    tiles = tiles.reshape(parts, parts, side, side, 3)
    return tiles.swapaxes(1, 2).reshape(image.shape)


strokes, mosaic = (ak.patterns.draw(name, pick(128, 256)) for name in ("strokes", "mosaic"))
in_tiles = style_distance(tiled(strokes), strokes)
another = style_distance(mosaic, strokes)
print(f"relative error of the Gram matrices: in tiles {in_tiles:.1f}, mosaic {another:.1f}")
assert in_tiles < 0.5 * another

# %% [markdown]
# **4. "The style of generated samples is hard to control"** (text 001, section 3.3). Here it is a number. The
# style loss along `alpha`, from section 7:

# %% tags=["nbval-ignore-output"]
judge = ak.style.StyleTransfer(contents["coffee"], styles["strokes"])
along = [float(judge.objective(picture)["style_loss"]) for picture in strengths]
print(", ".join(f"{share:.1f}: {loss:.2f}" for share, loss in zip(shares, along)))
if ak.profile.name() != "fast":
    assert along == sorted(along, reverse=True)

# %% [markdown]
# **5. "Pre-trained models are adapted by fine-tuning or by style transfer"** (text 000, section 2.3). Style
# transfer changes a picture, not a model. The pre-trained network has no weight that could be trained, before
# or after:

# %%
print(len(tower.trainable_weights), "trainable weights")

# %% [markdown]
# ## 12. What to try
#
# - Your own photograph and your own style: section 9. Which styles does the detector of section 10 refuse?
# - `style_layers=("block1_conv1",)` or `("block4_conv1",)` alone: what becomes of the strokes?
# - Draw the style at 512 px instead of 256: `ak.patterns.draw("mosaic", 512)`. Why do the stones grow?
# - `ak.style.PerceptualFeatures(..., weights="imagenet")`, where there is a network: other textures, other
#   colours?
#
# **Exercise.** A Gram matrix forgets *all* order. Berger and Memisevic (2016) multiply each map with a
# *shifted* copy of the maps instead, which keeps regular patterns. Write `shifted_gram(features, shift)`,
# check that `shift=0` is `gram_matrix`, show that it does notice when the positions are shuffled, and paint
# the mosaic with it.
#
# **Problem set.** Five graded tasks on this chapter:
# [problem set 03](exercises/mine/problems_03_style_transfer.ipynb). The link opens your own copy, which
# `make lab` made; `make check EX=03` tells you how far you are.
#
# **Papers**
#
# - Gatys, Ecker, Bethge 2016, *Image style transfer using convolutional neural networks*, CVPR; 2016,
#   *Preserving color in neural artistic style transfer*,
#   [arXiv:1606.05897](https://arxiv.org/abs/1606.05897); 2017, *Controlling perceptual factors in neural
#   style transfer*, [arXiv:1611.07865](https://arxiv.org/abs/1611.07865)
# - Johnson, Alahi, Fei-Fei 2016, *Perceptual losses for real-time style transfer*,
#   [arXiv:1603.08155](https://arxiv.org/abs/1603.08155)
# - Ulyanov, Vedaldi, Lempitsky 2016, *Instance normalization*,
#   [arXiv:1607.08022](https://arxiv.org/abs/1607.08022)
# - Huang, Belongie 2017, *Arbitrary style transfer in real-time with adaptive instance normalization*,
#   [arXiv:1703.06868](https://arxiv.org/abs/1703.06868)
# - Odena, Dumoulin, Olah 2016, *Deconvolution and checkerboard artifacts*, Distill
# - Simonyan, Zisserman 2014, *Very deep convolutional networks*,
#   [arXiv:1409.1556](https://arxiv.org/abs/1409.1556); Xie, Tu 2015, *Holistically-nested edge detection*,
#   [arXiv:1504.06375](https://arxiv.org/abs/1504.06375) (the weights of this chapter)
# - Zhu et al. 2017, *Unpaired image-to-image translation using cycle-consistent adversarial networks*,
#   [arXiv:1703.10593](https://arxiv.org/abs/1703.10593)
# - Berger, Memisevic 2016, *Incorporating long-range consistency in CNN-based texture generation*,
#   [arXiv:1606.01286](https://arxiv.org/abs/1606.01286)
#
# [← 02 Variational autoencoders](02_vae.ipynb) · [04 Diffusion →](04_diffusion.ipynb)

# %% tags=["nbval-ignore-output"]
if ak.profile.name() != "fast":  # the picture at the top
    banner = [paintings[name] for name in styles]
    ak.images.write("images/03_style_transfer.png", np.concatenate(banner, axis=1))
