"""The models of the library as a table, small, for what Keras promises of every model.

A check that a model cannot pass, or that another one passes with the same code, is left out of its
row with a reason.
"""

import contextlib
import dataclasses
import functools
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_keras import (
    contrastive,
    diffusion,
    gan,
    semi_supervised,
    seq2seq,
    style,
    text,
    text_to_image,
    tuning,
    vae,
    vq_vae,
)
from aigc_keras.optimizers import Adam
from aigc_keras.text.reading import token_encoder

N, BATCH = 7, 4  # rows of data, of which the last batch has but three
RNG = np.random.default_rng(0)


def pictures(n, *shape):
    return np.tanh(RNG.normal(size=(n, *shape))).astype("float32")


SMALL, DIGITS, PHOTOS = pictures(N, 8, 8, 1), pictures(N, 28, 28, 1), pictures(N, 16, 16, 3)
LABELS = np.array([0, 1, 2, 2, 1, 0, 1], "int32")
FEW_LABELS = np.array([0, -1, 2, -1, -1, -1, 1], "int32")
TOKENIZER = text.CharTokenizer("abcd")
TOKENS = RNG.integers(0, TOKENIZER.vocab_size, (N, 9)).astype("int32")
TOKENS[1:, -1] = TOKENS[5, 4:] = text.PADDING  # rows that count differently
SOURCES = TOKENS[::-1, :-1].copy()
CAPTIONS = TOKENS.copy()


def adam(rate=0.01):
    # With a small epsilon, rounding errors of a gradient near zero would turn whole steps around.
    return Adam(rate, epsilon=0.1)  # the library's own: graphs of Keras' take longer to build


def two_optimizers():
    other = keras.optimizers.RMSprop(0.01, epsilon=0.1)
    return {
        "generator_optimizer": keras.optimizers.Adam(0.01, epsilon=0.1),
        "discriminator_optimizer": other,
    }


def no_xla():
    return {"optimizer": adam(), "jit_compile": False}  # here it costs more than it saves


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and what there is to know about it.

    Args:
        build: makes it, alike every time.
        data: NumPy arrays for `fit`, of N rows.
        generate: (method, arguments, named arguments): what it is there for; repeats exactly.
        inputs: of n rows, the inputs of `call`.
        margin: of a loss in half the bits, relative to the one in float32.
        dtype: whether the constructor takes a precision for all of its networks.
        halves: whether there are networks that can be in half precision.
        left_out: from check to why it is not made.
    """

    build: Callable
    data: tuple
    generate: tuple
    inputs: Callable | None = None
    compile: Callable = lambda: {"optimizer": adam()}
    margin: float = 0.02
    dtype: bool = True
    halves: bool = True
    left_out: dict = dataclasses.field(default_factory=dict)


def wasserstein_gan(**kwargs):
    return gan.GAN(
        gan.mlp_generator((8, 8, 1), 4, (8,)),
        gan.mlp_discriminator((8, 8, 1), (8,), dropout=0.0),
        latent_dim=4,
        objective="wasserstein",
        discriminator_steps=2,
        **kwargs,
    )


def adaptive_gan(**kwargs):
    """Augmented from the first step."""
    model = gan.DCGAN((28, 28, 1), 4, 8, 8, augment="adaptive", **kwargs)
    model.augment_probability.assign(0.5)
    return model


def latent_diffusion(cls=diffusion.LatentDiffusion, given=(), look=None, **kwargs):
    """Of a small network, and a text's condition if there is one."""
    autoencoder = diffusion.latent_autoencoder((8, 8, 1), channels=3, width=4)
    noisy, times = keras.Input((2, 2, 3)), keras.Input(())
    x = keras.layers.Conv2D(8, 3, padding="same")(noisy)
    time = keras.layers.Dense(8)(diffusion.SinusoidalEmbedding(4)(times))
    x = keras.layers.Add()([x, keras.layers.Reshape((1, 1, 8))(time)])
    x = look(x) if look else x  # before the zeros: to normalise these few would blow up rounding
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(3, 3, padding="same", dtype="float32")(x)
    network = keras.Model([noisy, times, *given], x)
    model = cls(autoencoder, latent_shape=(2, 2, 3), network=network, **kwargs)
    model.adapt(SMALL)
    return model


def draws_texts(**kwargs):
    encoder = token_encoder(TOKENIZER, 9, 8, 1)
    tokens, _, look = text_to_image.text_condition(encoder, 9)
    kwargs |= {"tokenizer": TOKENIZER, "max_length": 9}
    return latent_diffusion(text_to_image.TextToImage, [tokens], look, **kwargs)


def backbone():
    return text.GPT(TOKENIZER, 8, width=8, num_layers=1, num_heads=2)


