"""What a student may pass wrongly, over the whole public surface: refused by name, nothing done."""

import functools
import json
import operator

import keras
import numpy as np
import pytest
import refused_models
import refused_rest
from refused_kinds import Of
from small_models import IMAGES, LABELS, LAYERS, POINTS, SHAPE, Models, dataset

import aigc_keras as ak
from aigc_keras import callbacks, diffusion, gan, style, text, vae

nan = float("nan")


TABLE = [*refused_models.TABLE, *refused_rest.TABLE]
CASES = [  # what is called, its good arguments, the one that is bad, and its values
    pytest.param(called, good, argument, values, id=f"{called}-{argument}-{i}")
    for i, (called, good, refused) in enumerate(TABLE)
    for argument, values in refused.items()
]


def find(m, called):
    """`m.gan.fit` of the models `m`, or a function or class of the library."""
    first, _, rest = called.partition(".")
    return operator.attrgetter(rest if first == "m" else called)(m if first == "m" else ak)


# Beside these: refused where they stand, by several arguments together, or by none of its name.
OTHERS = [
    (lambda m: m.gan.fit(POINTS, None, True), "batch_size"),
    (lambda m: m.gan.fit(POINTS, None, 4, 1, 0, ["x"]), "callbacks"),
    (lambda m: m.gan.evaluate(POINTS, None, 4, 0, np.ones(4)), "sample_weight"),
    (lambda m: m.ngram.fit(np.ones((2, 5), int), None, 32, 3), "epochs"),
    (lambda m: m.gan.compile("adam", "mse"), "discriminator_optimizer"),
    (lambda m: m.gan.decode(np.zeros((2, 3)), [0, 1]), "labels"),
    (lambda m: m.cgan.decode(np.zeros((2, 4)), [0]), "labels"),
    (lambda m: m.cgan.decode(np.zeros((2, 4)), [0, 3]), "labels"),
    (lambda m: m.cgan.decode(np.zeros((2, 4)), [0, 1], [2, 3]), "labels"),
    (lambda m: m.vae.generate(2, 1), "labels"),
    (lambda m: m.cvae.encode(IMAGES, [0, 1, 2]), "labels"),
    (lambda m: m.cvae.encode(IMAGES, LABELS, LABELS), "labels"),
    (lambda m: text.CausalSelfAttention(3).build((1, 2, 4)), "num_heads"),
    (lambda m: text.CausalSelfAttention(2)(np.zeros((1, 2, 2), "float32")), "num_heads"),
    (lambda m: callbacks.SampleGrid().strip(), "n|batches|strip"),
    (lambda m: callbacks.SampleGrid().gif(m.folder / "a.gif"), "path|batches|gif"),
    (lambda m: m.ngram.predict(np.zeros((1, 4), int)), "model"),
    (lambda m: m.ngram.predict_on_batch(np.zeros((1, 4), int)), "model"),
    (lambda m: m.ngram.export(m.folder / "ngram"), "model"),
    (lambda m: m.ngram.quantize("int8"), "model"),
]

# What is accepted, or what is wrong where that says it.
SAYS = "(accepted|need|no folder|are not among|is empty or outside|call fit, or adapt)"


@pytest.fixture(scope="module")
def m(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("refusals"))


def made(m, value):
    return value.make(m) if isinstance(value, Of) else value


@pytest.mark.parametrize(("called", "good", "argument", "values"), CASES)
def test_refused_by_name_before_any_step(m, subtests, called, good, argument, values):
    call = find(m, called)
    for value in values:
        arguments = {k: made(m, v) for k, v in {**good, argument: value}.items()}
        named = getattr(value, "named", None) or argument
        says = rf"(?s)^({named})(\[[^:]*\])?: .*{SAYS}"
        with subtests.test(value=arguments[argument]), pytest.raises(ValueError, match=says):
            call(**arguments)
    assert all(int(model.optimizer.iterations) == 0 for model in m.built)


@pytest.mark.parametrize(("call", "names"), OTHERS)
def test_refused_where_no_one_argument_is_bad(m, call, names):
    with pytest.raises(ValueError, match=rf"(?s)^({names}): .*{SAYS}"):
        call(m)
    assert all(int(model.optimizer.iterations) == 0 for model in m.built)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_data_format", "channels_first"),
        ("floatx", "float64"),
        ("floatx", "float16"),
        ("floatx", "bfloat16"),
        ("dtype_policy", "float64"),
        ("dtype_policy", "bfloat16"),
    ],
)
def test_settings_of_keras_are_refused_by_name(m, name, value):
    """As of ~/.keras/keras.json, KERAS_FLOATX or a call: by a new model, and by a ready one."""
    before, build = getattr(keras.config, name)(), (gan.DCGAN, vae.VAE, diffusion.DiffusionModel)
    calls = [functools.partial(kind, SHAPE) for kind in build]
    calls += [lambda: text.GPT(m.tok), lambda: style.AdaIN(LAYERS), m.transfer]
    calls += [lambda: diffusion.latent_autoencoder(SHAPE), lambda: style.adain_decoder((64,))]
    ready = m.gan
    calls += [lambda: ready.fit(POINTS), lambda: ready.evaluate(POINTS)]
    set_to = getattr(keras.config, f"set_{name}")
    set_to(value)
    try:
        for call in calls[: None if name == "image_data_format" else -4] + calls[-2:]:
            with pytest.raises(ValueError, match=rf"^{name}: .*'{value}', accepted"):
                call()
    finally:
        set_to(before)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_datasets_of_other_floats_train_as_arrays_do(dtype):
    model = vae.VAE((8, 8, 1), 2, width=2, hidden=4, seed=0)
    model.compile(run_eagerly=True)
    data = np.random.default_rng(0).uniform(-1, 1, IMAGES.shape).astype(dtype)
    model.fit(dataset(data), validation_data=dataset(data), verbose=0)
    assert int(model.optimizer.iterations) == 2


def test_a_number_of_classes_may_be_numpys():
    n = LABELS.max() + 1
    for model in (
        gan.ConditionalGAN(SHAPE, n, 4, 8, 4),
        vae.ConditionalVAE((8, 8, 1), n, latent_dim=2, width=2, hidden=4),
        diffusion.DiffusionModel((2,), num_classes=n),
    ):
        assert json.dumps(model.get_config()["num_classes"]) == "3"


def test_nan_in_a_later_batch_stops_the_run(m):
    model = gan.MLPGAN((2,), 3, (4,), (4,))
    model.compile(run_eagerly=True)
    data = np.concatenate([POINTS, POINTS * nan])
    with pytest.raises(FloatingPointError, match="_loss became nan at step 3"):
        model.fit(dataset(data), verbose=0)
