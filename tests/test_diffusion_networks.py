"""Chapter 04: the networks."""

import keras
import numpy as np
import plain
import pytest
import tensorflow as tf
from diffusion_models import images, picture_model, points
from keras import ops

from aigc_keras import diffusion


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-4), ("mixed_bfloat16", 0.01)])
def test_embedding_is_the_formula(dtype, atol):
    """In half precision too: 1000 t must not be rounded before the sine is taken."""
    times = np.linspace(0, 1, 41).astype("float32")
    layer = diffusion.SinusoidalEmbedding(6, dtype=dtype)
    angles = 1000.0 * times.astype("float64")[:, None] / 10_000.0 ** (np.arange(3) / 3)
    ours = ops.cast(layer(times), "float32")
    np.testing.assert_allclose(ours, np.hstack([np.sin(angles), np.cos(angles)]), atol=atol)
    assert layer(times).dtype == layer.compute_dtype
    assert tuple(layer.compute_output_shape((41,))) == (41, 6)


@pytest.mark.parametrize("dim", [0, 1, 2.5])
def test_embedding_refuses_other_sizes(dim):
    with pytest.raises(ValueError, match=f"dim: got {dim}"):
        diffusion.SinusoidalEmbedding(dim)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((8, 8, 1), {"widths": (8,)}),
        ((7, 7, 4), {"outputs": 2}),
        ((5, 9, 2), {"widths": (8, 8, 8)}),
        ((12, 10, 3), {"patch": 2, "num_classes": 3}),
        ((8, 8, 3), {"patch": 4, "outputs": 2, "widths": (16,)}),
    ],
)
def test_unet_keeps_the_shape_and_starts_at_zero(shape, arguments):
    network = diffusion.unet(shape, **{"widths": (8, 16), "blocks": 1, **arguments})
    inputs = [images(3, shape), np.array([0.1, 0.5, 1.0], "float32")]
    if "num_classes" in arguments:
        inputs.append(np.array([0, 2, 3], "int32"))
    outputs = network(inputs).numpy()
    channels = arguments.get("outputs", 1) * shape[-1]
    np.testing.assert_array_equal(outputs, np.zeros((3, *shape[:-1], channels), "float32"))


@pytest.fixture(scope="module")
def drawn_unet():
    """A U-Net with weights that are drawn, the last layer's too, and inputs for it."""
    keras.utils.set_random_seed(0)
    network = diffusion.unet((8, 8, 1), (8, 16), blocks=1, num_classes=3)
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(0, 0.2, x.shape) for x in network.get_weights()])
    times = np.array([0.1, 0.5, 1.0], "float32")
    return network, [images(3), times, np.array([0, 2, 3], "int32")]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_unet_in_half_the_bits(drawn_unet, policy):
    network, inputs = drawn_unet
    half = diffusion.unet((8, 8, 1), (8, 16), blocks=1, num_classes=3, dtype=policy)
    half.set_weights(network.get_weights())
    expected, found = network(inputs).numpy(), half(inputs).numpy()
    assert found.dtype == "float32" and half.layers[-2].compute_dtype == policy[6:]
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    assert np.abs(found - expected).max() > 0


def test_unet_under_xla(drawn_unet):
    network, inputs = drawn_unet

    def slopes():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(inputs)))
        found = tape.gradient(loss, network.trainable_variables)
        return [tf.convert_to_tensor(x) for x in found]  # of an embedding, slices

    expected, found = (
        np.concatenate([np.ravel(x) for x in run()])
        for run in (slopes, tf.function(slopes, jit_compile=True))
    )
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["tf_saved_model", "onnx"])
@pytest.mark.filterwarnings("ignore:In the future `np:FutureWarning")  # Keras asks for np.object
def test_unet_is_exported(drawn_unet, kind, tmp_path):
    network, inputs = drawn_unet
    path = str(tmp_path / kind)
    network.export(path, format=kind, verbose=False)
    for n in (3, 1):
        given = [x[:n] for x in inputs]
        expected = network(given)
        np.testing.assert_allclose(plain.outputs(kind, path, given), expected, atol=1e-4)


def test_unet_attends_at_the_lowest_resolution():
    network = diffusion.unet((12, 10, 1), (8, 8, 16), blocks=1)
    (attention,) = (x for x in network.layers if isinstance(x, keras.layers.MultiHeadAttention))
    assert attention.output.shape == (None, 3 * 3, 16)  # every position with every other


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((8, 8), {}, r"image_shape: got \(8, 8\)"),
        ((7, 8, 1), {"patch": 2}, r"image_shape: got \(7, 8, 1\)"),
        ((8, 8, 1), {"patch": 0}, "patch: got 0"),
        ((8, 8, 1), {"widths": ()}, r"widths: got \(\)"),
        ((8, 8, 1), {"widths": (8, 12)}, r"widths: got \(8, 12\)"),
        ((8, 8, 1), {"widths": (0,)}, r"widths: got \(0,\)"),
        ((8, 8, 1), {"blocks": 0}, "blocks: got 0"),
    ],
)
def test_unet_refuses_other_sizes(shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        diffusion.unet(shape, **{"widths": (8, 8), **arguments})


def test_mlp_is_told_time_and_class():
    network = diffusion.mlp(3, widths=(8, 8), num_classes=2, outputs=2)
    same = np.repeat(images(1, (3,)), 4, axis=0)
    times = np.array([0.2, 0.2, 0.2, 0.7], "float32")
    answers = network([same, times, np.array([0, 1, 2, 0], "int32")]).numpy()
    assert answers.shape == (4, 6)
    assert len(np.unique(answers.round(4), axis=0)) == 4


@pytest.mark.parametrize("variance", ["small", "learned"])
def test_model_builds_the_network_that_fits(variance):
    assert picture_model(variance=variance).network.name == "unet"
    model = diffusion.DiffusionModel((2,), num_classes=3, variance=variance)
    assert model.network.name == "mlp"
    times = np.full(4, 0.5, "float32")
    answers = model([points(4), times, np.arange(4)])
    np.testing.assert_array_equal(answers, model.ema_network([points(4), times, np.arange(4)]))
    assert answers.shape == (4, 4 if variance == "learned" else 2)