def features():
    """Precision of the perceptual network: float32, except where the global policy is tested."""
    return "float32" if keras.config.dtype_policy().name == "float32" else None


SHALLOW = {"content_layers": ("block1_conv2",), "style_layers": ("block1_conv1",)}
NO_DATA = "the picture is the only thing that is trained: fit takes no data"
NO_TENSORS = "counts are NumPy tables, no tensors: there is no graph to compile or to export"
NO_GRADIENT = "it counts: no optimizer, no gradient, no loss in training"
SAME_CALL = {"export": "its `call` is that of a child in another row, which has labels, too"}
SAME_BATCH = dict.fromkeys(
    ("numpy", "forms_of_a_batch"), "the base class reads a batch, as GAN's or SemiSupervisedVAE's"
)

CASES = {
    "GAN": Case(
        build=wasserstein_gan,
        margin=0.05,  # of scores, which may be near zero
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: pictures(n, 4),
        compile=two_optimizers,
        dtype=False,
        left_out=SAME_CALL,
    ),
    "DCGAN": Case(
        build=adaptive_gan,
        data=(DIGITS,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: pictures(n, 4),
        compile=two_optimizers,
        left_out=SAME_CALL,
    ),
    "MLPGAN": Case(
        build=lambda **kwargs: gan.MLPGAN((8, 8, 1), 4, (8,), (8,), **kwargs),
        margin=0.2,  # dropout draws other numbers in half precision
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: pictures(n, 4),
        compile=two_optimizers,
        left_out=SAME_CALL,
    ),
    "ConditionalGAN": Case(
        build=lambda **kwargs: gan.ConditionalGAN((28, 28, 1), 3, 4, 8, 8, **kwargs),
        data=(DIGITS, LABELS),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [pictures(n, 4), LABELS[:n]],
        compile=two_optimizers,
    ),
    "VAE": Case(
        build=lambda **kwargs: vae.VAE(
            (8, 8, 1), 3, warmup_steps=3, likelihood="gaussian", width=4, hidden=8, **kwargs
        ),
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: SMALL[:n],
        left_out=SAME_CALL | SAME_BATCH,
    ),
    "ConditionalVAE": Case(
        build=lambda **kwargs: vae.ConditionalVAE(
            (8, 8, 1), 3, latent_dim=3, width=4, hidden=8, **kwargs
        ),
        data=(SMALL, LABELS),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [SMALL[:n], LABELS[:n]],
    ),
    "SemiSupervisedVAE": Case(
        build=lambda **kwargs: semi_supervised.SemiSupervisedVAE(
            (8, 8, 1), 3, latent_dim=3, width=4, hidden=8, **kwargs
        ),
        data=(SMALL, FEW_LABELS),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [SMALL[:n], LABELS[:n]],
        left_out=SAME_CALL,
    ),
    "DenoisingAutoencoder": Case(
        build=lambda **kwargs: vae.DenoisingAutoencoder(
            (8, 8, 1), width=4, code_channels=2, **kwargs
        ),
        data=(SMALL,),
        generate=("denoise", (SMALL[:3],), {}),
        inputs=lambda n: SMALL[:n],
    ),
    "VQVAE": Case(
        build=lambda **kwargs: vq_vae.VQVAE((8, 8, 1), 5, code_dim=3, width=4, **kwargs),
        margin=0.05,  # what is nearest in half the bits may be another code
        data=(SMALL,),
        generate=("reconstruct", (SMALL[:3],), {}),
        inputs=lambda n: SMALL[:n],
        left_out=SAME_BATCH,
    ),
    "DiffusionModel": Case(
        # Of points: the graphs of the U-Net take most seconds; it is in test_diffusion_networks.py.
        build=lambda **kwargs: diffusion.DiffusionModel((2,), 3, variance="learned", **kwargs),
        data=(SMALL[:, 0, :2, 0], LABELS),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [pictures(n, 2), np.linspace(0, 1, n, dtype="float32"), LABELS[:n]],
        left_out=SAME_BATCH,
    ),
    "LatentDiffusion": Case(
        build=latent_diffusion,
        data=(SMALL,),
        generate=("generate", (3,), {"seed": 1}),
        inputs=lambda n: [pictures(n, 2, 2, 3), np.linspace(0, 1, n, dtype="float32")],
        dtype=False,
        left_out=SAME_CALL,
    ),
    "TextToImage": Case(
        build=draws_texts,
        data=(SMALL, CAPTIONS),
        generate=("generate", (["ab", "c"],), {"seed": 1}),
        inputs=lambda n: [
            *(pictures(n, 2, 2, 3), np.linspace(0, 1, n, dtype="float32"), CAPTIONS[:n])
        ],
        # With adam(), the large gradients of so narrow a text encoder make rounding errors grow.
        compile=lambda: {"optimizer": adam(0.001)},
        dtype=False,
    ),
    "StyleTransfer": Case(
        build=lambda **kwargs: style.StyleTransfer(
            PHOTOS[0], PHOTOS[1], **SHALLOW, dtype=features(), **kwargs
        ),
        data=(),
        generate=("generate", (1,), {"seed": 1}),
        dtype=False,
        halves=False,
        left_out={
            "numpy": NO_DATA,
            "forms_of_a_batch": NO_DATA,
            "signature": NO_DATA,
            "one_sample": NO_DATA,
            "export": "what it makes is a picture: there is no function to export",
        },
    ),
    "FastStyleTransfer": Case(
        build=lambda **kwargs: style.FastStyleTransfer(
            PHOTOS[0], 4, 0, **SHALLOW, dtype=features(), **kwargs
        ),
        data=(PHOTOS,),
        generate=("stylize", (PHOTOS[0],), {}),
        inputs=lambda n: PHOTOS[:n],
        dtype=False,
        left_out=SAME_BATCH,
    ),
    "AdaIN": Case(
        build=lambda **kwargs: style.AdaIN(
            ("block1_conv1", "block2_conv1"),
            decoder=style.adain_decoder((64, 128), width=4),
            dtype=features(),
            **kwargs,
        ),
        data=(PHOTOS, PHOTOS[::-1]),
        generate=("stylize", (PHOTOS[0], PHOTOS[1]), {}),
        inputs=lambda n: [PHOTOS[:n], PHOTOS[::-1][:n]],
        dtype=False,
    ),
    "NGram": Case(
        build=lambda **kwargs: text.NGram(TOKENIZER, 3, 8, **kwargs),
        data=(TOKENS,),
        generate=("generate", (["ab", "c"], 8), {"seed": 1}),
        compile=dict,
        dtype=False,
        left_out={
            "float16": NO_GRADIENT,
            "bfloat16": NO_GRADIENT,
            "xla": NO_TENSORS,
            "export": NO_TENSORS,
        },
    ),
    "RNNLanguageModel": Case(
        build=lambda **kwargs: text.RNNLanguageModel(
            TOKENIZER, units=8, dropout=0.2, context_length=8, **kwargs
        ),
        data=(TOKENS,),
        generate=("generate", (["ab", "c"], 8), {"seed": 1}),
        compile=no_xla,
        inputs=lambda n: np.maximum(TOKENS[:n], 0),
    ),
    "GPT": Case(
        build=lambda **kwargs: text.GPT(
            TOKENIZER, 8, width=8, num_layers=1, num_heads=2, dropout=0.2, **kwargs
        ),
        data=(TOKENS,),
        generate=("generate", (["ab", "c"], 8), {"seed": 1}),
        compile=no_xla,
        inputs=lambda n: np.maximum(TOKENS[:n], 0),
    ),
    "Seq2Seq": Case(
        build=lambda **kwargs: seq2seq.Seq2Seq(
            TOKENIZER, None, 8, width=8, num_layers=1, num_heads=2, dropout=0.2, **kwargs
        ),
        data=(SOURCES, TOKENS),
        generate=("generate", (["ab", "c"], 8), {"temperature": 1.0, "seed": 1}),
        inputs=lambda n: [SOURCES[:n], np.maximum(TOKENS[:n], 0)],
    ),
    "RNNSeq2Seq": Case(
        build=lambda **kwargs: seq2seq.RNNSeq2Seq(
            TOKENIZER, text.CharTokenizer("abcd"), 8, "gru", units=8, dropout=0.2, **kwargs
        ),
        data=(SOURCES, TOKENS),
        generate=("generate", (["ab", "c"], 8), {"temperature": 1.0, "seed": 1}),
        inputs=lambda n: [SOURCES[:n], np.maximum(TOKENS[:n], 0)],
    ),
    "TextImageModel": Case(
        build=lambda **kwargs: contrastive.TextImageModel(
            *(TOKENIZER, (8, 8, 1), 8, 8, 4, 8),
            **{"num_layers": 1, "num_heads": 2},
            **kwargs,
        ),
        data=(SMALL, SOURCES),
        generate=("classify", (SMALL[:3], ["ab", "c"]), {}),
        inputs=lambda n: [SMALL[:n], SOURCES[:n]],
    ),
    "Classifier": Case(
        build=lambda **kwargs: tuning.Classifier(backbone(), 3, dropout=0.2, **kwargs),
        data=(SOURCES, LABELS),
        generate=("classify", (["ab", "c"],), {}),
        inputs=lambda n: SOURCES[:n],
        dtype=False,
    ),
    "Encoder": Case(
        build=lambda **kwargs: tuning.Encoder(backbone(), 8, temperature=1.0, **kwargs),
        data=(SOURCES, SOURCES[::-1]),
        generate=("encode", (["ab", "c"],), {}),
        inputs=lambda n: SOURCES[:n],
        dtype=False,
    ),
}


# A model of each kind: the others share their steps with one of these.
KINDS = (
    *("GAN", "VAE", "DenoisingAutoencoder", "SemiSupervisedVAE", "VQVAE", "DiffusionModel"),
    *("StyleTransfer", "FastStyleTransfer", "AdaIN", "NGram", "GPT", "Seq2Seq", "TextImageModel"),
    *("Classifier", "Encoder"),
)


def check(function, among=tuple(CASES)):
    """Make the check of every model that does not leave it out."""
    name = function.__name__.removeprefix("test_")
    names = [each for each in among if name not in CASES[each].left_out]
    return pytest.mark.parametrize("name", names)(function)


def check_kinds(function):
    """Make the check of one model of each kind."""
    return check(function, KINDS)


@contextlib.contextmanager
def caught_warnings():
    """What TensorFlow warns of: nothing but graphs that it finds built too often.

    For these it takes all models of a class for one, so they count where a check has but one.
    """
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)
    assert all("triggered tf.function retracing" in record for record in records)


