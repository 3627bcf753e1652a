"""Functions of features: distances, precision and recall, neighbours, modes, errors."""

import functools
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.linalg
import sklearn.metrics.pairwise
import sklearn.neighbors

from aigc_keras import metrics
from aigc_keras.metrics.distances import _polynomial_mmd


def random_covariance(rng, dim):
    root = rng.standard_normal((dim, dim))
    return root @ root.T / dim


# Frechet distance -----------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 7, 40])
def test_frechet_distance_agrees_with_scipy(dim):
    rng = np.random.default_rng(dim)
    mean1, mean2 = rng.standard_normal((2, dim))
    cov1, cov2 = random_covariance(rng, dim), random_covariance(rng, dim)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = ((mean1 - mean2) ** 2).sum() + np.trace(cov1 + cov2 - 2 * root)
    got = metrics.frechet_distance_from_moments(mean1, cov1, mean2, cov2)
    # scipy's general square root is the less accurate of the two near singular products
    assert got == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_closed_form_for_commuting_covariances():
    rng = np.random.default_rng(1)
    mean1, mean2 = rng.standard_normal((2, 6))
    variances1, variances2 = rng.uniform(0.1, 3, (2, 6))
    expected = ((mean1 - mean2) ** 2).sum() + ((variances1**0.5 - variances2**0.5) ** 2).sum()
    axes = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    for basis in (np.eye(6), axes):
        cov1, cov2 = (basis * variances1) @ basis.T, (basis * variances2) @ basis.T
        got = metrics.frechet_distance_from_moments(mean1, cov1, mean2, cov2)
        assert got == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_of_samples_converges_to_the_closed_form():
    rng = np.random.default_rng(2)
    mean, scale = np.array([0.5, 0.0, -0.3, 0.1]), np.array([1.0, 0.5, 2.0, 1.5])
    expected = (mean**2).sum() + ((scale - 1) ** 2).sum()
    gaps = []
    for n in (100, 40_000):
        real, fake = rng.standard_normal((2, n, 4))
        value, error = metrics.bootstrap(metrics.frechet_distance, real, mean + scale * fake)
        assert abs(value - expected) < 4 * error
        gaps.append(error)
    assert gaps[1] < gaps[0] / 10  # 400 times the samples: a twentieth of the error


def test_frechet_distance_is_biased_upwards_by_one_over_n():
    rng = np.random.default_rng(3)
    means = [
        np.mean([metrics.frechet_distance(*rng.standard_normal((2, n, 4))) for _ in range(200)])
        for n in (100, 400)
    ]
    assert means[0] / means[1] == pytest.approx(4, rel=0.2)


def test_frechet_distance_is_symmetric_and_zero_for_equal_sets():
    rng = np.random.default_rng(4)
    real, fake = rng.standard_normal((200, 5)), 2 + rng.standard_normal((300, 5)) * [1, 2, 3, 0, 1]
    forth, back = metrics.frechet_distance(real, fake), metrics.frechet_distance(fake, real)
    assert forth == pytest.approx(back, rel=1e-8)  # one feature is constant: root of rounding
    assert 0 <= metrics.frechet_distance(real, real) < 1e-10
    assert 0 <= metrics.frechet_distance(fake + 1e4, fake + 1e4) < 1e-5


def test_frechet_distance_of_few_samples_is_finite_and_warns():
    real, fake = np.random.default_rng(5).standard_normal((2, 5, 20))
    with pytest.warns(UserWarning, match="N = 5 real and N = 5 fake samples with D = 20"):
        value = metrics.frechet_distance(real, fake)
    root = scipy.linalg.svdvals((real - real.mean(0)) @ (fake - fake.mean(0)).T).sum() / 4
    cov1, cov2 = np.cov(real.T), np.cov(fake.T)
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(cov1 + cov2) - 2 * root
    assert value == pytest.approx(expected, rel=1e-6)
    with pytest.warns(UserWarning):
        assert metrics.frechet_distance(real[:2], real[:2]) < 1e-6


def test_frechet_distance_of_enough_samples_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet_distance(*np.random.default_rng(6).standard_normal((2, 21, 20)))


# An independent package -----------------------------------------------------------------------


def fidelity_data():
    rng = np.random.default_rng(7)
    real = rng.standard_normal((600, 16))
    fake = 0.2 + 0.9 * rng.standard_normal((500, 16)) @ (np.eye(16) + 0.05)
    return real, fake


