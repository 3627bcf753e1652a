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
    check_metrics,
    check_number,
    check_optimizer,
    check_run,
    check_seed,
    check_settings,
    parts_of,
)
from aigc_keras.optimizers import Adam, EveryOptimizer, check_callback, named_optimizers
from aigc_keras.replicas import draw_rows, share

WRITE_MODELS = keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore


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
    """The arguments of a method as a dict, however they were given."""
    given = inspect.signature(method).bind_partial(None, *args, **kwargs).arguments
    more = given.pop("kwargs", {})
    return {name: value for name, value in given.items() if name != "self"} | more


class Tracker(keras.metrics.Mean):
    """The mean of a loss over all rows so far."""

    def load_own_variables(self, store):
        if list(store.keys()):  # older files hold it under another name, and none has to
            super().load_own_variables(store)


class Model(keras.Model):
    """A `keras.Model` with what all models of the library do alike.

    A child's constructor ends with `set_up(seed)`, its `train_step` uses `unpack`, `noise`,
    `descend` and `track`. Its arguments make its configuration: each has an attribute of its name,
    or is kept as it was given. A file is replaced only once the new one is complete, and where the
    random numbers stand is saved with the weights. `export` asks for `call_signature()`: what
    `call` takes.
    """

    tracked = ("loss",)  # names of the values that `track` takes
    draws_noise = True  # whether it has random numbers of its own
    networks = ()  # names of those that have an optimizer each; without, there is one for all
    takes_metrics = False  # whether `test_step` calls `compare`
    evaluation_metrics = ()
    num_classes = None
    lowest_label = 0
    _epoch = None  # while `fit` runs, how many epochs are behind
    accepted_data = (
        "accepted are an array, a tf.data.Dataset or a keras.utils.PyDataset; labels as y, or from "
        "the dataset."
    )

    def __new__(cls, *args, **kwargs):
        check_settings()  # before the networks are made
        model = super().__new__(cls, *args, **kwargs)
        # No dict, in which Keras would look for layers to save.
        vars(model)["_given"] = types.MappingProxyType(by_name(cls.__init__, args, kwargs))
        return model

    def set_up(self, seed=None):
        """What a constructor ends with: the model's random numbers and means of losses."""
        if self.draws_noise:
            self.seed = check_seed(seed)
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.trackers = [Tracker(name=name) for name in self.tracked]
        self.built = True

    # --- configuration ---

    def get_config(self):
        """The constructor's arguments, those of the classes above included."""
        above = type(self).__mro__[: type(self).__mro__.index(Model)]
        constructors = [cls.__init__ for cls in above if "__init__" in vars(cls)]
        names = [name for x in constructors for name in inspect.signature(x).parameters]
        found, own = {}, super().get_config()
        for name in dict.fromkeys([*names, *self._given]):
            # What Keras calls `weights` or `dtype` is another thing.
            if hasattr(self, name) and not hasattr(keras.Model, name):
                found[name] = getattr(self, name)
            elif name in self._given:
                found[name] = self._given[name]
        config = {k: keras.saving.serialize_keras_object(x) for k, x in found.items()}
        return {k: x for k, x in config.items() if k not in own} | own

    @classmethod
    def from_config(cls, config):
        # Keras takes the configuration apart that it reads.
        return cls(**keras.saving.deserialize_keras_object(copy.deepcopy(config)))

    def get_compile_config(self):
        """What `compile_from_config` is given once the model is loaded again."""
        if not self.compiled:
            return None
        names = ("run_eagerly", "jit_compile", "steps_per_execution")
        settings = self.optimizer_names() | dict(zip(names, names, strict=True))
        settings |= {"metrics": "evaluation_metrics"} if self.takes_metrics else {}
        config = {
            name: keras.saving.serialize_keras_object(getattr(self, attribute))
            for name, attribute in settings.items()
        }
        return {**config, "auto_scale_loss": False}  # that is part of the optimizers by now

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    # --- optimizers ---

    def default_optimizer(self):
        """What `compile` takes where none is given."""
        return Adam(1e-3)

    def optimizer_names(self):
        """From what `compile` calls an optimizer to its attribute: Keras knows the first one."""
        names = [f"{network}_optimizer" for network in self.networks] or ["optimizer"]
        return {name: name if i else "optimizer" for i, name in enumerate(names)}

    def compile(self, optimizer=None, metrics=None, jit_compile=False, **kwargs):
        """Choose the optimizer; without arguments, settings that train well on two cores.

        Args:
            optimizer: by default `default_optimizer()`. A model with several takes one for each
                network, by name: `generator_optimizer`.
            metrics: of models that generate images, metrics of `aigc_keras.metrics`: updated with
                (real, generated) images by `evaluate` and validation, never in a training step.
            jit_compile: XLA; off by default: `make bench` says what is faster with it. It compiles
                again for a short last batch and for `evaluate`.
        """
        names = self.optimizer_names()
        given = {name: kwargs.pop(name, None) for name in names if name != "optimizer"}
        if given and optimizer is not None:
            raise ValueError(
                f"optimizer: got {optimizer!r}, accepted are a {' and a '.join(given)}: each "
                "network has its own."
            )
        check_compile(jit_compile, metrics=None if self.takes_metrics else metrics, **kwargs)
        metrics = check_metrics(metrics)
        found = {}
        for name, value in (given or {"optimizer": optimizer}).items():
            value = self.default_optimizer() if value is None else value
            found[name] = check_optimizer(name, value)
            for other in [k for k, x in found.items() if x is found[name] and k != name]:
                raise ValueError(
                    f"{name}: got {value!r}, accepted is another object than the {other}: each "
                    "keeps averages of its own network."
                )
        first, *others = found.values()
        super().compile(optimizer=first, jit_compile=jit_compile, **kwargs)
        loss_scaling = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, loss_scaling):  # by Keras, which knows the first only
            others = [x if isinstance(x, loss_scaling) else loss_scaling(x) for x in others]
        for name, other in zip(list(names)[1:], others, strict=True):
            setattr(self, name, other)
        for network in self.networks or [None]:
            optimizer, variables = self.trained_by(network)
            optimizer.build(variables)
        # Not an attribute that Keras follows: those of an earlier `compile` would stay.
        vars(self)["evaluation_metrics"] = metrics

    def trained_by(self, network=None):
        """(optimizer, variables) of a network by name, or of the whole model."""
        attribute = self.optimizer_names().get(f"{network}_optimizer", "optimizer")
        trained = self if network is None else getattr(self, network)
        return getattr(self, attribute), trained.trainable_variables

    def descend(self, tape, loss, rows, network=None):
        """One step of an optimizer down the gradient of `loss`; moves `ema_...`, if there is one.

        Args:
            loss: the mean over `rows`, a scalar.
            rows: the batch, or how many rows or tokens it has.
            network: name of the network whose weights move; by default all of the model's.
        """
        optimizer, variables = self.trained_by(network)
        # float16 needs a large loss. Of several replicas each has the share that its rows are.
        scale = optimizer.scale_loss(share(count_of(rows)))
        scale = ops.convert_to_tensor(scale, loss.dtype)
        gradients = tape.gradient(loss, variables, output_gradients=scale)
        optimizer.apply(gradients, variables)
        average = getattr(self, f"ema_{network}", None)
        if average is not None:
            step = ops.cast(optimizer.iterations, "float32")
            momentum = ops.minimum(self.ema_momentum, step / (step + 10.0))  # faster at first
            for mean, weight in zip(average.weights, getattr(self, network).weights, strict=True):
                mean.assign(weight + momentum * (mean - weight))

    def uncompile(self):
        """Other weights learn from now on: forget the optimizers, and the steps as graphs."""
        for name in named_optimizers(self):
            setattr(self, name, None)
        self.compiled, self.train_function, self.test_function = False, None, None

    # --- random numbers ---

    def noise(self, shape, seed=None, draw=keras.random.normal):
        """Noise of `shape`, whose first axis are rows: N(0, I), or what `draw(shape, seed)` gives.

        `seed` is an integer; without one, the model's own random numbers go on.
        """
        return draw_rows(draw, shape, self.seed_generator if seed is None else check_seed(seed))

    # --- means and metrics ---

    def track(self, rows, **values):
        """Add values of a batch, (B,) or their mean, to the means that `fit` prints: a dict."""
        for tracker in self.trackers:
            # The weight makes it a mean over rows where the last batch is short.
            tracker.update_state(ops.mean(values[tracker.name]), sample_weight=count_of(rows))
        return self.get_metrics_result()

    def compare(self, images, generated):
        """The metrics of `compile`, after another batch of real and generated images: a dict."""
        for metric in self.evaluation_metrics:
            metric.update_state(images, generated)
        return {metric.name: metric.result() for metric in self.evaluation_metrics}

    @property
    def metrics(self):
        """The model's own: Keras' tracker of a loss that `compile` was given counts nothing."""
        return [*self._metrics, *self.evaluation_metrics]

    def get_metrics_result(self):
        # Keras asks after training too, when metrics of whole sets of images have seen nothing.
        return {metric.name: metric.result() for metric in self._metrics}

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
            check_labels(parts[1], len(parts[0]), self.num_classes, called, self.lowest_label)

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
        check_run(self.check_batch, self.accepted_data, given)
        for name in ("x", "validation_data"):
            if isinstance(given.get(name), types.GeneratorType):
                given[name] = self._tuples(name, given[name])
        callbacks = given.get("callbacks")
        callbacks = [] if callbacks is None else callbacks
        callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        for callback in callbacks:
            check_callback(callback, named_optimizers(self))
            if isinstance(callback, WRITE_MODELS):
                self.check_plain()
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

    def check_plain(self):
        """A ValueError where there are adapters (LoRA), which Keras' files do not keep apart."""
        if any(getattr(layer, "lora_enabled", False) for layer in self._flatten_layers()):
            raise ValueError(
                f"model: got a {type(self).__name__} with adapters (LoRA), accepted is one after "
                "tuning.merge; tuning.save_adapter writes the adapters alone."
            )

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
        self.check_plain()
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
        self.check_plain()
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
        self.check_plain()
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

    def export(self, filepath, format="tf_saved_model", input_signature=None, **kwargs):
        """`keras.Model.export` of `call`, for batches of any size: it needs none of this code.

        `format="onnx"` wants networks in float32.
        """
        if not distribute.is_chief(self.distribute_strategy):
            return None
        input_signature = input_signature or [self.call_signature()]
        return super().export(filepath, format, input_signature=input_signature, **kwargs)


def count_of(rows):
    """How many rows: of a batch, or the number itself."""
    return ops.shape(rows)[0] if len(ops.shape(rows)) else rows


def averaged(network, name):
    """A copy of `network` for the exponential moving average of its weights, not trained itself."""
    average = keras.models.clone_model(network)
    average.set_weights(network.get_weights())
    average.name = name
    average.trainable = False
    return average