# --- models, shared by all checks ---

_folder = tempfile.TemporaryDirectory()
FOLDER = Path(_folder.name)


def fresh(name):
    """A compiled model of the table: always the same one, set back to its first state.

    Graphs cost seconds, states milliseconds.
    """
    return set_back(*started(name))


@functools.cache
def started(name):
    """(model, file of its weights, values of its variables)."""
    start, model = FOLDER / name / "start.weights.h5", build(name)
    start.parent.mkdir()
    model.save_weights(start)
    return model, start, values_of(model)


def trained(name):
    """(Model, folder): trained for an epoch without graphs, with files of its states."""
    path, model, values = trained_once(name)
    return set_back(model, path / "trained.weights.h5", values), path


@functools.cache
def trained_once(name):
    """A folder with "trained.keras" of one epoch, "ended.weights.h5" of two without a pause."""
    path, model = FOLDER / name, fresh(name)
    with functions_eagerly():
        fit(name, model, epochs=epochs(name))
        model.save_weights(path / "ended.weights.h5")
        model = fresh(name)
        fit(name, model)
    model.save(path / "trained.keras")
    model.save_weights(path / "trained.weights.h5")
    return path, model, values_of(model)


@contextlib.contextmanager
def functions_eagerly():
    """For a few steps: to build a graph takes longer. Models keep theirs for what comes after."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def values_of(model):
    return [(v, v.numpy()) for v in model._saved_variables()]


def set_back(model, path, values):
    """The model as `load_weights(path)` makes it, which takes half a second to look at the file."""
    if isinstance(model, text.NGram):  # its counts are no variables
        model.load_weights(path)
    for variable, value in values:
        variable.assign(value)
    return model


def epochs(name):
    return 1 if name == "NGram" else 2  # counting again says nothing new: it refuses


def build(name, dtype=None, **kwargs):
    """A new compiled model of the table; `kwargs` are for `compile`."""
    keras.utils.set_random_seed(0)
    model = CASES[name].build(**({} if dtype is None else {"dtype": dtype}))
    model.compile(**(CASES[name].compile() | kwargs))
    return model


def batches(name, rows=slice(0, N)):
    """The data in order, as a dataset whose batches may have any size: one graph for all."""
    parts = [x[rows] for x in CASES[name].data]
    data = parts[0] if len(parts) == 1 else tuple(parts)
    return tf.data.Dataset.from_tensor_slices(data).batch(BATCH)


def fit(name, model, rows=slice(0, N), **kwargs):
    """What `model.fit` gives as its history; a model without data takes a step for each batch."""
    if CASES[name].data:
        data = {"x": batches(name, rows)}
    else:
        data = {"steps_per_epoch": -(-len(range(N)[rows]) // BATCH)}
    return model.fit(**(data | {"verbose": 0} | kwargs)).history


def evaluate(name, model, rows=slice(0, N)):
    data = {"x": batches(name, rows)} if CASES[name].data else {}
    return model.evaluate(**data, return_dict=True, verbose=0)


def generate(name, model):
    method, arguments, options = CASES[name].generate
    return getattr(model, method)(*arguments, **options)


def arrays(path):
    """All arrays of a weights file by name: optimizers, averages, seeds and counters too."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda key, x: found.update({key: x[()]}) if isinstance(x, h5py.Dataset) else None
        )
    return found


def assert_same_files(path, other, **tolerance):
    first, second = arrays(path), arrays(other)
    assert first.keys() == second.keys() and len(first) > 0
    for key, value in first.items():
        if tolerance:
            np.testing.assert_allclose(value, second[key], err_msg=key, **tolerance)
        else:
            np.testing.assert_array_equal(value, second[key], err_msg=key)
