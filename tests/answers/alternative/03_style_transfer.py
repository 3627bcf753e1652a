# %%
"""Answers to problem set 03: correct, written in another way than the model answer."""

import aigc_keras as ak
import numpy as np
import tensorflow as tf


# %% solution="region_covariance"
def region_covariance(features, mask):
    """The covariance of the channels over the positions, each counted as much as the mask says.

    features: floats (B, H, W, C). mask: floats >= 0, (B, H, W). Returns (B, C, C).
    """
    results = []
    for maps, weights in zip(tf.unstack(features), tf.unstack(mask), strict=True):
        rows = tf.reshape(maps, (-1, maps.shape[-1]))
        shares = tf.reshape(weights / tf.reduce_sum(weights), (-1, 1))
        rows -= tf.reduce_sum(shares * rows, axis=0)
        results.append(tf.matmul(rows, shares * rows, transpose_a=True))
    return tf.stack(results)


# %% solution="RegionPainter"
class RegionPainter(Painter):  # noqa: F821 (the problem set defines it)
    def train_step(self, data):
        """One step of the picture; `data` is not used. Returns a dict from tracker to mean."""

        def moments(maps):
            mean = tf.reduce_mean(maps, axis=(1, 2), keepdims=True)
            variance = tf.reduce_mean((maps - mean) ** 2, axis=(1, 2))
            return mean[:, 0, 0], tf.sqrt(variance + 1e-5)

        picture = tf.identity(self.pixels.value)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(picture)
            maps = self.features(picture)
            difference = maps[-1] - self.content_maps
            content = tf.reduce_sum(difference**2) / tf.cast(tf.size(difference), "float32")
            style = 0.0
            for i in range(len(maps)):
                mean, deviation = moments(maps[i])
                wanted = self.style_statistics[i]
                style += tf.reduce_mean((mean - wanted[:, 0]) ** 2)
                style += tf.reduce_mean((deviation - wanted[:, 1]) ** 2)
            variation = tf.reduce_mean(tf.abs(picture[:, 1:] - picture[:, :-1]))
            variation += tf.reduce_mean(tf.abs(picture[:, :, 1:] - picture[:, :, :-1]))
            loss = self.content_weight * content + self.style_weight * style
            loss += self.variation_weight * variation
        gradient = tf.where(self.region > 0, tape.gradient(loss, picture), 0.0)
        self.optimizer.apply_gradients([(gradient, self.pixels)])
        self.pixels.assign(tf.clip_by_value(self.pixels.value, -1.0, 1.0))
        results = {}
        for tracker, value in zip(self.trackers, (loss, content, style, variation), strict=True):
            tracker.update_state(value)
            results[tracker.name] = tracker.result()
        return results


# %% solution="diagnosis"
diagnosis = dict(A="variation weight too large", B="learning rate too small")
diagnosis |= dict(C="content and style swapped", D="content weight too large")
diagnosis["E"] = "learning rate too large"


# %% solution="crop_worth"
def crop_worth(maps, side, n_crops, seed):
    """(mean error, its standard error, effective number of positions) of a crop's Gram matrix.

    maps: floats (H, W, C). side: of the crops, in positions. n_crops: how many, at least 2.
    """
    rng = np.random.default_rng(seed)
    height, width, _ = np.shape(maps)
    tops = rng.integers(0, height - side, size=n_crops, endpoint=True)
    lefts = rng.integers(0, width - side, size=n_crops, endpoint=True)
    crops = np.stack([maps[t : t + side, s : s + side] for t, s in zip(tops, lefts, strict=True)])
    whole = ak.style.gram_matrix(tf.constant(maps)[None]).numpy()
    wrong = ak.style.gram_matrix(tf.constant(crops)).numpy() - whole
    size = np.linalg.norm(whole) ** 2
    errors = np.linalg.norm(wrong, axis=(1, 2)) ** 2 / size
    fourth = np.mean(np.linalg.norm(maps, axis=-1) ** 4)
    standard_error = np.sqrt(np.sum((errors - errors.mean()) ** 2) / (n_crops - 1) / n_crops)
    return float(errors.mean()), float(standard_error), float((fourth / size - 1) / errors.mean())


# %% solution="own_painting"
# Wavy bands, cut by thin dark lines.
across, down = np.meshgrid(np.linspace(0, 1, 128), np.linspace(0, 1, 128))
phase = 2 * np.pi * (9 * down + 0.6 * np.sin(2 * np.pi * 3 * across))
own_style = np.stack([np.sin(phase), np.sin(phase + 1.0), np.cos(phase)], axis=-1)
own_style[(phase % (2 * np.pi)) < 1.2] = -0.9
own_style = own_style.astype("float32")
own_photo = "coffee"
own_painting = adain.stylize(photograph(own_photo, 128), own_style)  # noqa: F821

# %% [markdown] open="own_painting"
# The colours of the bands came over, and their contrast: dark lines beside bright ones, of about
# the width that they have in my pattern, mostly level as the bands are. Both are in the
# statistics that AdaIN copies: mean and deviation of each channel, and there are channels for
# colours and for level edges. That each band runs through the whole picture as one wave did not
# come over, nor that there are nine of them at equal distances. A mean over all positions does
# not know where a position is, so it cannot say that a line goes on. Where the lines lie is
# decided by the photograph: along the rim of the cup and the spoon.
