"""Pictures and progress during `fit`."""

import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from aigc_keras import plots
from aigc_keras.files import replaced
from aigc_keras.guards import check_choice, check_number


class SampleGrid(keras.callbacks.Callback):
    """Pictures from fixed noise during training: in the notebook, in a folder, in TensorBoard.

    Works with every model that has `generate(n, seed=...)`. A training that is resumed (with
    `initial_epoch` or `BackupAndRestore`), and a further `fit`, go on counting where the one before
    stopped, and no picture in the folder is written over.

    Args:
        n: number of images in a picture.
        every: epochs between two pictures; or steps, with `unit="step"`.
        unit: `"epoch"` or `"step"`.
        folder: where to write `0000.png`, `0001.png`, ...; nowhere by default.
        log_dir: folder of TensorBoard logs, for the pictures (`keras.callbacks.TensorBoard` with
            the same folder adds the losses).
        seed: seed of the fixed noise.
        display: show the newest picture, where this runs in a notebook.
        texts: what to draw, for a model that draws what texts say: n pictures of each.
    """

    def __init__(
        self,
        n=16,
        every=1,
        unit="epoch",
        folder=None,
        log_dir=None,
        seed=0,
        display=True,
        texts=None,
    ):
        super().__init__()
        for name, value in (("folder", folder), ("log_dir", log_dir)):
            if value is not None and not isinstance(value, str | os.PathLike):
                raise ValueError(f"{name}: got {value!r}, accepted is a path.")
        self.n = check_number("n", n, low=1, integer=True)
        self.columns = int(np.ceil(np.sqrt(self.n)))
        self.every = check_number("every", every, low=1, integer=True)
        self.unit = check_choice("unit", unit, ("epoch", "step"))
        self.seed = check_number("seed", seed, low=0, below=2**32, integer=True)
        self.folder = Path(folder).expanduser() if folder else None
        log_dir = log_dir and os.path.expanduser(log_dir)
        self.writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else None
        self.display, self.handle = display, None
        self.asked = {} if texts is None else {"texts": texts}
        self.batches, self.counts = [], []
        self.epochs = self.step = self.epoch_start = 0  # of all calls of `fit`

    def on_epoch_begin(self, epoch, logs=None):
        if epoch > self.epochs:  # what came before was resumed
            self.step += (epoch - self.epochs) * (self.params.get("steps") or 0)
            self.epochs = epoch
        self.epoch_start = self.step
        if not self.batches:
            self._picture(self.epochs if self.unit == "epoch" else self.step)

    def on_train_batch_end(self, batch, logs=None):
        # With `steps_per_execution`, Keras calls this for the last of several steps.
        before, self.step = self.step, self.epoch_start + batch + 1
        if self.unit == "step" and self.step // self.every > before // self.every:
            self._picture(self.step)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        if self.unit == "epoch" and self.epochs % self.every == 0:
            self._picture(self.epochs)

    def _picture(self, count):
        images = self.model.generate(n=self.n, seed=self.seed, **self.asked)
        self.batches.append(images)
        self.counts.append(count)
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            found = [int(p.stem) for p in self.folder.glob("*.png") if p.stem.isdecimal()]
            # Where a training is resumed, the run before has drawn its last state.
            if not (found and self.epochs and len(self.batches) == 1):
                path = self.folder / f"{max(found, default=-1) + 1:04d}.png"
                with replaced(path) as partial:
                    keras.utils.save_img(partial, plots.tile(images, self.columns), scale=False)
        if self.writer:
            with self.writer.as_default():
                tf.summary.image("samples", plots.tile(images, self.columns)[None], step=count)
            self.writer.flush()
        if self.display and _in_notebook():
            from IPython.display import display

            figure = plots.grid(images, self.columns, title=f"{self.unit} {count}")
            if self.handle is None:
                self.handle = display(figure, display_id=True)
            else:
                self.handle.update(figure)

    def strip(self, n=6, title=None):
        """A figure of `n` stages, evenly spread over the training so far."""
        check_number("n", n, low=1, integer=True)
        self._check_batches()
        chosen = np.unique(np.linspace(0, len(self.batches) - 1, n).round().astype(int))
        return plots.strip(
            [self.batches[i] for i in chosen],
            [f"{self.unit} {self.counts[i]}" for i in chosen],
            columns=self.columns,
            title=title,
        )

    def gif(self, path, seconds=0.3):
        """Write all that this callback saw of a training as an animated GIF; returns the path."""
        check_number("seconds", seconds, low=0)
        self._check_batches()
        path = Path(path).expanduser()
        frames = [Image.fromarray(plots.tile(x, self.columns)) for x in self.batches]
        frames = [f.resize((f.width * 2, f.height * 2), Image.Resampling.NEAREST) for f in frames]
        durations = [int(seconds * 1000)] * (len(frames) - 1) + [2000]
        with replaced(path) as partial:
            frames[0].save(
                partial, save_all=True, append_images=frames[1:], duration=durations, loop=0
            )
        return path

    def _check_batches(self):
        if not self.batches:
            raise ValueError("batches: got none yet, accepted is a callback after `fit`.")


def _in_notebook():
    ipython = sys.modules.get("IPython")  # imported by every kernel
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


class TimeLimit(keras.callbacks.Callback):
    """Stop after so many seconds of training: a fair budget for models of different speed.

    Afterwards `steps` says how many training steps took `seconds`; at least one is counted.

    Args:
        limit: seconds, >= 0.
        skip: how many first steps, >= 1, are not counted: they build the graph.
    """

    def __init__(self, limit, skip=1):
        super().__init__()
        self.limit = check_number("limit", limit, low=0)
        self.skip = check_number("skip", skip, low=1, integer=True)
        self.start, self.seconds, self.steps = None, 0.0, 0
        self.step = self.epoch_start = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_start = self.step

    def on_train_batch_end(self, batch, logs=None):
        # With `steps_per_execution`, Keras calls this for the last of several steps.
        self.step = self.epoch_start + batch + 1
        if self.start is None:
            if self.step >= self.skip:
                self.start, self.first = time.perf_counter(), self.step
            return
        self.seconds, self.steps = time.perf_counter() - self.start, self.step - self.first
        if self.seconds >= self.limit:
            self.model.stop_training = True


class NaNGuard(keras.callbacks.Callback):
    """Stop a run whose loss is no longer a number, before anything broken can be saved.

    Every model of this library brings it along.

    Raises:
        FloatingPointError: names the loss and the step.
    """

    def on_train_batch_end(self, batch, logs=None):
        for name, value in (logs or {}).items():
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"{name} became {value} at step {batch + 1} of this epoch. Checkpoints of "
                    "earlier epochs are untouched; try a smaller learning rate or look at the data."
                )
