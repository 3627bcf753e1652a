"""How good are generated images? Distances between the features of real and of generated ones.

Every number here depends on the network that computed the features, and on how many images went in:
two numbers are comparable only where both agree.
"""

import math
import warnings
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras import checkpoints
from aigc_keras.guards import (
    check_functional,
    check_images,
    check_number,
    check_numbers,
    check_seed,
)

_BLOCK = 2**22  # entries of a block of distances: 32 MiB, whatever the number of samples


# Checks ---------------------------------------------------------------------------------------


def _check_rows(name, array, at_least=1):
    """`array` as finite float64 of shape (N, D) with N >= at_least."""
    try:
        rows = np.asarray(array)
    except ValueError:  # rows of different length
        rows = np.zeros(0)
    accepted = f"accepted are finite numbers of shape (N, D) with N >= {at_least} and D >= 1"
    if rows.dtype.kind not in "fiu":
        raise ValueError(f"{name}: got {rows.dtype}, {accepted}.")
    if rows.ndim != 2 or len(rows) < at_least or rows.shape[1] < 1:
        raise ValueError(f"{name}: got shape {rows.shape}, {accepted}.")
    rows = rows.astype(np.float64, copy=False)
    if not np.isfinite(rows).all():
        bad = np.count_nonzero(~np.isfinite(rows).all(axis=1))
        raise ValueError(f"{name}: got NaN or infinity in {bad} of {len(rows)} rows, {accepted}.")
    return rows


def _check_pair(first_name, first, second_name, second, at_least=1):
    first = _check_rows(first_name, first, at_least)
    second = _check_rows(second_name, second, at_least)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{second_name}: got D = {second.shape[1]}, accepted is the D = {first.shape[1]} "
            f"of {first_name}."
        )
    return first, second


def _warn_if_few(n_real, n_fake, dim):
    if min(n_real, n_fake) <= dim:
        warnings.warn(
            f"Frechet distance from N = {n_real} real and N = {n_fake} fake samples with D = {dim} "
            "features: covariances are singular for N <= D, and the distance is much too large.",
            stacklevel=3,
        )


# Functions of features ------------------------------------------------------------------------


def frechet_distance(real_features, fake_features):
    """Frechet distance between Gaussians fitted to two sets of features (FID).

    Computed in float64 with the unbiased covariances. The estimate is biased upwards by about 1/N,
    so compare only at equal N. For N <= D a covariance is singular; this is where the authors'
    own code stops being reliable, and where this function warns. Ten times D is a good N.

    Args:
        real_features, fake_features: (N, D) and (M, D).

    Returns:
        A float >= 0.

    Raises:
        ValueError: wrong rank, fewer than two rows, different D, NaN.

    Source: Heusel et al. 2017, eq. 6.
    """
    real, fake = _check_pair("real_features", real_features, "fake_features", fake_features, 2)
    _warn_if_few(len(real), len(fake), real.shape[1])
    return frechet_distance_from_moments(*_moments(real), *_moments(fake))


def _moments(rows):
    mean = rows.mean(axis=0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


def frechet_distance_from_moments(mean1, cov1, mean2, cov2):
    """|mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), Heusel et al. 2017, eq. 6.

    Args:
        mean1, mean2: (D,).
        cov1, cov2: (D, D), symmetric and positive semi-definite.

    Returns:
        A float >= 0.

    Raises:
        ValueError: wrong shapes, NaN, a covariance that is not symmetric.
    """
    mean1, mean2 = _check_pair("mean1", [mean1], "mean2", [mean2])
    dim = mean1.shape[1]
    covs = []
    for name, cov in (("cov1", cov1), ("cov2", cov2)):
        cov = _check_rows(name, cov)
        if cov.shape != (dim, dim) or not np.allclose(cov, cov.T, atol=1e-8 * np.abs(cov).max()):
            raise ValueError(
                f"{name}: got shape {cov.shape}, accepted is a symmetric ({dim}, {dim}) matrix."
            )
        covs.append(cov)
    # tr (S1 S2)^(1/2) = tr (S1^(1/2) S2 S1^(1/2))^(1/2): symmetric, so no complex root can appear.
    values, vectors = np.linalg.eigh(covs[0])
    if values.min() < -1e-6 * np.abs(values).max():
        raise ValueError(
            f"cov1: got the eigenvalue {values.min():g}, accepted is a positive semi-definite "
            "matrix."
        )
    root = vectors * np.sqrt(np.maximum(values, 0))
    inner = root.T @ covs[1] @ root
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh((inner + inner.T) / 2), 0)).sum()
    distance = ((mean1 - mean2) ** 2).sum() + np.trace(covs[0]) + np.trace(covs[1]) - 2 * cross
    return max(float(distance), 0.0)


