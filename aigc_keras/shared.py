"""What every model of the library does alike."""

import contextlib
import copy
import os
from pathlib import Path

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


@contextlib.contextmanager
def replaced(path):
    """A path to write to; what is there takes the place of `path` only once it is complete."""
    path = Path(path)
    partial = path.with_name(f"partial.{path.name}")  # Keras goes by the end of the name
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class Saving:
    """What Keras' saving leaves to a model: put this before `keras.Model`.

    A file is replaced only once the new one is complete, and where the random numbers stand is
    saved with the weights.
    """

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """`keras.Model.save`; an interruption or a full disk leaves an old file as it was."""
        if not _replaceable(filepath, overwrite) or zipped is False:
            return super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        with replaced(filepath) as partial:
            super().save(partial, zipped=zipped, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """`keras.Model.save_weights`; an interruption leaves an old file as it was."""
        if not _replaceable(filepath, overwrite) or max_shard_size is not None:
            return super().save_weights(filepath, overwrite, max_shard_size)
        with replaced(filepath) as partial:
            super().save_weights(partial)

    def _seed_states(self):
        return [v for v in self.variables if v.path.endswith("seed_generator_state")]

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for i, state in enumerate(self._seed_states()):
            store[f"seed {i}"] = state.numpy()

    def load_own_variables(self, store):
        for i, state in enumerate(self._seed_states()):
            state.assign(store[f"seed {i}"])
        names = [name for name in store.keys() if not name.startswith("seed ")]  # noqa: SIM118
        super().load_own_variables({name: store[name] for name in names})

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))


def _replaceable(filepath, overwrite):
    """Whether this is a file of this machine that Keras need not ask about."""
    return "://" not in str(filepath) and (overwrite or not Path(filepath).exists())


def scaled(loss, optimizer):
    """`loss`, a mean over the batch, as `optimizer` wants it differentiated.

    float16 needs it large; and of several replicas, whose gradients are added, each has a share.
    """
    return optimizer.scale_loss(loss) / tf.distribute.get_strategy().num_replicas_in_sync


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
