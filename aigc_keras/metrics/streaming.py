"""Keras metrics of images, batch by batch."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras.guards import check_number
from aigc_keras.metrics.distances import warn_if_few
from aigc_keras.metrics.features import Features


class _FeatureMetric(keras.metrics.Metric):
    """Holds the features; `update_state(real_images, fake_images)` takes batches in [-1, 1].

    In `evaluate`, Keras computes `result()` after every batch, also where only the last is shown.
    """

    def __init__(self, features, name, dtype=None):
        super().__init__(name=name, dtype=dtype)
        if not isinstance(features, Features):
            raise ValueError(f"features: got {features!r}, accepted is a Features object.")
        self.features = features

    def get_config(self):
        features = keras.saving.serialize_keras_object(self.features)
        return {**super().get_config(), "features": features}

    @classmethod
    def from_config(cls, config):
        features = keras.saving.deserialize_keras_object(config["features"])
        return cls(**{**config, "features": features})


@keras.saving.register_keras_serializable("aigc_keras")
class FrechetDistance(_FeatureMetric):
    """Frechet distance of all images so far; keeps sums in float64, never the features.

    The state is D^2 numbers a side, and `result()` takes two eigendecompositions of D x D: with
    2,048 features, call it yourself at the end rather than within `evaluate`. Called outside of a
    graph it warns when N <= D. Source: Heusel et al. 2017, eq. 6.
    """

    def __init__(self, features, name="frechet_distance", dtype=None):
        super().__init__(features, name, dtype)
        dim = features.dim
        # The first axis is (real, fake). float32 would lose the covariance where means are large.
        self.count = self.add_variable((2,), "zeros", dtype="float64", name="count")
        self.sum = self.add_variable((2, dim), "zeros", dtype="float64", name="sum")
        self.outer = self.add_variable((2, dim, dim), "zeros", dtype="float64", name="outer")

    def update_state(self, real_images, fake_images):
        both = [ops.cast(self.features(images), "float64") for images in (real_images, fake_images)]
        self.count.assign_add(ops.stack([ops.cast(ops.shape(x)[0], "float64") for x in both]))
        self.sum.assign_add(ops.stack([ops.sum(x, axis=0) for x in both]))
        self.outer.assign_add(ops.stack([ops.matmul(ops.transpose(x), x) for x in both]))

    def result(self):
        if tf.executing_eagerly():
            warn_if_few(*(int(n) for n in self.count.numpy()), self.features.dim)
        count = ops.reshape(self.count, (2, 1, 1))
        mean = self.sum[:, None, :] / ops.maximum(count, 1.0)
        scatter = self.outer - count * ops.transpose(mean, (0, 2, 1)) * mean
        cov = scatter / ops.maximum(count - 1.0, 1.0)
        # As in frechet_distance_from_moments, in operations that a graph can hold.
        values, vectors = ops.eigh(cov[0])
        root = vectors * ops.sqrt(ops.maximum(values, 0.0))
        inner = ops.matmul(ops.transpose(root), ops.matmul(cov[1], root))
        values, _ = ops.eigh((inner + ops.transpose(inner)) / 2.0)
        cross = ops.sum(ops.sqrt(ops.maximum(values, 0.0)))
        distance = ops.sum((mean[0] - mean[1]) ** 2) + ops.trace(cov[0] + cov[1]) - 2.0 * cross
        return ops.cast(ops.maximum(distance, 0.0), self.dtype)


@keras.saving.register_keras_serializable("aigc_keras")
class KernelDistance(_FeatureMetric):
    """Mean of the unbiased kernel distances of the batches, each weighted by its size less one.

    Unbiased for any batch size of two or more; larger batches have less noise.
    Source: Binkowski et al. 2018, eq. 4 and section 4.
    """

    def __init__(self, features, name="kernel_distance", dtype=None):
        super().__init__(features, name, dtype)
        self.total = self.add_variable((), "zeros", dtype="float64", name="total")
        self.weight = self.add_variable((), "zeros", dtype="float64", name="weight")

    def update_state(self, real_images, fake_images):
        x = ops.cast(self.features(real_images), "float64")
        y = ops.cast(self.features(fake_images), "float64")
        n, m = (ops.cast(ops.shape(rows)[0], "float64") for rows in (x, y))

        def kernel(a, b):
            return (ops.matmul(a, ops.transpose(b)) / self.features.dim + 1.0) ** 3

        def within(a, count):
            values = kernel(a, a)
            return (ops.sum(values) - ops.trace(values)) / ops.maximum(count * (count - 1.0), 1.0)

        distance = within(x, n) + within(y, m) - 2.0 * ops.mean(kernel(x, y))
        weight = ops.minimum(n, m) - 1.0  # a batch of one has no pairs, and no say
        self.total.assign_add(weight * distance)
        self.weight.assign_add(weight)

    def result(self):
        return ops.cast(self.total / ops.maximum(self.weight, 1.0), self.dtype)


@keras.saving.register_keras_serializable("aigc_keras")
class InceptionScore(_FeatureMetric):
    """Inception score of all generated images so far, in one part; real images are not looked at.

    Source: Salimans et al. 2016, section 4.
    """

    def __init__(self, features, name="inception_score", dtype=None):
        super().__init__(features, name, dtype)
        self.count = self.add_variable((), "zeros", dtype="float64", name="count")
        self.sum = self.add_variable((features.n_classes,), "zeros", dtype="float64", name="sum")
        self.negative_entropy = self.add_variable((), "zeros", dtype="float64", name="entropy")

    def update_state(self, real_images, fake_images):
        p = ops.cast(self.features.probabilities(fake_images), "float64")
        self.count.assign_add(ops.cast(ops.shape(p)[0], "float64"))
        self.sum.assign_add(ops.sum(p, axis=0))
        self.negative_entropy.assign_add(ops.sum(self._x_log_x(p)))

    def result(self):
        count = ops.maximum(self.count, 1.0)
        marginal = ops.sum(self._x_log_x(self.sum / count))
        return ops.cast(ops.exp(self.negative_entropy / count - marginal), self.dtype)

    def _x_log_x(self, p):
        return p * ops.log(ops.maximum(p, np.finfo(np.float64).tiny))


@keras.saving.register_keras_serializable("aigc_keras")
class PrecisionRecall(_FeatureMetric):
    """Precision and recall of the first `max_samples` images of each kind (shuffle them).

    `result()` is a dict of "precision" and "recall", zero until there are more than k of each. The
    features are kept, so it works on one device only. Source: Kynkaanniemi et al. 2019, eq. 1, 2.
    """

    def __init__(self, features, k=3, max_samples=1000, name="precision_recall", dtype=None):
        super().__init__(features, name, dtype)
        self.k = check_number("k", k, 1, integer=True)
        self.max_samples = check_number("max_samples", max_samples, k + 1, integer=True)
        # One row too many: what no longer fits is written there.
        shape = (max_samples + 1, features.dim)
        self.real = self.add_variable(shape, "zeros", dtype="float64", name="real")
        self.fake = self.add_variable(shape, "zeros", dtype="float64", name="fake")
        self.n_real = self.add_variable((), "zeros", dtype="int32", name="n_real")
        self.n_fake = self.add_variable((), "zeros", dtype="int32", name="n_fake")

    def update_state(self, real_images, fake_images):
        self._store(self.real, self.n_real, real_images)
        self._store(self.fake, self.n_fake, fake_images)

    def _store(self, buffer, count, images):
        rows = ops.cast(self.features(images), "float64")
        places = ops.minimum(count + ops.arange(ops.shape(rows)[0]), self.max_samples)
        buffer.assign(ops.scatter_update(buffer, places[:, None], rows))
        count.assign(ops.minimum(count + ops.shape(rows)[0], self.max_samples))

    def result(self):
        centre = self.real[0]
        real, fake = self.real[:-1] - centre, self.fake[:-1] - centre
        place = ops.arange(self.max_samples)
        is_real, is_fake = place < self.n_real, place < self.n_fake

        def squared_distances(a, b):
            a_norms, b_norms = ops.sum(a**2, axis=1), ops.sum(b**2, axis=1)
            squared = a_norms[:, None] + b_norms - 2.0 * ops.matmul(a, ops.transpose(b))
            return ops.where(squared < 1e-12 * (ops.max(a_norms) + ops.max(b_norms)), 0.0, squared)

        def squared_radii(rows, used):
            squared = ops.where(used, squared_distances(rows, rows), np.inf)
            radii = -ops.top_k(-squared, self.k + 1)[0][:, -1]
            return ops.where(used & ops.isfinite(radii), radii, -1.0)  # -1: an empty ball

        squared = squared_distances(fake, real)
        precise = ops.any(squared <= squared_radii(real, is_real), axis=1) & is_fake
        recalled = ops.any(squared <= squared_radii(fake, is_fake)[:, None], axis=0) & is_real
        return {
            "precision": self._share(precise, self.n_fake),
            "recall": self._share(recalled, self.n_real),
        }

    def _share(self, hits, count):
        return ops.sum(ops.cast(hits, self.dtype)) / ops.cast(ops.maximum(count, 1), self.dtype)

    def get_config(self):
        return {**super().get_config(), "k": self.k, "max_samples": self.max_samples}