def kernel_distance(real_features, fake_features, n_subsets=50, subset_size=1000, seed=0):
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 (KID), unbiased for any N.

    The mean over random subsets. Each takes at most half of the smaller set, so that the subsets
    differ and show the error; smaller subsets leave the mean unbiased and only noisier.

    Args:
        real_features, fake_features: (N, D) and (M, D), at least four rows each.
        n_subsets: an integer >= 2.
        subset_size: rows in a subset, an integer >= 2.

    Returns:
        (mean, standard error). The mean may be slightly negative where the sets agree. Subsets
        overlap: with f = subset size / N, their variance s^2 times (f / (1 - f) + 1 / n_subsets) is
        the squared error, and s^2 / n_subsets alone would be too small.

    Raises:
        ValueError: wrong rank, fewer than four rows, different D, NaN, a bad number.

    Source: Binkowski et al. 2018, section 4.
    """
    real, fake = _check_pair("real_features", real_features, "fake_features", fake_features, 4)
    check_number("n_subsets", n_subsets, 2, integer=True)
    check_number("subset_size", subset_size, 2, integer=True)
    check_seed(seed)
    smaller = min(len(real), len(fake))
    size = min(subset_size, smaller // 2)
    rng = np.random.default_rng(seed)
    values = [
        _polynomial_mmd(
            real[rng.choice(len(real), size, replace=False)],
            fake[rng.choice(len(fake), size, replace=False)],
        )
        for _ in range(n_subsets)
    ]
    fraction = size / smaller
    factor = fraction / (1 - fraction) + 1 / n_subsets
    return float(np.mean(values)), float(np.std(values, ddof=1) * math.sqrt(factor))


def _polynomial_mmd(x, y):
    """Binkowski et al. 2018, eq. 4: no sample is compared with itself."""

    def kernel_sum(a, b):
        inner = a @ b.T / a.shape[1] + 1
        return (inner * inner * inner).sum()

    def within(a):
        itself = ((a * a).sum(axis=1) / a.shape[1] + 1) ** 3
        return (kernel_sum(a, a) - itself.sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel_sum(x, y) / (len(x) * len(y))


def inception_score(probabilities, n_splits=10):
    """exp E KL(p(y|x) || p(y)): from 1 (classes unclear, or one only) to C (clear and all alike).

    Args:
        probabilities: (N, C) class probabilities of generated images; rows sum to one.
        n_splits: consecutive parts that are scored one by one, at most N.

    Returns:
        (mean, standard deviation) over the parts.

    Raises:
        ValueError: wrong rank, NaN, rows that are no probabilities, more parts than rows.

    Source: Salimans et al. 2016, section 4.
    """
    p = _check_rows("probabilities", probabilities)
    check_number("n_splits", n_splits, 1, below=len(p) + 1, integer=True)
    sums = p.sum(axis=1)
    if p.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(
            f"probabilities: got values from {p.min():g} and rows with sums from {sums.min():g} to "
            f"{sums.max():g}, accepted are values >= 0 in rows that sum to one."
        )

    def score(part):
        entropy = _x_log_x(part).sum(axis=1).mean()
        return np.exp(entropy - _x_log_x(part.mean(axis=0)).sum())

    scores = [score(part) for part in np.array_split(p, n_splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _x_log_x(p):
    return p * np.log(np.maximum(p, np.finfo(p.dtype).tiny))  # 0 log 0 = 0


def precision_recall(real_features, fake_features, k=3):
    """Precision: share of fakes that lie among real samples. Recall: share of real among fakes.

    A set's manifold is the union of balls around its samples, each as large as the distance to the
    k-th nearest neighbour. Both numbers depend on N: compare at equal N only.

    Args:
        real_features, fake_features: (N, D) and (M, D).
        k: neighbours, from 1 to min(N, M) - 1.

    Returns:
        (precision, recall), each in [0, 1].

    Raises:
        ValueError: wrong rank, empty, different D, NaN, k out of range.

    Source: Kynkaanniemi et al. 2019, eq. 1 and 2.
    """
    real, fake = _check_pair("real_features", real_features, "fake_features", fake_features)
    check_number("k", k, 1, below=min(len(real), len(fake)), integer=True)
    real, fake = real - real.mean(axis=0), fake - real.mean(axis=0)
    real_radii, fake_radii = _squared_radii(real, k), _squared_radii(fake, k)
    n_precise, recalled = 0, np.zeros(len(real), bool)
    for rows, squared in _distance_blocks(fake, real):
        n_precise += np.count_nonzero((squared <= real_radii).any(axis=1))
        recalled |= (squared <= fake_radii[rows, None]).any(axis=0)
    return float(n_precise / len(fake)), float(recalled.mean())


def _squared_radii(rows, k):
    # The nearest of all is the sample itself, so the k-th neighbour has index k. A copy, since a
    # view of one column would keep its whole block in memory.
    return np.concatenate(
        [np.partition(block, k, axis=1)[:, k].copy() for _, block in _distance_blocks(rows, rows)]
    )


def _distance_blocks(query, reference):
    """Yield (slice of query, squared distances (rows, len(reference))) in blocks of bounded size.

    Both must be centred: |x|^2 + |y|^2 - 2 x.y cancels badly far from the origin.
    """
    query_norms, norms = (query**2).sum(axis=1), (reference**2).sum(axis=1)
    step = max(_BLOCK // len(reference), 1)
    minus_twice = -2 * reference.T
    noise = 1e-12 * (query_norms.max() + norms.max())
    for start in range(0, len(query), step):
        rows = slice(start, start + step)
        squared = query[rows] @ minus_twice
        squared += query_norms[rows, None]
        squared += norms
        squared[squared < noise] = 0.0  # equal samples: rounding must not tell them apart
        yield rows, squared


def nearest_neighbours(query, reference, k=1):
    """The k rows of `reference` nearest to each row of `query`: does a model copy its data?

    Args:
        query, reference: (N, D) and (M, D); features, or images reshaped to (N, -1).
        k: from 1 to M.

    Returns:
        (distances, indices), both (N, k), nearest first; Euclidean.

    Raises:
        ValueError: wrong rank, empty, different D, NaN, k out of range.
    """
    query, reference = _check_pair("query", query, "reference", reference)
    check_number("k", k, 1, below=len(reference) + 1, integer=True)
    centre = reference.mean(axis=0)
    distances, indices = [], []
    for _, squared in _distance_blocks(query - centre, reference - centre):
        nearest = np.argpartition(squared, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(squared, nearest, axis=1)
        order = np.argsort(found, axis=1, kind="stable")
        indices.append(np.take_along_axis(nearest, order, axis=1))
        distances.append(np.sqrt(np.take_along_axis(found, order, axis=1)))
    return np.concatenate(distances), np.concatenate(indices)


def count_modes(points, centers, std, n_std=3.0, min_fraction=0.1):
    """How many modes of a mixture of equal Gaussians the points reach, and how many lie on one.

    A point is of high quality within `n_std` standard deviations of its nearest centre. A mode is
    found when it holds at least `min_fraction` of its fair share N / K in high-quality points.
    VEEGAN and PacGAN ask for a single such point, which at large N a stray sample satisfies.

    Args:
        points: (N, d).
        centers: (K, d).
        std: standard deviation of each mode, > 0.

    Returns:
        (modes found, from 0 to K; share of high-quality points, from 0 to 1).

    Raises:
        ValueError: wrong rank, empty, different d, NaN, a bad number.

    Source: ring of 8 Gaussians: Metz et al. 2017, section 3.3; counts: Srivastava et al. 2017,
    section 4.1; Lin et al. 2018 (PacGAN), section 4.1.
    """
    centers, points = _check_pair("centers", centers, "points", points)
    check_number("std", std, np.nextafter(0, 1))
    check_number("n_std", n_std, np.nextafter(0, 1))
    check_number("min_fraction", min_fraction, 0)
    distances, indices = nearest_neighbours(points, centers)
    good = distances[:, 0] <= n_std * std
    counts = np.bincount(indices[good, 0], minlength=len(centers))
    needed = max(min_fraction * len(points) / len(centers), 1)
    return int(np.count_nonzero(counts >= needed)), float(good.mean())


def bootstrap(metric, real_features, fake_features, n_resamples=20, seed=0):
    """The metric on all data, and its standard error from random halves of both sets.

    Rows drawn *with* replacement would repeat: that raises a Frechet distance, and puts nearest
    neighbours at distance zero. A random half of given data has no repeats, and the spread between
    halves is the standard error of the whole: a mean over N/2 of N given rows has the variance
    (2/N - 1/N) s^2 = s^2 / N. Halves have a larger bias, but only their spread is used.

    Args:
        metric: function of (real_features, fake_features) that returns a number.
        real_features, fake_features: (N, D) and (M, D), at least four rows each.
        n_resamples: halves, an integer >= 2; the error itself is known to about 1 / sqrt(2 n).

    Returns:
        (value, standard error), floats.

    Raises:
        ValueError: wrong rank, fewer than four rows, different D, NaN, a bad number.

    Source: delete-d jackknife with d = N / 2, Shao and Wu 1989.
    """
    real, fake = _check_pair("real_features", real_features, "fake_features", fake_features, 4)
    check_number("n_resamples", n_resamples, 2, integer=True)
    check_seed(seed)
    if not callable(metric):
        raise ValueError(f"metric: got {metric!r}, accepted is a function of two arrays.")
    value = float(metric(real, fake))
    rng = np.random.default_rng(seed)
    halves = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few samples: said above, for all of the data
        for _ in range(n_resamples):
            some_real = real[rng.permutation(len(real))[: len(real) // 2]]
            some_fake = fake[rng.permutation(len(fake))[: len(fake) // 2]]
            halves.append(float(metric(some_real, some_fake)))
    return value, float(np.std(halves, ddof=1))


# Features of images ---------------------------------------------------------------------------


@keras.saving.register_keras_serializable("aigc_keras")
class Features:
    """A network that turns images into features and class probabilities, with a name.

    Calling it gives the features (B, dim) of a batch of image tensors, in float32.

    Args:
        model: keras.Model with two outputs, features (B, D) and probabilities (B, C).
        name: stands beside every number that these features give.
        input_scale: images in [-1, 1] are multiplied by it first (127.5 for a network that wants
            [-127.5, 127.5]).

    Raises:
        ValueError: the model has other outputs.
    """

    def __init__(self, model, name, input_scale=1.0):
        check_functional("model", model)
        if not isinstance(name, str) or not name:
            raise ValueError(f"name: got {name!r}, accepted is a string.")
        input_scale = check_number("input_scale", input_scale, low=1e-6)
        shapes = [tuple(output.shape) for output in model.outputs]
        if len(shapes) != 2 or any(len(s) != 2 or s[1] is None for s in shapes):
            raise ValueError(
                f"model: got outputs of shapes {shapes}, accepted are two: (B, D) features and "
                "(B, C) probabilities."
            )
        self.model = model
        self.name = name
        self.input_scale = input_scale
        self.dim, self.n_classes = shapes[0][1], shapes[1][1]
        # XLA would compile the network again for a short last batch.
        self._compiled = tf.function(self._both, reduce_retracing=True, jit_compile=False)
        self._loader = None

    def _both(self, images):
        outputs = self.model(ops.cast(images, "float32") * self.input_scale, training=False)
        return [ops.cast(output, "float32") for output in outputs]

    def __call__(self, images):
        return self._both(images)[0]

    def probabilities(self, images):
        """Class probabilities (B, C) of a batch of image tensors in [-1, 1]."""
        return self._both(images)[1]

    def extract(self, images, batch_size=500):
        """Features and probabilities of many images, as NumPy arrays (N, D) and (N, C).

        Args:
            images: array (N, H, W, C) in [-1, 1], or a finite, batched tf.data.Dataset of images
                or of tuples that begin with images (`batch_size` is then the dataset's own).

        Raises:
            ValueError: no images, wrong shape, integers, NaN, values outside [-1, 1].
        """
        if not isinstance(images, tf.data.Dataset):
            check_number("batch_size", batch_size, 1, integer=True)
            if not isinstance(images, np.ndarray | tf.Tensor):
                raise ValueError(
                    f"images: got a {type(images).__name__}, accepted is an array or a dataset."
                )
            array = images
            images = (array[i : i + batch_size] for i in range(0, len(array), batch_size))
        elif images.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("images: got a dataset without an end, accepted is a finite one.")
        results = []
        for batch in images:
            batch = batch[0] if isinstance(batch, tuple) else batch
            check_images("images", batch, self._image_shape(batch))
            results.append([output.numpy() for output in self._compiled(tf.constant(batch))])
        if not results:
            raise ValueError("images: got none, accepted is at least one image.")
        features, probabilities = zip(*results, strict=True)
        return np.concatenate(features), np.concatenate(probabilities)

    def _image_shape(self, batch):
        shape = tuple(self.model.inputs[0].shape)[1:]
        free = len(batch.shape) == len(shape) + 1  # then a None takes the batch's own size
        return tuple(batch.shape[i] if free and s is None else s for i, s in enumerate(shape, 1))

    def get_config(self):
        if self._loader:
            return {"loader": self._loader}
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            # A model's configuration is without its weights; the same network with other weights
            # would be other features under the same name.
            "weights": keras.saving.serialize_keras_object(self.model.get_weights()),
            "name": self.name,
            "input_scale": self.input_scale,
        }

    @classmethod
    def from_config(cls, config):
        if "loader" in config:
            return _LOADERS[config["loader"]]()
        model = keras.saving.deserialize_keras_object(config["model"])
        model.set_weights(keras.saving.deserialize_keras_object(config["weights"]))
        return cls(model, config["name"], config["input_scale"])


def fashion_features():
    """Features of the course's own Fashion-MNIST classifier, for (B, 28, 28, 1) in [-1, 1].

    Raises:
        ValueError, FileNotFoundError: the checkpoint is unknown, altered or missing.
    """
    features = Features(checkpoints.load("classifier_fashion_mnist"), "fashion_mnist_classifier")
    features._loader = "fashion"
    return features


def inception_features():
    """2,048 features of Keras' Inception-v3, for images of any size, grey or RGB, in [-1, 1].

    Images are resized to 299 pixels (bilinear, antialiased); the weights are fetched once (about
    100 MB). They are not the 2015 weights of the published figures, hence the name
    "keras_inception_v3": compare with distances from these features only.

    Raises:
        RuntimeError: the weights cannot be fetched.
    """
    try:
        network = keras.applications.InceptionV3(weights="imagenet")
    except Exception as error:  # what Keras raises for a failed download is a plain Exception
        raise RuntimeError(
            "The ImageNet weights of Inception-v3 cannot be had. Go online once (Keras keeps them "
            "in its folder ~/.keras/models), or use fashion_features(), which needs no network."
        ) from error
    both = keras.Model(network.input, [network.get_layer("avg_pool").output, network.output])
    images = keras.Input((None, None, None))
    rgb = images * ops.ones((1, 1, 1, 3))  # repeats a single channel
    outputs = both(ops.image.resize(rgb, (299, 299), antialias=True))
    features = Features(keras.Model(images, outputs), "keras_inception_v3")
    features._loader = "inception"
    return features


_LOADERS = {"fashion": fashion_features, "inception": inception_features}


# Streaming metrics ----------------------------------------------------------------------------


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
            _warn_if_few(*(int(n) for n in self.count.numpy()), self.features.dim)
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


# A score --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """What `evaluate_samples` found; errors are standard errors, `features` a name."""

    frechet: float
    frechet_error: float
    kernel: float
    kernel_error: float
    precision: float
    recall: float
    n_real: int
    n_fake: int
    features: str

    def __str__(self):
        # As many decimals as the error's first figure has.
        error = self.frechet_error
        decimals = max(0, -math.floor(math.log10(error))) if error > 0 else 2
        counts = f"{self.n_fake:,} images"
        if self.n_real != self.n_fake:
            counts = f"{self.n_fake:,} against {self.n_real:,} real images"
        return (
            f"Frechet distance {self.frechet:.{decimals}f} ± {error:.{decimals}f}, precision "
            f"{self.precision:.2f}, recall {self.recall:.2f} ({counts}, {self.features} features)"
        )


def evaluate_samples(fake_images, real_images, features, seed=0):
    """Compare generated with real images by Frechet and kernel distance, precision and recall.

    Args:
        fake_images: array (N, H, W, C) in [-1, 1] or a tf.data.Dataset.
        real_images: the same, or what `features.extract(real_images)` returned.
        features: a Features object.

    Returns:
        A Score.

    Raises:
        ValueError: bad images, or fewer than four of a kind.
    """
    if not isinstance(features, Features):
        raise ValueError(f"features: got {features!r}, accepted is a Features object.")
    real, _ = real_images if isinstance(real_images, tuple) else features.extract(real_images)
    fake, _ = features.extract(fake_images)
    frechet, frechet_error = bootstrap(frechet_distance, real, fake, seed=seed)
    kernel, kernel_error = kernel_distance(real, fake, seed=seed)
    precision, recall = precision_recall(real, fake)
    return Score(
        frechet=frechet,
        frechet_error=frechet_error,
        kernel=kernel,
        kernel_error=kernel_error,
        precision=precision,
        recall=recall,
        n_real=len(real),
        n_fake=len(fake),
        features=features.name,
    )


# Text ------------------------------------------------------------------------------------------


class _Ratio(keras.metrics.Metric):
    """Nats over something that is counted, both added up over the batches."""

    def __init__(self, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.nats = self.add_variable(shape=(), initializer="zeros", name="nats")
        self.count = self.add_variable(shape=(), initializer="zeros", name="count")

    def update_state(self, nats, count, sample_weight=None):
        self.nats.assign_add(nats)
        self.count.assign_add(ops.cast(count, self.dtype))

    def mean(self):
        return self.nats / ops.maximum(self.count, 1.0)


@keras.saving.register_keras_serializable("aigc_keras")
class Perplexity(_Ratio):
    """exp(nats a token): as unsure as an even choice among so many. Depends on the tokeniser.

    `update_state(nats, count)`: the sum of -log p over `count` tokens.
    """

    def result(self):
        return ops.exp(self.mean())


@keras.saving.register_keras_serializable("aigc_keras")
class BitsPerCharacter(_Ratio):
    """Bits to write a character with: comparable between tokenisers.

    `update_state(nats, count)`: the sum of -log p over tokens that are `count` characters.
    """

    def result(self):
        return self.mean() / math.log(2)


def bits_per_character(nats, characters):
    """(bits per character, standard error) from the nats and characters of N >= 2 texts, (N,) each.

    The error is that of a ratio whose texts were drawn at random (Cochran 1977, eq. 2.46).
    """
    accepted = "accepted are numbers (N,)"
    check_numbers("nats", nats, accepted)  # of any sign: a difference of models has an error too
    if check_numbers("characters", characters, accepted).min(initial=0) < 0:
        raise ValueError(f"characters: got {np.min(characters)}, {accepted}, none below 0.")
    nats, characters = (np.asarray(x, "float64") for x in (nats, characters))
    if nats.shape != characters.shape or nats.ndim != 1 or len(nats) < 2:
        raise ValueError(
            f"nats, characters: got shapes {nats.shape} and {characters.shape}, accepted is (N,) "
            "twice, with N >= 2."
        )
    if characters.sum() == 0:
        raise ValueError("characters: got a sum of 0, accepted is at least one character.")
    bits = nats.sum() / characters.sum() / math.log(2)
    residuals = nats / math.log(2) - bits * characters
    error = residuals.std(ddof=1) / (math.sqrt(len(nats)) * characters.mean())
    return float(bits), float(error)


def ngram_overlap(texts, reference, n):
    """Share of the runs of `n` items in `texts` that `reference` has too: is it copied?

    Args:
        texts, reference: lists of sequences: strings (items are characters) or lists of words.
        n: length of a run, >= 1.

    Raises:
        ValueError: no text is as long as `n`.
    """
    n = check_number("n", n, low=1, integer=True)
    for name, sequences in (("texts", texts), ("reference", reference)):
        good = isinstance(sequences, tuple | list)
        if not good or not all(isinstance(x, str | tuple | list) for x in sequences):
            raise ValueError(
                f"{name}: got {sequences!r:.80}, accepted is a list of strings or of lists."
            )

    def runs(sequences):
        return (tuple(text[i : i + n]) for text in sequences for i in range(len(text) - n + 1))

    wanted = list(runs(texts))
    if not wanted:
        raise ValueError(
            f"texts: none of the {len(texts)} has {n} items, accepted is at least one."
        )
    # Only what is asked for is remembered: a whole corpus would take gigabytes.
    found = set(wanted).intersection(runs(reference))
    return sum(run in found for run in wanted) / len(wanted)