def test_against_torch_fidelity():
    # torch-fidelity 0.4.0 with torch 2.13.0; r, f are torch.from_numpy of fidelity_data():
    #   fid_statistics_to_metric(*map(fid_features_to_statistics, (r, f)), False)
    #   kernel_mmd(real[:500], fake)
    #   prc_features_to_metric(f, r, prc_neighborhood=3, prc_batch_size=10000, save_cpu_ram=False)
    #   isc_features_to_metric(r * 2, splits=10, shuffle=False)
    real, fake = fidelity_data()
    assert metrics.frechet_distance(real, fake) == pytest.approx(1.5072502100404641, rel=1e-9)
    golden = 0.2332007938480305
    assert _polynomial_mmd(real[:500], fake) == pytest.approx(golden, rel=1e-9)
    precision, recall = metrics.precision_recall(real, fake, k=3)
    assert precision == pytest.approx(0.7699999809265137, abs=1e-6)
    assert recall == pytest.approx(0.6449999809265137, abs=1e-6)
    mean, sd = metrics.inception_score(scipy.special.softmax(2 * real, axis=1))
    assert mean == pytest.approx(2.9846792300905762, rel=1e-9)
    assert sd == pytest.approx(0.12834782653688745, rel=1e-9)


def test_kernel_distance_by_subsets_agrees_with_torch_fidelity():
    # kid_features_to_metric(f, r, kid_subsets=2000, kid_subset_size=250) of the same data
    mean, error = metrics.kernel_distance(*fidelity_data(), n_subsets=100, subset_size=250)
    sd = 0.03887883846059715
    assert mean == pytest.approx(0.22574078675716042, abs=4 * sd / 100**0.5)
    assert error == pytest.approx(sd * (1 + 1 / 100) ** 0.5, rel=0.25)


# Kernel distance ------------------------------------------------------------------------------


def test_polynomial_mmd_equals_a_double_loop_and_sklearn():
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((7, 3)), 0.5 + rng.standard_normal((9, 3))

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    xx = [kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j]
    yy = [kernel(y[i], y[j]) for i in range(9) for j in range(9) if i != j]
    xy = [kernel(a, b) for a in x for b in y]
    loop = np.mean(xx) + np.mean(yy) - 2 * np.mean(xy)
    assert _polynomial_mmd(x, y) == pytest.approx(loop, rel=1e-12)
    kernel = functools.partial(sklearn.metrics.pairwise.polynomial_kernel, degree=3, coef0=1)
    off = ~np.eye(9, dtype=bool)
    expected = kernel(x)[off[:7, :7]].mean() + kernel(y)[off].mean() - 2 * kernel(x, y).mean()
    assert _polynomial_mmd(x, y) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(9)
    values = [_polynomial_mmd(*rng.standard_normal((2, 5, 4))) for _ in range(4000)]
    error = np.std(values) / 4000**0.5
    assert abs(np.mean(values)) < 3.5 * error
    assert error < 0.05  # a biased estimate (self-pairs kept) would be off by far more:
    assert np.mean([(1 + (x**2).sum() / 4) ** 3 for x in rng.standard_normal((500, 4))]) / 5 > 1


def test_kernel_distance_error_is_the_spread_between_data_sets():
    rng = np.random.default_rng(10)
    results = [
        metrics.kernel_distance(
            rng.standard_normal((300, 4)), 0.5 + rng.standard_normal((300, 4)), 20, 60
        )
        for _ in range(150)
    ]
    means, errors = np.array(results).T
    assert errors.mean() == pytest.approx(means.std(), rel=0.25)


def test_kernel_distance_of_few_samples():
    x, y = np.random.default_rng(11).standard_normal((2, 4, 30))
    assert np.isfinite(metrics.kernel_distance(x, y)).all()
    assert metrics.kernel_distance(x, y, seed=1) == metrics.kernel_distance(x, y, seed=1)


# Inception score ------------------------------------------------------------------------------


def test_inception_score_limits():
    constant = np.tile([0.7, 0.2, 0.1], (60, 1))
    assert metrics.inception_score(constant) == pytest.approx((1, 0), abs=1e-12)
    one_hot = np.eye(5)[np.arange(100) % 5]
    assert metrics.inception_score(one_hot) == pytest.approx((5, 0), abs=1e-12)
    assert metrics.inception_score(np.eye(5)[[2] * 20])[0] == pytest.approx(1)  # collapsed
    two_of_five = np.eye(5)[np.arange(100) % 2]
    assert metrics.inception_score(two_of_five)[0] == pytest.approx(2)


