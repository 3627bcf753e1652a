# %%
"""Answers to problem set 03: a student who mixes up some definitions."""

import aigc_keras as ak
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="region_covariance" points=1
# Mistake: the mean of the products minus the product of the means, which loses its digits.
def region_covariance(features, mask):
    """The covariance of the channels over the positions, each counted as much as the mask says.

    features: floats (B, H, W, C). mask: floats >= 0, (B, H, W). Returns (B, C, C).
    """
    share = mask / np.sum(mask, axis=(1, 2), keepdims=True)
    mean = np.einsum("bhw,bhwi->bi", share, features)
    products = np.einsum("bhw,bhwi,bhwj->bij", share, features, features)
    return products - mean[:, :, None] * mean[:, None, :]


# %% solution="RegionPainter" points=1
# Mistake: clips the picture that is judged; the one that is kept leaves [-1, 1].
class RegionPainter(Painter):  # noqa: F821 (the problem set defines it)
    def train_step(self, data):
        """One step of the picture; `data` is not used. Returns a dict from tracker to mean."""
        losses = {}
        with tf.GradientTape() as tape:
            picture = ops.clip(ops.convert_to_tensor(self.pixels), -1.0, 1.0)
            maps = self.features(picture)
            losses["content_loss"] = ops.mean((maps[-1] - self.content_maps) ** 2)
            losses["style_loss"] = sum(
                2.0 * ops.mean((ak.style.channel_statistics(found) - wanted) ** 2)
                for found, wanted in zip(maps, self.style_statistics, strict=True)
            )
            losses["variation_loss"] = ak.style.total_variation(picture)
            losses["loss"] = self.content_weight * losses["content_loss"]
            losses["loss"] += self.style_weight * losses["style_loss"]
            losses["loss"] += self.variation_weight * losses["variation_loss"]
        gradient = tape.gradient(losses["loss"], self.pixels.value)
        self.optimizer.apply([gradient * self.region], [self.pixels])
        for tracker in self.trackers:
            tracker.update_state(losses[tracker.name])
        return {tracker.name: tracker.result() for tracker in self.trackers}


# %% solution="diagnosis" points=3
# Mistake: flat patches taken for failure 2, without a look at the style or at the variation loss.
diagnosis = {
    "A": "a style without texture",
    "B": "learning rate too small",
    "C": "content and style swapped",
    "D": "content weight too large",
    "E": "learning rate too large",
}


# %% solution="crop_worth" points=0
# Mistake: takes the error of the mean Gram matrix for the mean of the errors.
def crop_worth(maps, side, n_crops, seed):
    """(mean error, its standard error, effective number of positions) of a crop's Gram matrix.

    maps: floats (H, W, C). side: of the crops, in positions. n_crops: how many, at least 2.
    """
    rng = np.random.default_rng(seed)
    flat = maps.reshape(-1, maps.shape[-1])
    whole = flat.T @ flat / len(flat)
    grams = []
    for _ in range(n_crops):
        top = rng.integers(maps.shape[0] - side + 1)
        left = rng.integers(maps.shape[1] - side + 1)
        crop = maps[top : top + side, left : left + side].reshape(side**2, -1)
        grams.append(crop.T @ crop / side**2)
    error = np.sum((np.mean(grams, axis=0) - whole) ** 2) / np.sum(whole**2)
    spread = np.std(grams, axis=0, ddof=1).mean() / np.sqrt(n_crops)
    variability = np.mean(np.sum(flat**2, axis=1) ** 2) / np.sum(whole**2) - 1
    return error, spread, variability / error


# %% solution="own_painting" points=0
# Mistake: mixes the painting with the photograph, because it looked too wild.
own_photo = "china"
stripes = np.sin(np.indices((128, 128)).sum(axis=0) / 3.0)
own_style = np.stack([stripes, 0.5 * stripes, -stripes], axis=-1).astype("float32")
painted = adain.stylize(photograph(own_photo, 128), own_style)  # noqa: F821
own_painting = 0.5 * painted + 0.5 * photograph(own_photo, 128)  # noqa: F821

# %% [markdown] open="own_painting"
# My stripes are in the picture, but only a little, because AdaIN mixes both.
