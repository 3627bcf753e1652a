"""Keras metrics of images, batch by batch."""

import keras
import tensorflow as tf
from keras import ops

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