def test_inception_score_is_the_mutual_information():
    p = np.random.default_rng(12).dirichlet([0.3] * 6, 400)
    information = scipy.stats.entropy(p.mean(axis=0)) - scipy.stats.entropy(p, axis=1).mean()
    assert metrics.inception_score(p, n_splits=1)[0] == pytest.approx(np.exp(information))


# Precision and recall -------------------------------------------------------------------------


def brute_precision_recall(real, fake, k):
    def share_inside(points, centres):
        neighbours = sklearn.neighbors.NearestNeighbors(n_neighbors=k + 1).fit(centres)
        radii = neighbours.kneighbors(centres)[0][:, -1]
        return np.mean([(np.linalg.norm(centres - p, axis=1) <= radii).any() for p in points])

    return share_inside(fake, real), share_inside(real, fake)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_precision_recall_agrees_with_sklearn(k, monkeypatch):
    rng = np.random.default_rng(13)
    real, fake = 5 + rng.standard_normal((200, 3)), 5.7 + 0.8 * rng.standard_normal((150, 3))
    expected = brute_precision_recall(real, fake, k)
    assert 0 < expected[1] < expected[0]
    assert metrics.precision_recall(real, fake, k) == pytest.approx(expected)
    monkeypatch.setattr("aigc_keras.metrics.distances._BLOCK", 1000)  # many short blocks
    assert metrics.precision_recall(real, fake, k) == pytest.approx(expected)


def test_precision_recall_limits():
    rng = np.random.default_rng(14)
    real = rng.standard_normal((100, 4))
    doubled = np.concatenate([real, real, real, real])  # every radius is zero
    assert metrics.precision_recall(real, real) == (1, 1)
    assert metrics.precision_recall(1e3 + doubled, 1e3 + real) == (1, 1)
    assert metrics.precision_recall(real, real + 100) == (0, 0)


def test_a_dropped_mode_lowers_recall_only():
    rng = np.random.default_rng(15)
    centers = np.repeat([[0.0, 0.0], [10.0, 0.0]], 250, axis=0)
    real, fake = centers + rng.standard_normal((2, 500, 2))
    both = metrics.precision_recall(real, fake)
    one = metrics.precision_recall(real, rng.standard_normal((500, 2)))
    assert min(both) > 0.85
    assert one[0] > 0.85 and one[1] == pytest.approx(0.5, abs=0.06)


def test_memory_stays_bounded(monkeypatch):
    monkeypatch.setattr("aigc_keras.metrics.distances._BLOCK", 2**16)  # half a MiB
    real, fake = np.random.default_rng(16).standard_normal((2, 2000, 2))
    tracemalloc.start()
    try:
        metrics.precision_recall(real, fake)
        metrics.nearest_neighbours(real, fake, 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20  # one full matrix of distances has 30 MiB


# Neighbours, modes, bootstrap -----------------------------------------------------------------


def test_nearest_neighbours_agree_with_sklearn(monkeypatch):
    monkeypatch.setattr("aigc_keras.metrics.distances._BLOCK", 700)
    rng = np.random.default_rng(17)
    reference, query = rng.standard_normal((120, 5)), rng.standard_normal((40, 5))
    distances, indices = metrics.nearest_neighbours(query, reference, k=4)
    search = sklearn.neighbors.NearestNeighbors(n_neighbors=4, algorithm="brute").fit(reference)
    expected_distances, expected_indices = search.kneighbors(query)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-9)
    np.testing.assert_array_equal(indices, expected_indices)


def test_nearest_neighbours_find_copies_exactly():
    reference = 1e3 + np.random.default_rng(18).standard_normal((50, 6)).astype("float32")
    order = np.random.default_rng(19).permutation(50)
    distances, indices = metrics.nearest_neighbours(reference[order], reference)
    assert (distances == 0).all() and (indices[:, 0] == order).all()


def ring(counts, std=0.05, seed=20):
    angle = 2 * np.pi * np.arange(8) / 8
    centers = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.repeat(centers, counts, axis=0)
    return points + std * np.random.default_rng(seed).standard_normal(points.shape), centers


def test_count_modes_of_the_true_ring():
    points, centers = ring([5000] * 8)
    modes, share = metrics.count_modes(points, centers, 0.05)
    assert modes == 8
    assert share == pytest.approx(1 - np.exp(-4.5), abs=0.002)  # Rayleigh within 3 sd


