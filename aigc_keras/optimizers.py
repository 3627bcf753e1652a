"""Adam in one operation and AdamW; several optimizers in a model, where Keras knows of one."""

import keras
import tensorflow as tf
from keras import ops

SETTABLE = (
    "accepted is compile with an optimizer whose learning rate is a number and no schedule, such "
    "as keras.optimizers.Adam(1e-3)."
)


class _Rate:
    """A ValueError where a number is assigned to a learning rate that follows a schedule."""

    @property
    def learning_rate(self):
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        schedule = self._learning_rate
        if not isinstance(schedule, keras.Variable) and not callable(value):
            raise ValueError(
                f"learning_rate: got {value!r:.80}, which cannot take the place of "
                f"{type(schedule).__name__}, the schedule that {self.name} follows; {SETTABLE}"
            )
        super(_Rate, type(self)).learning_rate.fset(self, value)


@keras.saving.register_keras_serializable("aigc_keras")
class AdamW(_Rate, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`."""


@keras.saving.register_keras_serializable("aigc_keras")
class Adam(_Rate, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with one operation for each variable in place of a dozen.

    Of small networks the many operations take longer than the arithmetic. The numbers are the same
    to rounding. Several replicas, `amsgrad` and gradients of a few rows have Keras' own way.
    """

    def update_step(self, gradient, variable, learning_rate):
        several = tf.distribute.has_strategy()
        if several or self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        index, dtype = self._get_variable_index(variable), variable.dtype
        step, rate, beta_1, beta_2, epsilon = (
            ops.cast(x, dtype)
            for x in (self.iterations + 1, learning_rate, self.beta_1, self.beta_2, self.epsilon)
        )
        return tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,  # Keras hands over TensorFlow's variable
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=ops.cast(gradient, dtype),
        )


def named_optimizers(model):
    """All optimizers of a model by their names in it; a GAN has two."""
    return {k: x for k, x in vars(model).items() if isinstance(x, keras.optimizers.Optimizer)}


def _inner(optimizer):
    """The optimizer itself, without the loss scaling of mixed_float16."""
    return getattr(optimizer, "inner_optimizer", optimizer)


MOVE_RATES = keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau


def check_callback(callback, optimizers):
    """A ValueError for what would fail, or do nothing, in the middle of training."""
    kind = type(callback).__name__
    if not isinstance(callback, keras.callbacks.Callback):
        raise ValueError(f"callbacks: got {callback!r}, accepted are keras.callbacks.Callback.")
    if isinstance(callback, MOVE_RATES):
        rates = {name: _inner(x)._learning_rate for name, x in optimizers.items()}
        fixed = [name for name, rate in rates.items() if not isinstance(rate, keras.Variable)]
        if fixed or not optimizers:
            whose = " and ".join(fixed) or "a model without an optimizer"
            raise ValueError(
                f"callbacks: got {kind}, which cannot set the learning rate of {whose}; {SETTABLE}"
            )
    averages = isinstance(callback, keras.callbacks.SwapEMAWeights)
    if averages and not any(_inner(x).use_ema for x in optimizers.values()):
        raise ValueError(f"callbacks: got {kind}, accepted with an optimizer of use_ema=True.")
    whole = isinstance(callback, keras.callbacks.ModelCheckpoint) and not callback.save_weights_only
    if whole and not str(callback.filepath).endswith(".keras"):
        raise ValueError(
            f"callbacks: got {kind} with filepath {str(callback.filepath)!r}, accepted are names "
            "that end with .keras or, with save_weights_only=True, with .weights.h5."
        )


class Proxy:
    """`original` with other attributes; what is set is set there."""

    def __init__(self, original, **attributes):
        vars(self).update(attributes, _original=original)

    def __getattr__(self, name):
        return getattr(self._original, name)

    def __setattr__(self, name, value):
        setattr(self._original, name, value)


class EveryOptimizer(keras.callbacks.Callback):
    """What Keras does for `model.optimizer`, for all optimizers of a model; comes first.

    Args:
        callbacks: of a run. To those of learning rates and averages, several optimizers look as a
            `keras.optimizers.MultiOptimizer` does.
    """

    def __init__(self, callbacks):
        super().__init__()
        known = (*MOVE_RATES, keras.callbacks.SwapEMAWeights)
        self.callbacks = [x for x in callbacks if isinstance(x, known)]

    def on_train_begin(self, logs=None):
        found = {name: _inner(x) for name, x in named_optimizers(self.model).items()}
        if len(found) > 1:
            every = [Proxy(x, name=name) for name, x in found.items()]
            main = Proxy(_inner(self.model.optimizer), optimizers=every)
            for callback in self.callbacks:
                callback.set_model(Proxy(self.model, optimizer=main))

    on_test_begin = on_train_begin

    def on_epoch_begin(self, epoch, logs=None):
        self.model._epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model._epoch = epoch + 1
        if any(isinstance(x, MOVE_RATES) for x in self.callbacks):
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)

    def on_train_end(self, logs=None):
        if self.params["epochs"] > 0:
            for optimizer in named_optimizers(self.model).values():
                optimizer.finalize_variable_values(optimizer._trainable_variables)
