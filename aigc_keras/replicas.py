"""Several replicas, each with a part of the batch: the result shall not depend on their number."""

import keras
import tensorflow as tf
from keras import ops


def n_replicas():
    """Of how many replicas the code that runs is one; 1 outside of a distributed step."""
    if tf.distribute.in_cross_replica_context():
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def counts_of_replicas(count):
    """(counts of all replicas, (n,), where this one is among them); `count` is that of this one."""
    context = tf.distribute.get_replica_context()
    rank = context.replica_id_in_sync_group
    own = ops.cast(count, "int32") * tf.one_hot(rank, n_replicas(), dtype="int32")
    return context.all_reduce(tf.distribute.ReduceOp.SUM, own), rank


def share(count):
    """The share of the batch that this replica has with its `count` rows (or tokens)."""
    if n_replicas() == 1:
        return 1.0
    counts, _ = counts_of_replicas(count)
    return ops.cast(count, "float32") / ops.cast(ops.maximum(ops.sum(counts), 1), "float32")


def draw_rows(draw, shape, seed):
    """`draw(shape, seed=seed)`, such as `keras.random.normal`, for the rows of this replica.

    All replicas are in the same state of `seed`. So each draws for the whole batch, and takes its
    rows: what it gets does not depend on the number of replicas, and no two get the same.
    """
    if n_replicas() == 1:
        return draw(shape, seed=seed)
    counts, rank = counts_of_replicas(shape[0])
    start = ops.sum(counts[:rank])
    return draw((ops.sum(counts), *shape[1:]), seed=seed)[start : start + shape[0]]


def batch_mean(x):
    """The mean over the rows of the whole batch, whichever replicas have them."""
    mean = ops.mean(x, axis=0)
    if n_replicas() == 1:
        return mean
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, mean * share(ops.shape(x)[0]))


def all_rows(x):
    """The whole batch of which this replica has the rows `x`."""
    return x if n_replicas() == 1 else tf.distribute.get_replica_context().all_gather(x, axis=0)


def own_rows(x):
    """The rows of the whole batch `x` that belong to this replica: as many as the others have."""
    n = n_replicas()
    if n == 1:
        return x
    rank = tf.distribute.get_replica_context().replica_id_in_sync_group
    size = ops.shape(x)[0]
    return x[size * rank // n : size * (rank + 1) // n]


def shares(n, images, conditions):
    """`n` shares of a batch, each (images, conditions); a short batch is used again in part."""
    if n == 1:
        return [(images, conditions)]
    images, *conditions = (all_rows(x) for x in (images, *conditions))
    batch_size = ops.shape(images)[0]
    size = (batch_size + n - 1) // n
    rows = [own_rows((ops.arange(size) + i * size) % batch_size) for i in range(n)]
    return [(ops.take(images, r, 0), tuple(ops.take(c, r, 0) for c in conditions)) for r in rows]


@keras.saving.register_keras_serializable("aigc_keras")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout`; several replicas drop what one would, each of its own rows."""

    def call(self, inputs, training=False):
        if not training or not self.rate or n_replicas() == 1:
            return super().call(inputs, training=training)
        shape = ops.shape(inputs)
        if self.noise_shape is not None:
            pairs = zip(self.noise_shape, shape, strict=True)
            shape = tuple(own if size is None else size for size, own in pairs)

        def draw(shape, seed):
            ones = ops.ones(shape, inputs.dtype)
            return keras.random.dropout(ones, self.rate, seed=seed)

        return inputs * draw_rows(draw, shape, self.seed_generator)
