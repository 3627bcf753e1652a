"""Loops that our `StyleTransfer` is compared with, and the race of `bench.py` between them.

All of them train a picture by the same layers of the same network.
"""

import sys
import time

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
import numpy as np
import scipy.optimize
import tensorflow as tf

from aigc_keras.style import CONTENT_LAYERS, STYLE_LAYERS, StyleTransfer, coarse_to_fine

STEPS = 100  # after which losses are compared
EVERY = 5  # steps between two pictures whose loss is taken


def content_and_style(size=256):
    """Of one shape, because the plain loop runs them through the network together."""
    content = ak.datasets.photograph("china", size=size)
    height, width, _ = content.shape
    return content, ak.patterns.draw("waves", size)[:height, :width]


class PlainLoop:
    """Gatys et al. 2016 as Keras' example trains it, keras.io/examples/generative, in float32.

    Its losses and their weights too. Every step runs content, style and picture through the network
    as a batch of three, unless `targets_once`. The example's own steps are those of SGD.

    `learning_rate` is Adam's, whose default hardly moves pixels in [-1, 1].
    """

    content_weight, style_weight, variation_weight = 2.5e-8, 1e-6, 1e-6

    def __init__(self, content, style, targets_once=False, learning_rate=0.001):
        self.features = ak.style.PerceptualFeatures(
            [*STYLE_LAYERS, *CONTENT_LAYERS], dtype="float32"
        )
        self.images = tf.stack([content, style])
        self.pixels = keras.Variable(content[None])
        self.optimizer = keras.optimizers.Adam(learning_rate)
        self.optimizer.build([self.pixels])
        self.targets = self.features(self.images) if targets_once else None
        self.step = tf.function(self._step)

    def _step(self):
        with tf.GradientTape() as tape:
            picture = tf.convert_to_tensor(self.pixels)
            loss = self.loss(picture, self.maps(picture))
        self.optimizer.apply([tape.gradient(loss, self.pixels.value)], [self.pixels])

    def maps(self, picture):
        """A dict from layer to the maps (h, w, channels) of content, style and picture."""
        if self.targets is None:
            maps = self.features(tf.concat([self.images, picture], axis=0))
            return {name: tf.unstack(x) for name, x in maps.items()}
        own = self.features(picture)
        return {name: (*tf.unstack(x), own[name][0]) for name, x in self.targets.items()}

    def loss(self, picture, maps):
        variation = (picture[:, 1:, :-1] - picture[:, :-1, :-1]) ** 2
        variation += (picture[:, :-1, 1:] - picture[:, :-1, :-1]) ** 2
        loss = self.variation_weight * tf.reduce_sum((127.5**2 * variation) ** 1.25)
        for name in CONTENT_LAYERS:
            content, _, own = maps[name]
            loss += self.content_weight * tf.reduce_sum((own - content) ** 2)
        _, height, width, _ = picture.shape
        for name in STYLE_LAYERS:
            _, style, own = (tf.reshape(x, (-1, x.shape[-1])) for x in maps[name])
            difference = tf.matmul(style, style, transpose_a=True)
            difference -= tf.matmul(own, own, transpose_a=True)
            error = tf.reduce_sum(difference**2) / (2 * own.shape[1] * height * width) ** 2
            loss += self.style_weight / len(STYLE_LAYERS) * error
        return loss

    def picture(self):
        return np.clip(self.pixels.numpy()[0], -1.0, 1.0)


class PlainLoopOnOurLoss(PlainLoop):
    """A sterner opponent: the loss of `StyleTransfer` at its defaults, computed the plain way."""

    def __init__(self, content, style, **kwargs):
        super().__init__(content, style, **kwargs)
        self.ours = StyleTransfer(content, style, dtype="float32").perceptual_loss

    def loss(self, picture, maps):
        maps = {name: [x[None] for x in three] for name, three in maps.items()}
        content = sum(
            weight * ak.style.relative_error(maps[name][2], maps[name][0])
            for name, weight in self.ours.content_layers.items()
        )
        grams = {n: [ak.style.gram_matrix(x) for x in maps[n]] for n in self.ours.style_layers}
        style = sum(
            weight * ak.style.relative_error(grams[name][2], grams[name][1])
            for name, weight in self.ours.style_layers.items()
        )
        colors = ak.style.color_statistics(self.images[1:])
        weights = self.ours.part_weights
        return (
            weights["content_loss"] * content
            + weights["style_loss"] * style
            + weights["color_loss"] * ak.style.color_error(picture, *colors)
            + weights["variation_loss"] * ak.style.total_variation(picture)
        )


class Recorder(keras.callbacks.Callback):
    """Every few steps the picture, and how many seconds of training it took to get there.

    The first step after a start builds the graph: it is counted as long as the mean of those that
    follow. `model` may be smaller than the picture wanted; then only its steps are counted.
    """

    def __init__(self, shape, seconds, steps):
        super().__init__()
        self.shape, self.limit, self.least = shape, seconds, steps
        self.stages, self.pictures, self.done = [], [], False  # seconds of each step; (step, image)

    def on_train_begin(self, logs=None):
        self.stages.append([])
        self.last = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.record(self.model.picture)
        self.model.stop_training = self.done

    def record(self, picture):
        self.stages[-1].append(time.perf_counter() - self.last)
        step = sum(len(stage) for stage in self.stages)
        if step % EVERY == 0 and (image := picture()).shape == self.shape:
            self.pictures.append((step, image))
            spent = sum(sum(stage[1:]) for stage in self.stages)
            self.done = step >= self.least and spent >= self.limit
        self.last = time.perf_counter()

    def seconds(self):
        """Of training, at the end of each step."""
        stages = [[np.mean(stage[1:] or 0.0), *stage[1:]] for stage in self.stages]
        return np.cumsum(np.concatenate(stages))


