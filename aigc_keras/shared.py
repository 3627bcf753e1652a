"""What every model of the library does alike; functions, so that no model needs a common parent."""

import copy

import keras
import numpy as np
import tensorflow as tf

from aigc_keras.callbacks import NaNGuard
from aigc_keras.guards import check_number


def join(inputs, conditions):
    """The inputs of a network: a tensor, or a list where there are conditions such as labels."""
    return [inputs, *conditions] if conditions else inputs


def guarded(x, callbacks, shuffle):
    """Arguments of `keras.Model.fit` that stop a run whose loss turns NaN."""
    if shuffle is None:
        shuffle = not isinstance(x, tf.data.Dataset)  # Keras warns: a dataset shuffles itself
    return {"callbacks": [NaNGuard(), *(callbacks or [])], "shuffle": shuffle}


def in_batches(function, inputs, conditions=(), batch_size=256):
    """`function(join(inputs, conditions))` as NumPy arrays, at most `batch_size` rows at a time."""
    check_number("batch_size", batch_size, low=1, integer=True)
    if len(inputs) == 0:
        raise ValueError("got an empty array, accepted is at least one row.")
    parts = []
    for i in range(0, len(inputs), batch_size):
        first, *others = (x[i : i + batch_size] for x in (inputs, *conditions))
        parts.append(tf.nest.map_structure(lambda x: x.numpy(), function(join(first, others))))
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def compiled(network, function):
    """`function` of the inputs of `network` as one graph, for batches of any size."""
    first, *others = (tf.TensorSpec(x.shape, x.dtype) for x in network.inputs)
    return tf.function(function, input_signature=[join(first, others)])


def _seed_states(model):
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def save_seed_states(model, store):
    """For `save_own_variables`: Keras saves weights, but not where the random numbers stand."""
    for i, state in enumerate(_seed_states(model)):
        store[f"seed {i}"] = state.numpy()


def load_seed_states(model, store):
    """For `load_own_variables`: what `save_seed_states` saved."""
    for i, state in enumerate(_seed_states(model)):
        state.assign(store[f"seed {i}"])


def update_average(average, network, momentum, step):
    """Move the weights of `average` towards those of `network`, faster in the first steps."""
    step = keras.ops.cast(step, "float32")
    momentum = keras.ops.minimum(momentum, step / (step + 10.0))
    for mean, weight in zip(average.weights, network.weights, strict=True):
        mean.assign(weight + momentum * (mean - weight))


def restored(config, *networks):
    """For `from_config`: the configuration with its networks made into models again."""
    # Keras takes the configuration apart that it reads.
    return config | {
        k: keras.saving.deserialize_keras_object(copy.deepcopy(config[k])) for k in networks
    }


def compile_config(model, **more):
    """For `get_compile_config`: what to pass to `compile` once the model is loaded again."""
    if not model.compiled:
        return None
    optimizer = keras.saving.serialize_keras_object(model.optimizer)
    return {"optimizer": optimizer, "jit_compile": model.jit_compile, **more}
