"""A variational autoencoder that learns classes from few labels: chapter 07.

The class of an image is one more latent: known for some images, and for the others the model
guesses it (Kingma et al. 2014, arXiv:1406.5298: their M2).
"""

import math

import keras
import tensorflow as tf
from keras import layers, ops

from aigc_keras.guards import as_images, check_network, check_number, check_sizes
from aigc_keras.model import Tracker, compiled, in_batches
from aigc_keras.vae import ConditionalVAE, conv_features


def conv_classifier(image_shape, num_classes, width=16, hidden=256, dtype=None):
    """The convolutions of `vae.conv_encoder`, then dense layers to logits (B, num_classes)."""
    check_sizes(num_classes=num_classes, width=width, hidden=hidden)
    images = keras.Input(image_shape, name="images")
    x = conv_features(images, width, dtype)
    x = layers.Dense(hidden, activation="relu", dtype=dtype)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="classifier")


@keras.saving.register_keras_serializable("aigc_keras")
class SemiSupervisedVAE(ConditionalVAE):
    """A conditional VAE and a classifier, trained together (Kingma et al. 2014, section 3.1).

    Trains on (images, labels) with integer labels in [-1, num_classes), where -1 is unknown. An
    image without a label is decoded as every class; the better a class explains it, the more the
    classifier is told to choose it. What `kl_divergence` prints has log(num_classes) nats of the
    known class, or KL(q(y|x) || p(y)) of the unknown one, where p(y) is the same for all classes.

    Args:
        image_shape: as for `VAE`.
        num_classes: number of classes.
        alpha: weight of the classifier's cross-entropy in the loss of an image with a label; the
            loss of a batch is the mean over all its images. The paper's alpha (eq. 9) is this times
            the number of images with a label, where the batches have as large a share of them as
            the data. Its 0.1 N of N images is thus 0.1 N / N_labelled here; or 0.1 over their share
            of a batch, where that is larger, as with `datasets.partly_labelled`.
        classifier: a network of your own instead of `conv_classifier`, from images to logits.
        **kwargs: as for `VAE`; `width` and `hidden` are those of the classifier as well.
    """

    lowest_label = -1

    def __init__(self, image_shape, num_classes, alpha=10.0, classifier=None, **kwargs):
        super().__init__(image_shape, num_classes, **kwargs)
        self.alpha = check_number("alpha", alpha, low=0)
        sizes = {k: v for k, v in kwargs.items() if k in ("width", "hidden", "dtype")}
        self.classifier = classifier or conv_classifier(image_shape, num_classes, **sizes)
        outputs = [(self.num_classes,)]
        check_network("classifier", self.classifier, [self.image_shape], outputs)
        self.of_labels = [Tracker(name=name) for name in ("classification_loss", "accuracy")]
        self._classify_batch = compiled(
            self.classifier, lambda images: ops.softmax(self.classifier(images))
        )

    # --- the objective ---

    def bound_terms(self, images, labels, logits, training=False):
        """What `elbo_terms` gives, where the class is a latent too: its KL is one more column.

        Eq. 6 of the paper for known labels (B,), eq. 7 for unknown ones. Both are a mean over the
        classes, weighted by 1 for the known one or by q(y|x), from the classifier's logits.
        """
        n, rows = self.num_classes, ops.shape(images)[0]
        known = labels[:, None] >= 0
        log_q = ops.log_softmax(logits)
        q = ops.where(known, ops.one_hot(labels, n), ops.exp(log_q))
        log_q = ops.where(known, 0.0, log_q)
        classes = ops.tile(ops.arange(n), (rows,))
        noise = self.noise((rows, self.latent_dim))  # the same for all classes: they are compared
        log_likelihood, kl = self.elbo_terms(
            ops.repeat(images, n, 0), (classes,), training, ops.repeat(noise, n, 0)
        )
        log_likelihood = ops.sum(q * ops.reshape(log_likelihood, (rows, n)), axis=1)
        kl = ops.sum(q[..., None] * ops.reshape(kl, (rows, n, self.latent_dim)), axis=1)
        class_kl = ops.sum(q * log_q, axis=1, keepdims=True) + math.log(n)
        return log_likelihood, ops.concatenate([kl, class_kl], axis=1)

    def classification_loss(self, labels, logits):
        """-log q(y|x) of the label, (B,), nats; 0 where it is unknown."""
        return -ops.sum(ops.one_hot(labels, self.num_classes) * ops.log_softmax(logits), axis=1)

    # --- training ---

    def train_step(self, data):
        images, (labels,) = self.unpack(data)
        with tf.GradientTape() as tape:
            logits = self.classifier(images, training=True)
            log_likelihood, kl = self.bound_terms(images, labels, logits, training=True)
            errors = self.classification_loss(labels, logits)
            bound = self.objective(log_likelihood, kl, self.warm_beta())
            loss = bound + self.alpha * ops.mean(errors)
        self.descend(tape, loss, images)
        self.track_labels(labels, logits, errors)
        return self.track_terms(loss, log_likelihood, kl)

    def test_step(self, data):
        images, (labels,) = self.unpack(data)
        logits = self.classifier(images, training=False)
        log_likelihood, kl = self.bound_terms(images, labels, logits)
        errors = self.classification_loss(labels, logits)
        loss = self.objective(log_likelihood, kl, self.beta) + self.alpha * ops.mean(errors)
        self.track_labels(labels, logits, errors)
        guessed = ops.where(labels >= 0, labels, ops.argmax(logits, axis=1))
        return self.track_terms(loss, log_likelihood, kl) | self.compare_drawn(images, (guessed,))

    def track_labels(self, labels, logits, errors):
        """Means over the images whose label is known: without any, 0."""
        right = ops.argmax(logits, axis=1) == labels
        for tracker, values in zip(self.of_labels, (errors, right), strict=True):
            tracker.update_state(values, sample_weight=labels >= 0)

    # --- using it ---

    def classify(self, images, batch_size=256):
        """Probabilities q(y|x), (n, num_classes), for images in [-1, 1]."""
        images = as_images("images", images, self.image_shape)
        return in_batches(self._classify_batch, images, batch_size=batch_size)
