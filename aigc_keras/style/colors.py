"""Colours as a mean and a covariance: measured, compared, and given to another picture."""

import numpy as np
import tensorflow as tf
from keras import ops

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)


def luminance(image):
    return np.asarray(image, "float32") @ np.array(LUMINANCE, "float32")[:, None]


def matched_luminance(style, content):
    """The style's luminance with the content's mean and deviation (arXiv:1606.05897, section 4)."""
    ours, theirs = luminance(style), luminance(content)
    return theirs.std() / max(ours.std(), 1e-3) * (ours - ours.mean()) + theirs.mean()


def color_statistics(images):
    """Mean (B, 3) and covariance (B, 3, 3) of the pixels of images (B, H, W, 3)."""
    shape = ops.shape(images)
    pixels = ops.reshape(ops.cast(images, "float32"), (shape[0], shape[1] * shape[2], 3))
    mean = ops.mean(pixels, axis=1)
    centred = pixels - mean[:, None]
    covariance = tf.matmul(centred, centred, transpose_a=True)
    return mean, covariance / ops.cast(shape[1] * shape[2], "float32")


def mixed_colors(images, shares):
    """Colour statistics, each with B = 1, of all pixels of the `images` (H, W, 3) together."""
    means, covariances = zip(*(color_statistics(image[None]) for image in images), strict=True)
    mean = sum(share * m for share, m in zip(shares, means, strict=True))
    covariance = sum(
        share * (c + (m - mean)[:, :, None] * (m - mean)[:, None])
        for share, m, c in zip(shares, means, covariances, strict=True)
    )
    return mean, covariance


def match_colors(images, mean, covariance):
    """Images (B, H, W, 3) in [-1, 1], given this mean and covariance of their pixels, clipped.

    `mean` (B or 1, 3), `covariance` (B or 1, 3, 3). Gatys et al. 2016 (arXiv:1606.05897), eq. 3,
    with symmetric roots (section 3.1).
    """
    images = ops.cast(images, "float32")
    own_mean, own_covariance = color_statistics(images)
    transform = _root(covariance, 0.5) @ _root(own_covariance, -0.5)
    matched = tf.einsum("bhwi,bji->bhwj", images - own_mean[:, None, None], transform)
    return ops.clip(matched + mean[:, None, None], -1.0, 1.0)


def color_error(images, mean, covariance):
    """KL divergence of the colours of images (B, H, W, 3) from a mean and covariance, averaged.

    Of two Gaussians with these moments, both with a variance of 1e-3 more, in nats. Counts in the
    colours' own deviations: a green tint on a blue and white print costs, though it is faint.
    """
    own_mean, own_covariance = color_statistics(images)
    own_covariance, covariance = (c + 1e-3 * ops.eye(3) for c in (own_covariance, covariance))
    whiten = _root(covariance, -0.5)
    shift = tf.linalg.matvec(whiten, own_mean - mean)
    spread = whiten @ own_covariance @ whiten
    divergence = ops.sum(ops.square(shift), axis=-1) + tf.linalg.trace(spread) - 3.0
    return 0.5 * ops.mean(divergence - tf.linalg.logdet(spread))


def _eigen(matrices):
    """Eigenvalues (B, 3) and eigenvectors (B, 3, 3), as columns, of symmetric matrices (B, 3, 3).

    Jacobi 1846: each rotation turns a pair of numbers beside the diagonal to zero; three times
    round all pairs is enough for float32. tf.linalg.eigh cannot be exported to ONNX.
    """
    unit = np.eye(3, dtype="float32")
    vectors = ops.zeros_like(matrices) + unit
    for p, q in 3 * [(0, 1), (0, 2), (1, 2)]:
        twice, difference = 2.0 * matrices[:, p, q], matrices[:, q, q] - matrices[:, p, p]
        size = ops.abs(difference) + ops.sqrt(difference**2 + twice**2) + 1e-30
        tangent = ops.where(difference < 0, -twice, twice) / size
        cosine = 1.0 / ops.sqrt(1.0 + tangent**2)
        across = np.outer(unit[p], unit[q]) - np.outer(unit[q], unit[p])
        rotation = unit + (cosine - 1.0)[:, None, None] * np.diag(unit[p] + unit[q])
        rotation += (tangent * cosine)[:, None, None] * across
        matrices = tf.matmul(rotation, matrices @ rotation, transpose_a=True)
        vectors = vectors @ rotation
    return tf.linalg.diag_part(matrices), vectors


def _root(covariance, power):
    values, vectors = _eigen(covariance)
    # A grey image has no colour to stretch: below 1e-4 it stays as small as it is.
    values = tf.maximum(values, 1e-4) ** power
    return tf.matmul(vectors * values[..., None, :], vectors, transpose_b=True)
