"""Training on several devices or machines with TensorFlow's `tf.distribute`.

    with ak.distribute.strategy().scope():
        model = ak.vae.VAE((28, 28, 1))
        model.compile()
    model.fit(train, epochs=5)

Of several devices of one machine, Keras' own `fit` takes care. Of several processes it cannot
(keras-team/keras, issue 20585): there `fit` is the loop below. Every process reads the same
batches, of all rows together, and takes its own rows of each.
"""

import itertools
import json
import os
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from aigc_keras.callbacks import SampleGrid
from aigc_keras.files import replaced
from aigc_keras.guards import parts_of
from aigc_keras.optimizers import named_optimizers
from aigc_keras.replicas import own_rows

SUM = tf.distribute.ReduceOp.SUM


def strategy(devices=None):
    """What to create and compile a model under: `with strategy().scope():`.

    Where TF_CONFIG names several processes, this is one of them; Ray Train and Spark set it. The
    first process that is named is the chief, the one that writes files. Waits for all of them.

    Args:
        devices: otherwise, names of devices of this machine; by default all its GPUs.

    Raises:
        ValueError: TF_CONFIG is not what TensorFlow expects.
    """
    if not os.environ.get("TF_CONFIG"):
        return tf.distribute.MirroredStrategy(devices)
    _check_tf_config(os.environ["TF_CONFIG"])
    if devices is not None:
        raise ValueError(f"devices: got {devices!r}, accepted is None where TF_CONFIG is set.")
    return tf.distribute.MultiWorkerMirroredStrategy()


def _check_tf_config(text):
    accepted = (
        'accepted is {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
        '"index": 0}}, with the index of this process among them'
    )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        addresses = cluster[task["type"]]
        good = set(cluster) <= {"chief", "worker"} and task["index"] in range(len(addresses))
        for address in itertools.chain(*cluster.values()):
            host, port = address.rsplit(":", 1)
            good = good and host and 0 < int(port) < 2**16
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise ValueError(f"TF_CONFIG: got {text:.200}, {accepted}.")


def workers(strategy):
    """(addresses of all processes, the chief's first; the index of this one among them)."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return [None], 0
    cluster = resolver.cluster_spec().as_dict()
    chiefs = cluster.get("chief", [])
    rank = int(resolver.task_id) + (len(chiefs) if resolver.task_type == "worker" else 0)
    return [*chiefs, *cluster.get("worker", [])], rank


def in_several_processes(model):
    """Whether the model's strategy goes over several processes."""
    return len(workers(model.distribute_strategy)[0]) > 1


def is_chief(strategy):
    """Whether this process is the one that writes files; always, where there is only one."""
    return workers(strategy)[1] == 0


# --- what differs from training with one replica ---


def prepare(model):
    """Make a compiled model's steps right for several replicas; nothing is done for one.

    Raises:
        ValueError: an optimizer is not built, or was made outside of the strategy's scope; or there
            are metrics of whole sets of images.
    """
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return
    if getattr(model, "evaluation_metrics", None):
        names = [metric.name for metric in model.evaluation_metrics]
        raise ValueError(
            f"metrics: got {names}, accepted are none on several replicas: evaluate afterwards, "
            "on one."
        )
    if model.jit_compile:
        warnings.warn(
            "jit_compile: several replicas do without XLA, which cannot add their gradients on a "
            "CPU. compile(jit_compile=False) says the same.",
            stacklevel=2,
        )
        model.jit_compile = False
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    for optimizer in named_optimizers(model).values():
        _add_gradients_first(optimizer)
    if not in_several_processes(model) and "train_step" not in vars(model):
        model.train_step = _with_rows(model.train_step)
        model.test_step = _with_rows(model.test_step)