# --- contestants: functions of (content, style, recorder) ---


def run_plain(content, style, recorder, loop, **kwargs):
    loop = loop(content, style, **kwargs)
    recorder.on_train_begin()
    while not recorder.done:
        loop.step()
        recorder.record(loop.picture)


def run_ours(content, style, recorder, **kwargs):
    model = StyleTransfer(content, style, **kwargs)
    model.compile()
    model.fit(10**9, callbacks=[recorder], verbose=0)


def run_coarse_to_fine(content, style, recorder, levels):
    """All levels in `STEPS` steps; what time is left goes to the full size."""
    model = coarse_to_fine(content, style, STEPS, levels, callbacks=[recorder], verbose=0)
    model.fit(10**9, callbacks=[recorder], verbose=0)


def run_lbfgs(content, style, recorder):
    """A step is an evaluation of loss and gradient; its picture is the best one up to there."""
    model = StyleTransfer(content, style, dtype="float32")
    best = [np.inf, None]

    @tf.function
    def loss_and_gradient(pixels):
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            loss = model.objective(pixels)["loss"]
        return loss, tape.gradient(loss, pixels)

    def evaluate(x):
        pixels = x.reshape(content.shape).astype("float32")
        loss, gradient = loss_and_gradient(tf.constant(pixels))
        if loss < best[0]:
            best[:] = loss, pixels
        recorder.record(lambda: best[1])
        return float(loss), gradient.numpy().astype("float64").ravel()

    def stop(x):
        if recorder.done:
            raise StopIteration

    recorder.on_train_begin()
    scipy.optimize.minimize(
        evaluate,
        model.picture().astype("float64").ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(-1.0, 1.0),
        callback=stop,
        options={"maxiter": 10**9, "maxfun": 10**9, "ftol": 0.0, "gtol": 0.0},
    )


PLAIN = {
    "plain float32 loop, Adam 0.001": (run_plain, {"loop": PlainLoop}),
    "plain float32 loop, Adam 0.02": (run_plain, {"loop": PlainLoop, "learning_rate": 0.02}),
    "plain float32 loop on our loss, Adam 0.02": (
        run_plain,
        {"loop": PlainLoopOnOurLoss, "learning_rate": 0.02},
    ),
}
CONTESTANTS = PLAIN | {
    "StyleTransfer, float32": (run_ours, {"dtype": "float32"}),
    "StyleTransfer": (run_ours, {}),
    "coarse_to_fine, 2 levels": (run_coarse_to_fine, {"levels": 2}),
    "coarse_to_fine, 3 levels": (run_coarse_to_fine, {"levels": 3}),
    "SciPy's L-BFGS-B, float32": (run_lbfgs, {}),
}


def style_race(seconds, max_seeds=None, size=256):
    """Our loss of each contestant's picture; nothing here is random, so there is one seed.

    Each trains for `seconds` and at least `STEPS` steps. Returns what `Race` does. The plain loss,
    to which seconds are counted, is the lowest that a plain loop has after `STEPS` steps.
    """
    content, style = content_and_style(size)
    judge = StyleTransfer(content, style, dtype="float32")
    loss_of = tf.function(lambda pixels: judge.objective(pixels)["loss"])
    results, curves = [], {}
    for setting, (contestant, kwargs) in CONTESTANTS.items():
        print(f"race: {setting}", file=sys.stderr, flush=True)
        recorder = Recorder(content.shape, seconds, STEPS)
        start = time.perf_counter()
        contestant(content, style, recorder, **kwargs)
        wall = time.perf_counter() - start
        spent = recorder.seconds()
        curve = [(spent[n - 1], n, float(loss_of(tf.constant(x)))) for n, x in recorder.pictures]
        curves[setting] = curve
        after_steps = next(point for point in curve if point[1] >= STEPS)
        time_is_up = max((p for p in curve if p[0] <= seconds), default=(None, None, None))
        scores = {
            f"loss_after_{STEPS}_steps": after_steps[2],
            f"seconds_of_{STEPS}_steps": after_steps[0],
            **dict(zip(("seconds", "steps", "loss"), time_is_up, strict=True)),
            "set_up_seconds": wall - spent[-1],
        }
        results.append({"setting": setting, "seeds": [0], "failed": [], "scores": scores})
    plain_loss = min(r["scores"][f"loss_after_{STEPS}_steps"] for r in results[: len(PLAIN)])
    for result in results:
        reached = (seconds for seconds, _, loss in curves[result["setting"]] if loss <= plain_loss)
        scores = result["scores"] | {"seconds_to_plain_loss": next(reached, None)}
        result["scores"] = {
            n: {"values": [x], "mean": x} for n, x in scores.items() if x is not None
        }
    return results