def test_count_modes_of_a_collapsed_generator():
    points, centers = ring([900, 900, 0, 0, 0, 0, 0, 0])
    assert metrics.count_modes(points, centers, 0.05)[0] == 2
    # A tenth of the fair share of 1,000 points is 12.5.
    for stray, expected in ((12, 1), (30, 2)):
        points, centers = ring([1000 - stray, 0, 0, stray, 0, 0, 0, 0])
        assert metrics.count_modes(points, centers, 0.05)[0] == expected
    between = np.zeros((50, 2))  # nowhere near a mode
    assert metrics.count_modes(between, centers, 0.05) == (0, 0.0)
    assert metrics.count_modes(centers[3:4], centers, 0.05, min_fraction=0) == (1, 1.0)


def test_bootstrap_error_of_a_mean_is_the_textbook_one():
    rng = np.random.default_rng(21)
    real, fake = rng.standard_normal((400, 1)), 2 * rng.standard_normal((100, 1))

    def difference(a, b):
        return (a.mean() - b.mean()).item()

    value, error = metrics.bootstrap(difference, real, fake, n_resamples=1000)
    assert value == difference(real, fake)
    expected = (real.var(ddof=1) / 400 + fake.var(ddof=1) / 100) ** 0.5
    assert error == pytest.approx(expected, rel=0.1)
    assert metrics.bootstrap(difference, real, fake) == metrics.bootstrap(difference, real, fake)


def test_bootstrap_error_of_the_frechet_distance_is_the_spread_between_data_sets():
    rng = np.random.default_rng(22)
    results = [
        metrics.bootstrap(
            metrics.frechet_distance,
            rng.standard_normal((200, 3)),
            0.5 + rng.standard_normal((200, 3)),
        )
        for _ in range(100)
    ]
    values, errors = np.array(results).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.25)


# Refusals -------------------------------------------------------------------------------------

GOOD = np.random.default_rng(23).standard_normal((6, 3))
BAD_NUMBER = np.where(np.arange(18).reshape(6, 3) == 4, np.nan, GOOD)
PAIRED = [
    metrics.frechet_distance,
    metrics.kernel_distance,
    metrics.precision_recall,
    functools.partial(metrics.bootstrap, lambda a, b: 0.0),
]


@pytest.mark.parametrize("function", PAIRED)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD[:, 0], r"shape \(6,\)"),
        (GOOD[:0], r"shape \(0, 3\)"),
        (GOOD[:1], "(shape|k: got 3)"),
        (BAD_NUMBER, "got NaN or infinity, accepted are finite numbers of shape"),
        (GOOD.astype(str), "accepted are finite numbers"),
    ],
)
def test_bad_features_are_refused_by_name(function, bad, message):
    with pytest.raises(ValueError, match=message):
        function(bad, GOOD)
    with pytest.raises(ValueError, match=message):
        function(GOOD, bad)


@pytest.mark.parametrize("function", PAIRED)
def test_different_dimensions_are_refused(function):
    with pytest.raises(ValueError, match="fake_features: got D = 2, accepted is the D = 3"):
        function(GOOD, GOOD[:, :2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.precision_recall(GOOD, GOOD, k=6), "k: got 6"),
        (lambda: metrics.precision_recall(GOOD, GOOD, k=-1), "k: got -1"),
        (lambda: metrics.nearest_neighbours(GOOD, GOOD, k=7), "k: got 7"),
        (lambda: metrics.nearest_neighbours(GOOD, GOOD[0]), "reference: got shape"),
        (lambda: metrics.kernel_distance(GOOD, GOOD, n_subsets=1), "n_subsets: got 1"),
        (lambda: metrics.kernel_distance(GOOD, GOOD, subset_size=1.5), "subset_size: got 1.5"),
        (lambda: metrics.inception_score(np.eye(3), n_splits=4), "n_splits: got 4"),
        (lambda: metrics.inception_score(np.ones((20, 3))), "rows with sums from 3"),
        (lambda: metrics.inception_score([[1.5, -0.5]], 1), "values from -0.5"),
        (lambda: metrics.count_modes(GOOD, GOOD, std=0.0), "std: got 0.0"),
        (lambda: metrics.count_modes(GOOD[:, :2], GOOD, 0.1), "points: got D = 2"),
        (lambda: metrics.bootstrap(lambda a, b: 0.0, GOOD, GOOD, 1), "n_resamples: got 1"),
        (
            lambda: metrics.frechet_distance_from_moments([0, 0], np.eye(3), [0, 0], np.eye(2)),
            r"cov1: got shape \(3, 3\)",
        ),
        (
            lambda: metrics.frechet_distance_from_moments(
                [0, 0], np.eye(2), [0, 0], [[1.0, 0.5], [0.0, 1.0]]
            ),
            r"cov2: .* symmetric \(2, 2\)",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
