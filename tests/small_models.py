"""Small compiled models for tests of what all of them refuse."""

import functools

import keras
import numpy as np
import tensorflow as tf

from aigc_keras import (
    contrastive,
    diffusion,
    gan,
    metrics,
    picture_tokens,
    semi_supervised,
    seq2seq,
    style,
    text,
    text_to_image,
    tuning,
    vae,
    vq_vae,
)

POINTS, LABELS = np.zeros((4, 2), "float32"), np.array([0, 1, 2, 0])
IMAGES, SHAPE = np.zeros((4, 8, 8, 1), "float32"), (28, 28, 1)
PICTURE, PICTURES = np.zeros((16, 16, 3), "float32"), np.zeros((2, 16, 16, 3), "float32")
LAYERS = ("block1_conv1",)


def dataset(*arrays, n=2):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(n)


class Models:
    """Each is built when it is first asked for."""

    def __init__(self, folder):
        self.folder, self.built = folder, []
        self.adam = keras.optimizers.Adam()

    def compiled(self, model, **kwargs):
        model.compile(**kwargs)
        self.built.append(model)
        return model

    @functools.cached_property
    def gan(self):
        return self.compiled(gan.MLPGAN((2,), 3, (4,), (4,)))

    @functools.cached_property
    def cgan(self):
        return self.compiled(gan.ConditionalGAN(SHAPE, 3, 4, 8, 4))

    @functools.cached_property
    def vae(self):
        return self.compiled(vae.VAE((8, 8, 1), 2, width=2, hidden=4))

    @functools.cached_property
    def cvae(self):
        return self.compiled(vae.ConditionalVAE((8, 8, 1), 3, latent_dim=2, width=2, hidden=4))

    @functools.cached_property
    def ssvae(self):
        small = {"latent_dim": 2, "width": 2, "hidden": 4}
        return self.compiled(semi_supervised.SemiSupervisedVAE((8, 8, 1), 3, **small))

    @functools.cached_property
    def dae(self):
        return self.compiled(vae.DenoisingAutoencoder((8, 8, 1), width=2, code_channels=2))

    @functools.cached_property
    def vqvae(self):
        return self.compiled(vq_vae.VQVAE((8, 8, 1), 3, code_dim=2, width=2))

    @functools.cached_property
    def pictures(self):
        return picture_tokens.PictureTokens(self.vqvae)

    @functools.cached_property
    def drawing(self):
        """A picture has four codes: two characters are left for its caption."""
        return text.GPT(self.pictures.make_tokenizer(["ab"]), 8, 4, 1, 1)

    @functools.cached_property
    def diff(self):
        return self.compiled(diffusion.DiffusionModel((2,)))

    @functools.cached_property
    def cdiff(self):
        return self.compiled(diffusion.DiffusionModel((2,), num_classes=3))

    @functools.cached_property
    def autoencoder(self):
        return diffusion.latent_autoencoder((8, 8, 1), channels=1, width=2)

    @functools.cached_property
    def latent(self):
        """It has not been adapted."""
        small = {"latent_shape": (2, 2, 1), "widths": (8,), "blocks": 1}
        return self.compiled(diffusion.LatentDiffusion(self.autoencoder, **small))

    @functools.cached_property
    def t2i(self):
        sizes = {"max_length": 5, "text_width": 8, "text_layers": 1, "widths": (8,), "blocks": 1}
        model = text_to_image.TextToImage(self.autoencoder, self.tok, (2, 2, 1), **sizes)
        model.adapt(np.linspace(-1, 1, 256, dtype="float32").reshape(4, 8, 8, 1))
        return self.compiled(model)

    @functools.cached_property
    def tok(self):
        return text.CharTokenizer("abc")

    @functools.cached_property
    def bpe(self):
        return text.BPETokenizer.train(["abc abc"], 257)

    @functools.cached_property
    def ngram(self):
        model = text.NGram(self.tok, 2, 8)
        model.compile()
        return model

    @functools.cached_property
    def counted(self):
        """An n-gram model that has read a text."""
        model = text.NGram(self.tok, 2, 8)
        model.compile()
        model.fit(model.windows(["abcab"], shuffle=False), verbose=0)
        return model

    @functools.cached_property
    def gpt(self):
        return self.compiled(text.GPT(self.tok, 8, 4, 1, 1), jit_compile=False)

    @functools.cached_property
    def s2s(self):
        return self.compiled(seq2seq.RNNSeq2Seq(self.tok, None, 8, units=2))

    @functools.cached_property
    def clip(self):
        sizes = {"num_layers": 1, "num_heads": 1}
        model = contrastive.TextImageModel(self.tok, (8, 8, 1), 4, 8, 2, 4, **sizes)
        return self.compiled(model)

    @functools.cached_property
    def classifier(self):
        return self.compiled(tuning.Classifier(self.backbone, 3))

    @functools.cached_property
    def encoder(self):
        return self.compiled(tuning.Encoder(self.backbone, 4))

    @functools.cached_property
    def backbone(self):
        return text.GPT(self.tok, 8, 4, 1, 1)

    @functools.cached_property
    def features(self):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Flatten()(inputs)
        p = keras.layers.Dense(2, activation="softmax")(x)
        return metrics.Features(keras.Model(inputs, [x, p]), "flat")

    @functools.cached_property
    def fast(self):
        layers = {"content_layers": LAYERS, "style_layers": LAYERS}
        return self.compiled(style.FastStyleTransfer(PICTURE, 2, 0, **layers))

    @functools.cached_property
    def adain(self):
        return self.compiled(style.AdaIN(LAYERS))

    @functools.cached_property
    def scheduled(self):
        """By default its rate follows a schedule."""
        return self.compiled(self.transfer())

    @functools.cached_property
    def called(self):
        model = vae.DenoisingAutoencoder((8, 8, 1), width=2, code_channels=2)
        return self.compiled(model, optimizer=keras.optimizers.Adam(lambda: 0.1))

    @functools.cached_property
    def one_of_two(self):
        rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
        both = {"discriminator_optimizer": keras.optimizers.SGD(rate)}
        return self.compiled(gan.MLPGAN((2,), 3, (4,), (4,)), **both)

    def transfer(self, **arguments):
        defaults = {"content": PICTURE, "styles": PICTURE}
        layers = {"content_layers": LAYERS, "style_layers": LAYERS}
        return style.StyleTransfer(**{**defaults, **layers, **arguments})
