# %%
"""Answers to problem set 03: a student who tried the visible tests only."""

import aigc_keras as ak
import numpy as np
import tensorflow as tf
from keras import ops


# %% solution="region_covariance" points=1
# Mistake: multiplies both factors by the mask, so that a soft mask counts squared.
def region_covariance(features, mask):
    """The covariance of the channels over the positions, each counted as much as the mask says.

    features: floats (B, H, W, C). mask: floats >= 0, (B, H, W). Returns (B, C, C).
    """
    weights = ops.convert_to_tensor(mask)[..., None]
    count = ops.sum(weights, axis=(1, 2), keepdims=True)
    mean = ops.sum(weights * features, axis=(1, 2), keepdims=True) / count
    inside = weights * (features - mean)
    inside = ops.reshape(inside, (inside.shape[0], -1, inside.shape[-1]))
    return ops.matmul(ops.transpose(inside, (0, 2, 1)), inside) / count[:, 0]


# %% solution="RegionPainter" points=1
# Mistake: trains all that can be trained, the feature network as well.
class RegionPainter(Painter):  # noqa: F821 (the problem set defines it)
    def train_step(self, data):
        """One step of the picture; `data` is not used. Returns a dict from tracker to mean."""
        with tf.GradientTape() as tape:
            picture = ops.convert_to_tensor(self.pixels)
            maps = self.features(picture)
            content_loss = ops.mean((maps[-1] - self.content_maps) ** 2)
            style_loss = 0.0
            for found, wanted in zip(maps, self.style_statistics, strict=True):
                statistics = ak.style.channel_statistics(found)
                style_loss += ops.sum(ops.mean((statistics - wanted) ** 2, axis=-1))
            variation_loss = ak.style.total_variation(picture)
            loss = (
                self.content_weight * content_loss
                + self.style_weight * style_loss
                + self.variation_weight * variation_loss
            )
        variables = self.trainable_variables
        gradients = [
            g * self.region if v is self.pixels else g
            for g, v in zip(
                tape.gradient(loss, [v.value for v in variables]), variables, strict=True
            )
        ]
        self.optimizer.apply(gradients, variables)
        self.pixels.assign(ops.clip(self.pixels, -1.0, 1.0))
        losses = (loss, content_loss, style_loss, variation_loss)
        for tracker, value in zip(self.trackers, losses, strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


# %% solution="diagnosis" points=3
# Mistake: takes a loss that is flat for one that has converged.
diagnosis = {
    "A": "variation weight too large",
    "B": "healthy",
    "C": "content and style swapped",
    "D": "content weight too large",
    "E": "learning rate too large",
}


# %% solution="crop_worth" points=1
# Mistake: gives the deviation of one crop for the standard error of the mean.
def crop_worth(maps, side, n_crops, seed):
    """(mean error, its standard error, effective number of positions) of a crop's Gram matrix.

    maps: floats (H, W, C). side: of the crops, in positions. n_crops: how many, at least 2.
    """
    rng = np.random.default_rng(seed)
    flat = maps.reshape(-1, maps.shape[-1])
    whole = flat.T @ flat / len(flat)
    errors = []
    for _ in range(n_crops):
        top = rng.integers(maps.shape[0] - side + 1)
        left = rng.integers(maps.shape[1] - side + 1)
        crop = maps[top : top + side, left : left + side].reshape(side**2, -1)
        errors.append(np.sum((crop.T @ crop / side**2 - whole) ** 2) / np.sum(whole**2))
    variability = np.mean(np.sum(flat**2, axis=1) ** 2) / np.sum(whole**2) - 1
    return np.mean(errors), np.std(errors, ddof=1), variability / np.mean(errors)


# %% solution="own_painting" points=0
# Mistake: the style is one of the course's, not drawn by own code.
own_photo = "china"
own_style = ak.patterns.draw("strokes", 128)
own_painting = adain.stylize(photograph(own_photo, 128), own_style)  # noqa: F821

# %% [markdown] open="own_painting"
# The brush strokes came over very well, and the colours, too. The network has learned the
# painter's style.
