"""What every model of the library does alike."""

import copy
import functools
import inspect
import math
import tempfile
import types
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras import distribute
from aigc_keras.callbacks import NaNGuard
from aigc_keras.files import (
    UnreadableFileError,
    arrays_in,
    check_digest,
    complete_backup,
    digest,
    replaceable,
    replaced,
)
from aigc_keras.guards import (
    check_compile,
    check_images,
    check_labels,
    check_number,
    check_optimizer,
    check_run,
    check_seed,
    check_settings,
    parts_of,
)
from aigc_keras.optimizers import EveryOptimizer, check_callback, named_optimizers


def join(inputs, conditions):
    """The inputs of a network: a tensor, or a list where there are conditions such as labels."""
    return [inputs, *conditions] if conditions else inputs


def steady(dataset):
    """A `tf.data.Dataset` that keeps its order and is not tuned while it runs.

    Taking a used one away waits for the thread that tunes it: seconds, at any time after `fit`.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return dataset.with_options(options)


def in_batches(function, inputs, conditions=(), batch_size=256):
    """`function(join(inputs, conditions))` as NumPy arrays, at most `batch_size` rows at a time."""
    check_number("batch_size", batch_size, low=1, integer=True)
    parts = []
    for i in range(0, len(inputs), batch_size):
        # As tensors: `tf.config.run_functions_eagerly` hands arrays on as they are.
        batch = (tf.convert_to_tensor(x[i : i + batch_size]) for x in (inputs, *conditions))
        first, *others = batch
        parts.append(tf.nest.map_structure(lambda x: x.numpy(), function(join(first, others))))
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def compiled(network, function):
    """`function` of the inputs of `network` as one graph, for batches of any size."""
    return tf.function(function, input_signature=[signature(network)])


def signature(network):
    """What a network takes, as `tf.TensorSpec`: one, or a list where there are conditions."""
    first, *others = (tf.TensorSpec(x.shape, x.dtype, name=x.name) for x in network.inputs)
    return join(first, others)


def by_name(method, args, kwargs):
    """The arguments of a method of `keras.Model` as a dict, however they were given."""
    given = inspect.signature(method).bind(None, *args, **kwargs).arguments
    more = given.pop("kwargs", {})
    return {name: value for name, value in given.items() if name != "self"} | more


class Model(keras.Model):
    """A `keras.Model` with what all models of the library do alike.

    A file is replaced only once the new one is complete, and where the random numbers stand is
    saved with the weights. `export` asks for `call_signature()`: what `call` takes.
    """

    num_classes = None
    _epoch = None  # while `fit` runs, how many epochs are behind
    accepted_data = (
        "accepted are an array, a tf.data.Dataset or a keras.utils.PyDataset; labels as y, or from "
        "the dataset."
    )

    def __new__(cls, *args, **kwargs):
        check_settings()  # before the networks are made
        return super().__new__(cls, *args, **kwargs)

    def default_optimizer(self):
        """What `compile` takes where none is given."""
        return keras.optimizers.Adam(1e-3)

    def compile(self, optimizer=None, **kwargs):
        """`keras.Model.compile`, after a look at the arguments."""
        check_compile(**kwargs)
        optimizer = self.default_optimizer() if optimizer is None else optimizer
        super().compile(optimizer=check_optimizer("optimizer", optimizer), **kwargs)

    @property
    def metrics(self):
        """The model's own: Keras' tracker of a loss that `compile` was given counts nothing."""
        return [metric for metric in super().metrics if metric is not self._loss_tracker]

    # --- a batch ---

    def parts_of(self, batch, name="x"):
        """What is in a batch, in any form that Keras takes: as many parts as the model wants."""
        parts = parts_of(batch, name)
        self.check_parts(name, parts)
        return parts

    def check_parts(self, name, parts):
        """A ValueError unless `parts` are images or, of a model with classes, images and labels."""
        if self.num_classes and len(parts) < 2:
            raise ValueError(
                f"{name}: got images only, accepted are (images, labels): load(labels=True)."
            )

    def check_batch(self, name, parts):
        """A ValueError unless what is in `parts` can be learned from."""
        self.check_parts(name, parts)
        check_images(name, parts[0], self.image_shape)
        if self.num_classes:
            called = "labels" if name == "x" else f"{name}: labels"
            check_labels(parts[1], len(parts[0]), self.num_classes, called)

    def unpack(self, data):
        """(images, conditions) of a batch; without classes, labels that came along are not used."""
        images, *labels = self.parts_of(data)
        conditions = (ops.cast(labels[0], "int32"),) if self.num_classes else ()
        return ops.cast(images, "float32"), conditions

    # --- training ---

    @functools.wraps(keras.Model.fit, assigned=())
    def fit(self, *args, **kwargs):
        """`keras.Model.fit`, after a look at the data, and stopped if a loss turns NaN.

        In one of several processes it is that of `aigc_keras.distribute`. With several optimizers,
        callbacks of the learning rate move all of them; the history then has a `learning_rate_...`
        of each beside `learning_rate`, that of `optimizer`.
        """
        given = self._checked(keras.Model.fit, args, kwargs)
        for callback in given["callbacks"]:
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                complete_backup(callback.backup_dir)
        given["callbacks"].insert(0, NaNGuard())
        self._initial_epoch = None  # Keras would go on where an earlier run was restored
        try:
            if distribute.in_several_processes(self):
                return distribute.fit(self, **given)
            if given.get("shuffle") is None:  # Keras warns: a dataset shuffles itself
                shuffled = tf.data.Dataset | types.GeneratorType
                given["shuffle"] = not isinstance(given["x"], shuffled)
            return super().fit(**given)
        finally:
            self._epoch = None

    @functools.wraps(keras.Model.evaluate, assigned=())
    def evaluate(self, *args, **kwargs):
        """`keras.Model.evaluate`, after a look at the data; with several processes as `fit`."""
        if kwargs.get("_use_cached_eval_dataset"):
            return super().evaluate(*args, **kwargs)  # `fit` has looked
        given = self._checked(keras.Model.evaluate, args, kwargs)
        if distribute.in_several_processes(self):
            given["callbacks"] = given["callbacks"][1:]
            return distribute.evaluate(self, **given)
        return super().evaluate(**given)

    def _checked(self, method, args, kwargs):
        """The arguments of `fit` or `evaluate` by name, or a ValueError."""
        check_settings()
        given = by_name(method, args, kwargs)
        check_run(self.check_batch, self.accepted_data, **given)
        for name in ("x", "validation_data"):
            if isinstance(given.get(name), types.GeneratorType):
                given[name] = self._tuples(name, given[name])
        callbacks = given.get("callbacks")
        callbacks = [] if callbacks is None else callbacks
        callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        for callback in callbacks:
            check_callback(callback, named_optimizers(self))
        given["callbacks"] = [EveryOptimizer(callbacks), *callbacks]
        return given

    def _tuples(self, name, generator):
        """A Python generator as Keras wants it, of tuples; Keras takes the first batches early."""
        for i, batch in enumerate(generator):
            parts = self.parts_of(batch, name)
            if i == 0:
                self.check_batch(name, parts)
            yield parts

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """`keras.Model.train_on_batch`, after a look at the data."""
        if class_weight is not None:
            raise ValueError(
                f"class_weight: got {class_weight!r:.80}, accepted is None: all count alike."
            )
        self.check_batch("x", self.parts_of((x, y, sample_weight)))
        return super().train_on_batch(x, y, return_dict=return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """`keras.Model.test_on_batch`, after a look at the data."""
        self.check_batch("x", self.parts_of((x, y, sample_weight)))
        return super().test_on_batch(x, y, return_dict=return_dict)

    def generator_of(self, seed):
        """The model's own generator of random numbers or, for a seed, a new one."""
        return self.seed_generator if seed is None else keras.random.SeedGenerator(check_seed(seed))

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing is left to build. Keras would add the first batches of all replicas for it,
        which fails where one has a row more."""

    def make_train_function(self, force=False):
        distribute.prepare(self)
        super().make_train_function(force)

    def make_test_function(self, force=False):
        distribute.prepare(self)
        super().make_test_function(force)

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """`keras.Model.save`; an interruption or a full disk leaves an old file as it was.

        Raises:
            ValueError: the name does not end with ".keras": from HDF5, no model could be loaded.
        """
        if zipped is not False and not str(filepath).endswith(".keras"):
            raise ValueError(
                f"filepath: got {str(filepath)!r}, accepted are names that end with .keras or, for "
                "save_weights, with .weights.h5."
            )
        if not distribute.is_chief(self.distribute_strategy):
            return None  # of several processes one writes
        if not replaceable(filepath, overwrite) or zipped is False:
            return super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        with replaced(filepath) as partial:
            return super().save(partial, zipped=zipped, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """`keras.Model.save_weights`; an interruption leaves an old file as it was.

        The file holds a SHA-256 of its content, and in `fit` how many epochs are behind it.
        """
        if not distribute.is_chief(self.distribute_strategy):
            return None
        if not replaceable(filepath, overwrite) or max_shard_size is not None:
            return super().save_weights(filepath, overwrite, max_shard_size)
        with replaced(filepath) as partial:
            # HDF5 takes the process down where the disk is full: find out before.
            variables = self._saved_variables()
            size = sum(v.value.dtype.size * math.prod(v.shape) + 4096 for v in variables)
            partial.write_bytes(bytes(size + 65_536))
            super().save_weights(partial)
            with h5py.File(partial, "r+") as file:
                if self._epoch is not None:
                    file.attrs["epoch"] = self._epoch
                file.attrs["sha256"] = digest(file)
            return None

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        """`keras.Model.load_weights`; a file that does not fit leaves the model as it was.

        Raises:
            FileNotFoundError: there is none.
            UnreadableFileError: it is damaged, or of another model.
        """
        variables = self._saved_variables()
        before = [v.numpy() for v in variables]
        try:
            if str(filepath).endswith(".weights.h5"):
                check_digest(filepath)
            with warnings.catch_warnings():
                # Keras would leave such layers as they are.
                warnings.filterwarnings("error", "Skipping nested container")
                super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
            if str(filepath).endswith(".weights.h5") and not skip_mismatch:
                self._check_all_used(filepath)
        except BaseException as error:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            if isinstance(error, FileNotFoundError) or not isinstance(error, Exception):
                raise
            raise UnreadableFileError(
                f"filepath: {str(filepath)!r} is damaged or of another model, accepted are weights "
                f"of a {type(self).__name__} with the same arguments. {error}"
            ) from error

    def _check_all_used(self, filepath):
        """Keras does not mind what is left over in a file, such as embeddings of classes."""
        with tempfile.TemporaryDirectory() as folder:
            mine = Path(folder) / "mine.weights.h5"
            keras.Model.save_weights(self, mine)
            own, found = arrays_in(mine), arrays_in(filepath)
        for part in set(own) & set(found) - set(named_optimizers(self)):
            if own[part] != found[part]:
                strange = sorted(own[part] ^ found[part])
                raise ValueError(f"Only one of the two has {part}/{strange[0]}.")

    def _saved_variables(self):
        return [*self.variables, *(v for x in named_optimizers(self).values() for v in x.variables)]

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

    def export(self, filepath, format="tf_saved_model", input_signature=None, **kwargs):
        """`keras.Model.export` of `call`, for batches of any size: it needs none of this code.

        `format="onnx"` wants networks in float32.
        """
        if not distribute.is_chief(self.distribute_strategy):
            return None
        input_signature = input_signature or [self.call_signature()]
        return super().export(filepath, format, input_signature=input_signature, **kwargs)


def update_average(average, network, momentum, step):
    """Move the weights of `average` towards those of `network`, faster in the first steps."""
    step = ops.cast(step, "float32")
    momentum = ops.minimum(momentum, step / (step + 10.0))
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
    found = {k: keras.saving.serialize_keras_object(x) for k, x in named_optimizers(model).items()}
    names = ("run_eagerly", "jit_compile", "steps_per_execution")
    settings = {name: getattr(model, name) for name in names}
    # What scales the loss is part of the optimizers by now.
    return {**found, **settings, "auto_scale_loss": False, **more}
