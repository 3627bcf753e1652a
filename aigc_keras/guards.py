"""Checks that refuse bad input before training starts, and packages that are not there."""

import contextlib

import keras
import numpy as np
import tensorflow as tf


@contextlib.contextmanager
def extra(name):
    """Import in it what only `aigc-keras[name]` installs; an error names it if it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{error.name} is missing: pip install "aigc-keras[{name}]"', name=error.name
        ) from error


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


def check_sizes(**sizes):
    """A ValueError unless all of them are integers >= 1."""
    for name, value in sizes.items():
        check_number(name, value, low=1, integer=True)


def check_widths(name, widths):
    """A ValueError unless `widths` holds integers >= 1."""
    if not isinstance(widths, tuple | list):
        raise ValueError(f"{name}: got {widths!r}, accepted is a tuple of integers >= 1.")
    for i, width in enumerate(widths):
        check_number(f"{name}[{i}]", width, low=1, integer=True)


def check_seed(seed):
    """`seed` if it is None or an integer that a generator of random numbers takes whole."""
    return seed if seed is None else check_number("seed", seed, 0, below=2**32, integer=True)


def check_functional(name, network):
    """A ValueError unless `network` is a Keras model that knows its inputs."""
    if not isinstance(network, keras.Model) or not getattr(network, "inputs", None):
        raise ValueError(
            f"{name}: got {network!r:.80}, accepted is a keras.Model with known inputs: a "
            "Functional one, or a Sequential one that begins with an Input."
        )


def check_own_network(name, network):
    """`check_functional`, of a part of a model that is copied and saved with it."""
    check_functional(name, network)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            try:  # what copies and saved files of it come to
                layer.from_config(layer.get_config())
            except ValueError as error:
                raise ValueError(
                    f"{name}: its layer {layer.name!r} is a Lambda, which Keras does not load: "
                    "accepted is a layer of your own class, registered with "
                    "keras.saving.register_keras_serializable."
                ) from error


def check_network(name, network, takes, gives):
    """A ValueError unless `network` turns tensors of the shapes `takes` into those of `gives`."""
    check_own_network(name, network)
    found = [[tuple(x.shape[1:]) for x in side] for side in (network.inputs, network.outputs)]
    if found != [takes, gives]:
        raise ValueError(
            f"{name}: turns {found[0]} into {found[1]}, accepted is {takes} into {gives}."
        )


def check_choice(name, value, choices):
    """`value` if it is one of `choices`, strings; otherwise a ValueError."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: got {value!r}, accepted are {', '.join(choices)}.")
    return value


def check_images(name, images, image_shape):
    """`images`, unless they are not floats of `image_shape` in [-1, 1].

    Raises:
        ValueError: no array, wrong shape, integer type, NaN, or values outside [-1, 1].
    """
    accepted = f"accepted are floats in [-1, 1] of shape (B, {', '.join(map(str, image_shape))})"
    if not isinstance(images, np.ndarray | tf.Tensor):
        raise ValueError(f"{name}: got a {type(images).__name__}, {accepted}.")
    shape, dtype = tuple(images.shape), tf.as_dtype(images.dtype)
    if len(shape) == 0 or shape[1:] != tuple(image_shape):
        raise ValueError(f"{name}: got shape {shape}, {accepted}.")
    if not dtype.is_floating:
        raise ValueError(f"{name}: got {dtype.name}, {accepted}; try images / 127.5 - 1.")
    if len(images) == 0:
        raise ValueError(f"{name}: got no images at all, {accepted}.")
    low, high = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if np.isnan(low) or np.isnan(high) or low < -1.001 or high > 1.001:
        raise ValueError(f"{name}: got values from {low:g} to {high:g}, {accepted}.")
    return images


def as_images(name, images, image_shape):
    """`check_images` of anything that NumPy can make an array of; float32."""
    try:
        images = np.asarray(images)
    except ValueError:  # rows of different length
        raise ValueError(f"{name}: got rows of different length, accepted is an array.") from None
    return check_images(name, images, image_shape).astype("float32")


