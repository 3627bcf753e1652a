"""Generative models with Keras 3: small networks, honest numbers, quick on a CPU."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Keep TensorFlow's greetings, which no log level silences, out of every chapter's output. Looking
# for devices belongs to it: without a GPU, that prints an error of CUDA. Not in a function, from
# where the import takes longer.
try:
    _stderr = os.dup(2)
except OSError:  # closed: it stays nowhere, so that no file gets its number and TensorFlow's lines
    _stderr = None
_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
if _nowhere != 2:
    os.close(_nowhere)
try:
    import tensorflow

    tensorflow.config.list_physical_devices()
finally:
    if _stderr is not None:
        os.dup2(_stderr, 2)
        os.close(_stderr)

import keras  # noqa: E402

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"aigc_keras needs Keras' TensorFlow backend, got {keras.backend.backend()!r}: "
        "set KERAS_BACKEND=tensorflow before Keras is imported."
    )

from aigc_keras import (  # noqa: E402
    attention,
    augmentation,
    callbacks,
    checkpoints,
    contrastive,
    datasets,
    diffusion,
    distribute,
    exercises,
    gan,
    images,
    metrics,
    patterns,
    picture_tokens,
    plots,
    poetry,
    profile,
    semi_supervised,
    seq2seq,
    style,
    text,
    text_to_image,
    tuning,
    vae,
    vq_vae,
)
from aigc_keras.plots import show  # noqa: E402

__version__ = "0.1.0"
