"""Numbers for two sets of features: distances, precision and recall, neighbours, modes."""

import math
import warnings

import numpy as np

from aigc_keras.guards import check_number, check_numbers, check_seed

_BLOCK = 2**22  # entries of a block of distances: 32 MiB, whatever the number of samples


def _check_rows(name, array, at_least=1):
    """`array` as finite float64 of shape (N, D) with N >= at_least."""
    accepted = f"accepted are finite numbers of shape (N, D) with N >= {at_least} and D >= 1"
    rows = check_numbers(name, array, accepted, "float64")
    if rows.ndim != 2 or len(rows) < at_least or rows.shape[1] < 1:
        raise ValueError(f"{name}: got shape {rows.shape}, {accepted}.")
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


def warn_if_few(n_real, n_fake, dim):
    if min(n_real, n_fake) <= dim:
        warnings.warn(
            f"Frechet distance from N = {n_real} real and N = {n_fake} fake samples with D = {dim} "
            "features: covariances are singular for N <= D, and the distance is much too large.",
            stacklevel=3,
        )


def frechet_distance(real_features, fake_features):
    """Frechet distance between Gaussians fitted to features (N, D) and (M, D): FID, a float >= 0.

    Computed in float64 with the unbiased covariances. The estimate is biased upwards by about 1/N,
    so compare only at equal N. For N <= D a covariance is singular; this is where the authors'
    own code stops being reliable, and where this function warns. Ten times D is a good N.

    Raises ValueError for another rank, fewer than two rows, different D, NaN.
    Source: Heusel et al. 2017, eq. 6.
    """
    real, fake = _check_pair("real_features", real_features, "fake_features", fake_features, 2)
    warn_if_few(len(real), len(fake), real.shape[1])
    return frechet_distance_from_moments(*_moments(real), *_moments(fake))


def _moments(rows):
    mean = rows.mean(axis=0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


def frechet_distance_from_moments(mean1, cov1, mean2, cov2):
    """|mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), Heusel et al. 2017, eq. 6.

    mean1, mean2: (D,). cov1, cov2: (D, D), symmetric and positive semi-definite. A float >= 0.

    Raises ValueError for other shapes, NaN, a covariance that is not symmetric.
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

    real_features, fake_features: (N, D) and (M, D), at least four rows each. n_subsets and
    subset_size (rows): integers >= 2. Returns (mean, standard error). The mean may be slightly
    negative where the sets agree. Subsets overlap: with f = subset size / N, their variance s^2
    times (f / (1 - f) + 1 / n_subsets) is the squared error; s^2 / n_subsets would be too small.

    Raises ValueError for another rank, fewer than four rows, different D, NaN, a bad number.
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

    probabilities: (N, C) of generated images; rows sum to one. n_splits: consecutive parts that are
    scored one by one, at most N. Returns (mean, standard deviation) over the parts.

    Raises ValueError for another rank, NaN, rows that are no probabilities, more parts than rows.
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

    real_features, fake_features: (N, D) and (M, D). k: neighbours, from 1 to min(N, M) - 1.
    Returns (precision, recall), each in [0, 1].

    Raises ValueError for another rank, no rows, different D, NaN, k out of range.
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

    query, reference: (N, D) and (M, D); features, or images reshaped to (N, -1). k: from 1 to M.
    Returns (Euclidean distances, indices), both (N, k), nearest first.

    Raises ValueError for another rank, no rows, different D, NaN, k out of range.
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

    points: (N, d). centers: (K, d). std: standard deviation of each mode, > 0.
    Returns (modes found, from 0 to K; share of high-quality points, from 0 to 1).

    Raises ValueError for another rank, no rows, different d, NaN, a bad number.
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

    metric: function of (real_features, fake_features) that returns a number. real_features,
    fake_features: (N, D) and (M, D), at least four rows each. n_resamples: halves, an integer >= 2;
    the error itself is known to about 1 / sqrt(2 n). Returns (value, standard error), floats.

    Raises ValueError for another rank, fewer than four rows, different D, NaN, a bad number.
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