def check_shape(name, shape, accepted, rank=None):
    """`shape` as a tuple of integers >= 1, `rank` of them; otherwise a ValueError."""
    try:
        shape = tuple(shape)
        if not shape or rank not in (None, len(shape)):
            raise ValueError
        return tuple(check_number(name, side, low=1, integer=True) for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {shape!r}, accepted is {accepted}.") from None


def check_numbers(name, array, accepted, dtype="float32"):
    """`array` as floats of this `dtype`, all of them finite, otherwise a ValueError."""
    try:
        array = np.asarray(array)
        if array.dtype.kind not in "fiu":
            raise ValueError
        with np.errstate(over="ignore"):  # what is too large becomes infinity
            array = array.astype(dtype, copy=False)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {array!r:.80}, {accepted}.") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: got NaN or infinity, {accepted}.")
    return array


def check_rows(name, rows, shape):
    """`rows` as a float32 array (n, *shape), n >= 1, or a ValueError."""
    accepted = f"accepted are finite numbers of shape (n, {', '.join(map(str, shape))}) with n >= 1"
    rows = check_numbers(name, rows, accepted)
    if rows.shape[1:] != shape or len(rows) == 0:
        raise ValueError(f"{name}: got shape {rows.shape}, {accepted}.")
    return rows


def check_labels(labels, n, num_classes, name="labels", low=0):
    """Labels (n,), int32: of one class, of one class each, or by default of all classes in turn.

    Raises:
        ValueError: they are not integers in [low, num_classes), or not `n`.
    """
    try:
        array = np.arange(n) % num_classes if labels is None else np.asarray(labels)
    except ValueError:  # rows of different length
        array = np.zeros(0)
    if array.ndim == 0:
        array = np.full(n, array)
    good = array.shape == (n,) and np.issubdtype(array.dtype, np.integer)
    if not good or array.min() < low or array.max() >= num_classes:
        raise ValueError(
            f"{name}: got {labels!r}, accepted are {n} integers in [{low}, {num_classes})."
        )
    return array.astype("int32")


def check_conditions(conditions, n, num_classes):
    """What comes with `n` images or latents: nothing or, with `num_classes`, checked labels."""
    if not num_classes:
        if conditions:
            raise ValueError("labels: got some, accepted are none by a model without classes.")
        return ()
    if len(conditions) != 1 or conditions[0] is None:
        raise ValueError(f"labels: got none, accepted are {n} integers in [0, {num_classes}).")
    return (check_labels(*conditions, n, num_classes),)


# --- what Keras is set to, and what `fit`, `evaluate` and `compile` are given ---


def check_settings():
    """A ValueError unless Keras is set to what the models are written for."""
    found = {
        "image_data_format": (keras.config.image_data_format(), "channels_last"),
        "floatx": (keras.config.floatx(), "float32"),
        "dtype_policy": (keras.config.dtype_policy().variable_dtype, "float32"),
    }
    for name, (value, accepted) in found.items():
        if value != accepted:
            half = " or mixed_float16 or mixed_bfloat16" if name == "dtype_policy" else ""
            raise ValueError(
                f"{name}: Keras is set to {value!r}, accepted is {accepted!r}{half}: call "
                f"keras.config.set_{name}({accepted!r}), or see ~/.keras/keras.json."
            )


def parts_of(batch, name="x"):
    """What is in a batch, in any form that Keras takes or gives: a tuple (x,) or (x, y).

    Raises:
        ValueError: there are sample weights, or more than Keras knows of.
    """
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"{name}: got {len(parts)} parts, accepted are x, (x,) or (x, y).")
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(parts)
    if sample_weight is not None:
        raise ValueError(f"sample_weight: got one with {name}, accepted is None: all count alike.")
    if y is None and isinstance(x, tuple | list):
        return parts_of(x, name)
    return (x,) if y is None else (x, y)