def _with_rows(step):
    """`step`, if there are rows: of a short batch, Keras' fit leaves them to the first replicas."""

    def checked(data):
        data = parts_of(data)
        rule = tf.debugging.assert_positive(
            tf.shape(tf.nest.flatten(data)[0])[0],
            "x: got a batch that leaves a replica without rows, accepted is at least one row each: "
            "dataset.batch(..., drop_remainder=True).",
        )
        with tf.control_dependencies([rule] if rule is not None else []):
            return step(tf.nest.map_structure(tf.identity, data))

    return checked


def _add_gradients_first(optimizer):
    """Keras clips the gradients of each replica, then adds them: have them added before.

    The same for float16, where one replica's overflow is to be seen by all.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not optimizer.built:
        raise ValueError(
            f"optimizer: got {optimizer.name}, not built, accepted is one whose build(variables) "
            "was called in the strategy's scope."
        )
    if not isinstance(inner.iterations.value, tf.distribute.DistributedValues):
        raise ValueError(
            f"optimizer: got {optimizer.name}, made outside of the strategy's scope, accepted is "
            "one made inside: with strategy.scope(): model.compile(...)."
        )
    if "_all_reduce_sum_gradients" in vars(inner):
        return  # done already
    if not hasattr(inner, "_all_reduce_sum_gradients"):  # a name that is not public
        raise RuntimeError("This Keras adds gradients in another way: use Keras 3.15.")
    apply = optimizer.apply

    def apply_sum(grads, trainable_variables=None):
        known = [g for g in grads if g is not None]
        sums = iter(tf.distribute.get_replica_context().all_reduce(SUM, known))
        apply([None if g is None else next(sums) for g in grads], trainable_variables)

    optimizer.apply = apply_sum
    inner._all_reduce_sum_gradients = list


# --- the loop of several processes ---

WRITERS = (  # callbacks that write files: they run on the chief alone
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.TensorBoard,
    keras.callbacks.CSVLogger,
    keras.callbacks.RemoteMonitor,
    SampleGrid,
)
# What TensorFlow raises soon after a process no longer answers the others.
GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


def fit(
    model,
    x,
    y=None,
    *,
    epochs=1,
    verbose="auto",
    callbacks=(),
    validation_data=None,
    initial_epoch=0,
    **others,
):
    """What `model.fit` does in each of several processes.

    Callbacks run everywhere, and see the losses of all rows; those that write files run on the
    chief. `BackupAndRestore` saves where in the epoch the run is, too: it goes on as if it had
    never stopped, and the one file is replaced whole or not at all.

    Args:
        x, validation_data: `tf.data.Dataset` of batches of all rows, the same in all processes.
        The others are those of `keras.Model.fit`.

    Raises:
        ValueError: bad data; a batch of fewer rows than replicas; other batches in other processes.
        RuntimeError: a process is gone.
    """
    _check_nothing_else(others)
    strategy = model.distribute_strategy
    n_batches = _check_dataset("x", x if y is None else (x, y))
    prepare(model)
    chief = is_chief(strategy)
    backups = [c for c in callbacks if isinstance(c, keras.callbacks.BackupAndRestore)]
    state = State(model, backups[0] if backups else None)
    callbacks = keras.callbacks.CallbackList(
        [c for c in callbacks if c not in backups and (chief or not isinstance(c, WRITERS))],
        add_history=True,
        add_progbar=chief and verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=n_batches,
        model=model,
    )
    if validation_data is not None:
        _check_dataset("validation_data", validation_data)
    model.train_function = train = Step.of(model.train_function, model.train_step, x)
    try:
        first, skipped = state.restore(initial_epoch)
        # A shuffled dataset counts how often it was begun. Keras' fit begins it twice an epoch.
        for _ in range(2 * (first - initial_epoch)):
            iter(x)
        model.stop_training, logs = False, {}
        callbacks.on_train_begin()
        for epoch in range(first, epochs):
            if not skipped:
                model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            stop = False
            for i, batch in enumerate(x):
                if i < skipped:
                    continue
                if i > skipped:
                    state.save_sometimes([epoch, i], i)
                callbacks.on_train_batch_begin(i)
                logs, stop = train(batch, model.stop_training)
                callbacks.on_train_batch_end(i, logs)
                if stop:
                    break
            iter(x)
            skipped = 0
            if validation_data is not None:
                found = _pass(model, validation_data)
                logs = logs | {f"val_{name}": value for name, value in found.items()}
            callbacks.on_epoch_end(epoch, logs)
            state.save_sometimes([epoch + 1, 0], i + 1, ended=True)
            if train.agree(stop or model.stop_training):
                break
        callbacks.on_train_end(logs)
        train.agree(True)  # nobody leaves, and looks dead, before all are done
    except GONE as error:
        raise RuntimeError(
            "One of the other processes is gone. Start all of them again: with the callback "
            "BackupAndRestore, training goes on where it was saved last."
        ) from error
    state.remove()
    return model.history


def evaluate(model, x, y=None, *, verbose="auto", return_dict=False, **others):
    """What `model.evaluate` does in each of several processes; see `fit`."""
    _check_nothing_else(others)
    _check_dataset("x", x if y is None else (x, y))
    prepare(model)
    logs = _pass(model, x)
    return logs if return_dict else list(logs.values())


def _check_nothing_else(others):
    for name, value in others.items():
        if value:
            raise ValueError(f"{name}: got {value!r}, accepted by several processes is nothing.")


def _pass(model, dataset):
    model.test_function = step = Step.of(model.test_function, model.test_step, dataset)
    model.reset_metrics()
    for batch in dataset:
        logs, _ = step(batch, False)
    return logs


def _check_dataset(name, data):
    """The number of batches, or None where it is not known."""
    if not isinstance(data, tf.data.Dataset) or data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"{name}: got {data!r:.80}, accepted by several processes is a finite tf.data.Dataset, "
            "such as tf.data.Dataset.from_tensor_slices(images).batch(128)."
        )
    n = int(data.cardinality())
    return n if n >= 0 else None


class Step:
    """`train_step` or `test_step` of all replicas, each with its rows of a batch."""

    def __init__(self, function, spec):
        self.function, self.spec, self.model = function, spec, function.__self__
        self.strategy = self.model.distribute_strategy
        self.step = tf.autograph.experimental.do_not_convert(self._everywhere)
        if not self.model.run_eagerly:
            # The signature: a short last batch is no reason to build the graph again.
            self.step = tf.function(self.step, input_signature=[spec, tf.TensorSpec(())])

    @classmethod
    def of(cls, known, function, dataset):
        """`known`, which `compile` forgets, if it still fits; otherwise a new one."""
        spec = dataset.element_spec
        return known if isinstance(known, cls) and known.spec == spec else cls(function, spec)

    def __call__(self, batch, stop):
        """(means of all rows since `reset_metrics`, whether a process wants to stop)."""
        n, rows = self.strategy.num_replicas_in_sync, len(tf.nest.flatten(batch)[0])
        if rows < n:
            raise ValueError(
                f"x: got a batch of {rows} rows, accepted are at least {n}, one for each replica: "
                "dataset.batch(..., drop_remainder=True)."
            )
        results = self.step(batch, tf.constant(float(stop)))
        logs, stop, total, own = tf.nest.map_structure(float, results)
        if abs(total - n * own) > 1e-5 * abs(total):
            raise ValueError(
                "x: got other batches in other processes, accepted are the same ones: give shuffle "
                "a seed."
            )
        return logs, stop > 0

    def agree(self, stop):
        """Whether a process wants to stop; waits for all of them."""
        return float(_on_replicas(self.strategy, sum_over_replicas, tf.constant(float(stop)))) > 0

    def _everywhere(self, batch, stop):
        return on_replicas(self.strategy, self._replica, (batch, stop))

    def _replica(self, values):
        batch, stop = values
        names = self.function(tf.nest.map_structure(own_rows, batch))
        metrics = [metric for metric in self.model.metrics if metric.name in names]
        checksum = tf.add_n([_checksum(x) for x in tf.nest.flatten(batch)])
        sums = sum_over_replicas(
            [stop, checksum, [[v.value for v in m.variables] for m in metrics]]
        )
        logs = {m.name: m.stateless_result(v) for m, v in zip(metrics, sums[2], strict=True)}
        return logs, *sums[:2], checksum


def _checksum(x):
    """A number >= 0 that other rows, or another order of them, would hardly give."""
    rows = tf.reshape(tf.cast(x, "float32"), (tf.shape(x)[0], -1))
    return tf.reduce_sum(tf.linspace(1.0, 2.0, tf.shape(x)[0]) * tf.reduce_mean(rows**2, axis=1))


def sum_over_replicas(values):
    """The sums of tensors, in any structure, over all replicas."""
    context, parts = tf.distribute.get_replica_context(), tf.nest.flatten(values)
    sums = [None] * len(parts)
    for dtype in sorted({x.dtype.name for x in parts}):  # a collective takes numbers of one type
        index = [i for i, x in enumerate(parts) if x.dtype.name == dtype]
        # The identity brings what is the same for all replicas onto the device of this one.
        reduced = context.all_reduce(SUM, [tf.identity(parts[i]) for i in index])
        for i, x in zip(index, reduced, strict=True):
            sums[i] = x
    return tf.nest.pack_sequence_as(values, sums)


def values_of_chief(values):
    """A list of tensors as the first replica of all has it."""
    first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
    return sum_over_replicas([tf.where(first, x, tf.zeros_like(x)) for x in values])


def on_replicas(strategy, function, values):
    """`function(values)` of the first replica of this process, run by all of them."""
    results = strategy.run(function, args=(values,))
    return tf.nest.map_structure(lambda x: strategy.experimental_local_results(x)[0], results)


_on_replicas = tf.function(on_replicas)


class State:
    """All that a run needs to go on: variables of model, optimizers and losses, and where it is.

    Args:
        settings: a `keras.callbacks.BackupAndRestore`, for its folder and how often to save, or
            None.
    """

    def __init__(self, model, settings):
        self.strategy, self.settings = model.distribute_strategy, settings
        self.path = Path(settings.backup_dir) / "backup.npz" if settings else None
        losses = [v for metric in model.metrics for v in metric.variables]
        others = [v for x in named_optimizers(model).values() for v in x.variables]
        self.variables = [*model.variables, *others, *losses]

    def save_sometimes(self, position, steps, ended=False):
        """Save as often as was asked, after `steps` of an epoch, which may have `ended` with them.

        `position`: (epoch, step) where to go on.
        """
        every = self.settings.save_freq if self.settings else None
        if not every or not (ended if every == "epoch" else steps % every == 0):
            return
        # Losses are added up over the processes when they are read: all have to take part.
        arrays = [np.asarray(v) for v in self.variables]
        if is_chief(self.strategy):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(self.path) as partial:
                np.savez(partial, np.array(position), *arrays)

    def restore(self, epoch):
        """(epoch, step) where to begin, and all processes in the state of the chief.

        Raises:
            ValueError: the file is not a backup of this model.
        """
        arrays = [np.array([epoch, 0]), *(np.asarray(v) for v in self.variables)]
        if self.path and is_chief(self.strategy) and self.path.exists():
            with np.load(self.path) as stored:
                found = [stored[name] for name in stored.files]
            if [x.shape for x in found] != [x.shape for x in arrays]:
                raise ValueError(
                    f"backup_dir: got {self.path}, of another model, accepted is one of this model."
                )
            arrays = found
        # Collectives know no unsigned integers.
        values = [x.astype("int64") if x.dtype.kind == "u" else x for x in arrays]
        position, *values = _on_replicas(
            self.strategy, values_of_chief, [tf.constant(x) for x in values]
        )
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        return position.numpy().tolist()

    def remove(self):
        """After the last epoch, unless `delete_checkpoint` is False."""
        if self.settings and self.settings.delete_checkpoint and is_chief(self.strategy):
            self.path.unlink(missing_ok=True)
