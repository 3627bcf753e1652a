"""Checks that refuse bad input before training starts."""

import keras
import numpy as np
import tensorflow as tf


def check_number(name, value, low, below=float("inf"), integer=False):
    """`value` as int or float if low <= value < below, otherwise a ValueError that names it."""
    kind = (int, np.integer) if integer else (int, float, np.integer, np.floating)
    good = isinstance(value, kind) and not isinstance(value, bool)
    if not good or not low <= value < below:
        accepted = f"{'an integer' if integer else 'a number'} >= {low}"
        accepted += "" if np.isinf(below) else f" and < {below}"
        raise ValueError(f"{name}: got {value!r}, accepted is {accepted}.")
    # NumPy's numbers cannot be written into a saved model's configuration.
    return value.item() if isinstance(value, np.generic) else value


def check_choice(name, value, choices):
    """`value` if it is one of `choices`, otherwise a ValueError that names the argument."""
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, accepted are {', '.join(choices)}.")
    return value


def check_images(name, images, image_shape):
    """`images`, unless they are not floats of `image_shape` in [-1, 1].

    Raises:
        ValueError: wrong shape, integer type, NaN, or values outside [-1, 1].
    """
    accepted = f"accepted are floats in [-1, 1] of shape (B, {', '.join(map(str, image_shape))})"
    shape, dtype = tuple(images.shape), tf.as_dtype(images.dtype)
    if shape[1:] != tuple(image_shape):
        raise ValueError(f"{name}: got shape {shape}, {accepted}.")
    if not dtype.is_floating:
        raise ValueError(f"{name}: got {dtype.name}, {accepted}; try images / 127.5 - 1.")
    if isinstance(images, tf.TensorSpec):
        return images
    if len(images) == 0:
        raise ValueError(f"{name}: got no images at all, {accepted}.")
    low, high = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if np.isnan(low) or np.isnan(high) or low < -1.001 or high > 1.001:
        raise ValueError(f"{name}: got values from {low:g} to {high:g}, {accepted}.")
    return images


def check_latents(latents, latent_dim):
    """`latents` as a float32 array (n, latent_dim), or a ValueError."""
    latents = np.asarray(latents, "float32")
    if latents.shape[1:] != (latent_dim,):
        raise ValueError(f"latents: got shape {latents.shape}, accepted is (n, {latent_dim}).")
    return latents


def check_labels(labels, n, num_classes):
    """Labels (n,), int32: of one class, of one class each, or by default of all classes in turn.

    Raises:
        ValueError: they are not integers in [0, num_classes), or not `n`.
    """
    labels = np.arange(n) % num_classes if labels is None else np.asarray(labels)
    if labels.ndim == 0:
        labels = np.full(n, labels)
    good = labels.shape == (n,) and np.issubdtype(labels.dtype, np.integer)
    if not good or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels: got {labels!r}, accepted are {n} integers in [0, {num_classes})."
        )
    return labels.astype("int32")


def check_data(data, image_shape, num_classes=None):
    """Refuse training data before the first step; of a `tf.data.Dataset`, look at one batch.

    `data` holds images, or with `num_classes` (images, labels). A Python generator cannot be looked
    at without using it up: it passes.
    """
    if isinstance(data, tf.data.Dataset):
        _check_parts(data.element_spec, image_shape, num_classes)
        batch = next(iter(data.take(1)), None)
        if batch is None:
            raise ValueError("x: got an empty dataset, accepted is at least one batch.")
        _check_parts(batch, image_shape, num_classes)
    elif isinstance(data, keras.utils.PyDataset):
        _check_parts(data[0], image_shape, num_classes)
    elif isinstance(data, np.ndarray | tf.Tensor | tuple | list):
        _check_parts(data, image_shape, num_classes)


def _check_parts(batch, image_shape, num_classes):
    parts = batch if isinstance(batch, tuple | list) else (batch,)
    if num_classes and len(parts) < 2:
        raise ValueError("x: got images only, accepted are (images, labels): load(labels=True).")
    check_images("x", parts[0], image_shape)
    if num_classes and not isinstance(parts[1], tf.TensorSpec):
        check_labels(np.asarray(parts[1]), len(parts[0]), num_classes)