def check_run(check, accepted, given):
    """Refuse bad arguments of `fit` or `evaluate` before the first step.

    Args:
        check: function (name, parts) that refuses a batch: a tuple of images or more.
        accepted: what the data may be, in words.
        given: dict of the arguments of `fit` or `evaluate`.

    Of a `tf.data.Dataset` or `PyDataset` one batch is looked at. A Python generator cannot be
    looked at without using it up: it passes.
    """
    counts = ("batch_size", "validation_batch_size", "steps_per_epoch", "validation_steps", "steps")
    for name in counts:
        if given.get(name) is not None:
            check_number(name, given[name], low=1, integer=True)
    check_number("epochs", given.get("epochs", 1), low=0, integer=True)
    check_number("initial_epoch", given.get("initial_epoch", 0), low=0, integer=True)
    check_number("validation_split", given.get("validation_split", 0), low=0, below=1)
    for name in ("sample_weight", "class_weight"):
        if given.get(name) is not None:
            raise ValueError(f"{name}: got {given[name]!r:.80}, accepted is None: all count alike.")
    steps = given.get("steps_per_epoch") or given.get("steps")
    _check_source(check, accepted, "x", given.get("x"), given.get("y"), steps)
    if given.get("validation_data") is not None:
        parts = parts_of(given["validation_data"], "validation_data")
        steps = given.get("validation_steps")
        _check_source(check, accepted, "validation_data", *parts, steps=steps)


def _check_source(check, accepted, name, x, y=None, steps=None):
    if x is None or isinstance(x, str | bytes | complex | int | float | dict | list | tuple | set):
        raise ValueError(f"{name}: got a {type(x).__name__}, {accepted}")
    if isinstance(y, str | bytes | int | float | dict | list | tuple):
        raise ValueError(f"y: got a {type(y).__name__}, accepted is an array.")
    if hasattr(x, "shape"):  # an array of any kind, as Keras takes
        check(name, parts_of((x, y), name))
        return
    if y is not None:
        raise ValueError(
            f"y: got a {type(y).__name__}, accepted is None with a {type(x).__name__}, which "
            "brings its labels."
        )
    if isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
        if isinstance(x, tf.data.Dataset):
            endless = x.cardinality() == tf.data.INFINITE_CARDINALITY
            batch = next(iter(x.take(1)), None)
        else:
            endless = x.num_batches is None
            batch = None if x.num_batches == 0 else x[0]
            if isinstance(batch, tuple | list) and any(part is None for part in batch):
                raise ValueError(
                    f"{name}: got None in a batch of a PyDataset, which Keras cannot read, "
                    "accepted is a batch without it: x, (x,) or (x, y)."
                )
        if endless and steps is None:
            raise ValueError(
                f"{name}: got a dataset without an end, accepted is one with steps_per_epoch (or "
                "validation_steps, or steps)."
            )
        if batch is None:
            raise ValueError(f"{name}: got an empty dataset, accepted is at least one batch.")
        check(name, parts_of(batch, name))


def check_compile(jit_compile=False, run_eagerly=False, steps_per_execution=1, **kwargs):
    """Refuse what `compile` would not use: the models bring their own objective and numbers."""
    for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
        if kwargs.get(name) is not None:
            raise ValueError(
                f"{name}: got {kwargs[name]!r:.80}, accepted is None: the model brings its own."
            )
    # A loss as the second argument, as with Keras, would else be taken for a yes.
    if not isinstance(jit_compile, bool) and jit_compile != "auto":
        raise ValueError(
            f"jit_compile: got {jit_compile!r:.80}, accepted are True, False and 'auto'."
        )
    if not isinstance(run_eagerly, bool):
        raise ValueError(f"run_eagerly: got {run_eagerly!r:.80}, accepted are True and False.")
    check_number("steps_per_execution", steps_per_execution, low=1, integer=True)


def check_optimizer(name, optimizer):
    """The optimizer that was given, or the one of that name; otherwise a ValueError."""
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{name}: got {optimizer!r:.80}, accepted is a keras.optimizers.Optimizer or its name."
        ) from error


def check_metrics(metrics):
    """The metrics as a list, empty for None: of `aigc_keras.metrics`, or a ValueError."""
    metrics = [] if metrics is None else metrics
    good = isinstance(metrics, list | tuple)
    if not good or not all(isinstance(x, keras.metrics.Metric) for x in metrics):
        raise ValueError(
            f"metrics: got {metrics!r:.80}, accepted is a list of metrics of aigc_keras.metrics."
        )
    return list(metrics)
