"""What `bench.py` trains: a line of its table each. `training.py` trains one of them alone."""

import functools
from dataclasses import dataclass

import aigc_keras as ak  # first, because it keeps TensorFlow quiet

# isort: split
import keras
import keras_models
import numpy as np
import tensorflow as tf

from aigc_keras.model import steady

SEED = 0
CONTEXT_LENGTH = 128  # of the language models, by default
PAIR_LENGTH = 40  # tokens of what is read, and of what is written
STYLE_PX, ADAIN_PX = 256, 128  # sides of the pictures that they train on


@functools.cache
def kjv_tokenizer(vocab_size):
    return ak.text.BPETokenizer.train(ak.datasets.text("kjv"), vocab_size)


@functools.cache
def emoji():
    return ak.datasets.captioned("emoji", "train")


@functools.cache
def emoji_tokenizer():
    return ak.text.BPETokenizer.train(emoji().captions.ravel().tolist(), vocab_size=2000)


def dcgan(**kwargs):
    return ak.gan.DCGAN((28, 28, 1), **kwargs)


def augmented_dcgan(**kwargs):
    return dcgan(augment="adaptive", **kwargs)


def mlpgan(**kwargs):
    return ak.gan.MLPGAN((28, 28, 1), **kwargs)


def ring_gan(**kwargs):
    """As in chapter 01."""
    widths = (128, 128)
    return ak.gan.MLPGAN(
        (2,),
        latent_dim=8,
        generator_widths=widths,
        discriminator_widths=widths,
        dropout=0.0,
        **kwargs,
    )


def vae(**kwargs):
    return ak.vae.VAE((28, 28, 1), latent_dim=16, **kwargs)


def denoising_autoencoder(**kwargs):
    return ak.vae.DenoisingAutoencoder((28, 28, 1), **kwargs)


def diffusion(image_shape=(28, 28, 1), **kwargs):
    """The network of the checkpoint, without a learned variance."""
    return ak.diffusion.DiffusionModel(
        image_shape, num_classes=10, widths=(32, 96), blocks=1, **kwargs
    )


def latent_diffusion(**kwargs):
    """Its autoencoder, untrained, is float32 in every precision."""
    autoencoder = ak.diffusion.latent_autoencoder((28, 28, 1))
    return ak.diffusion.LatentDiffusion(autoencoder, num_classes=10, blocks=1, **kwargs)


def gpt(width=192, num_heads=6, **kwargs):
    """The network of the checkpoint "gpt_kjv", without dropout."""
    tokenizer = kjv_tokenizer(2048)
    return ak.text.GPT(tokenizer, width=width, num_layers=6, num_heads=num_heads, **kwargs)


def lora_gpt(**kwargs):
    network = gpt(**kwargs)
    ak.tuning.add_lora(network, rank=4)
    return network


def lstm(**kwargs):
    return ak.text.RNNLanguageModel(kjv_tokenizer(1024), cell="lstm", units=384, **kwargs)


def seq2seq(**kwargs):
    return ak.seq2seq.Seq2Seq(
        kjv_tokenizer(4096),
        context_length=PAIR_LENGTH,
        width=192,
        num_layers=3,
        num_heads=6,
        **kwargs,
    )


def rnn_seq2seq(**kwargs):
    return ak.seq2seq.RNNSeq2Seq(
        kjv_tokenizer(4096), context_length=PAIR_LENGTH, cell="lstm", units=192, **kwargs
    )


def text_to_image(**kwargs):
    """The networks of the checkpoint, untrained; only the U-Net has `dtype`, and it learns."""
    autoencoder = ak.diffusion.latent_autoencoder((64, 64, 3), width=48)
    encoder = ak.text.reading.token_encoder(emoji_tokenizer())
    sizes = {"text_encoder": encoder, "widths": (96, 160), "blocks": 1, "patch": 2}
    network = ak.text_to_image.TextToImage(autoencoder, emoji_tokenizer(), **sizes, **kwargs)
    network.latent_std.assign(np.ones(4))  # `fit` need not look at thousands of pictures first
    return network


def text_image_model(**kwargs):
    return ak.contrastive.TextImageModel(emoji_tokenizer(), **kwargs)


def without_end(network):
    """A `Seq2Seq` that never says END: all its texts are as long as they may be.

    The last norm adds 1 to each number; the product of what it gives with END's vector is -width.
    """
    network.decoder_norm.beta.assign(np.ones(network.width))
    vectors = network.embedding.embeddings.numpy()
    vectors[ak.text.END] = -1.0
    network.embedding.embeddings.assign(vectors)
    return network


def content_and_style(size=STYLE_PX):
    content = keras.ops.image.resize(ak.datasets.photograph("china", size=size), (size, size))
    return keras.ops.convert_to_numpy(content), ak.patterns.draw("waves", size)


def style_transfer(**kwargs):
    return ak.style.StyleTransfer(*content_and_style(), **kwargs)


def fast_style_transfer(**kwargs):
    return ak.style.FastStyleTransfer(content_and_style()[1], **kwargs)


def adain(**kwargs):
    return ak.style.AdaIN(**kwargs)


def clothes(batch_size, labels=False):
    split = f"train[:{60_000 // batch_size * batch_size}]"  # XLA would compile a short last batch
    return ak.datasets.load("fashion_mnist", split, batch_size, seed=SEED, labels=labels)


def ring(batch_size):
    return ak.datasets.load("ring", "train[:19968]", batch_size, seed=SEED)


def bible(build, batch_size):
    """All batches of `windows` are whole: rows of padding fill the last one up."""
    return build().windows(ak.datasets.text("kjv"), batch_size, seed=SEED)


def token_pairs(batch_size):
    """Sources and targets of one length each, no padding: random tokens, as PyTorch's."""
    rng = np.random.default_rng(SEED)
    lengths = PAIR_LENGTH, PAIR_LENGTH + 1
    return tuple(rng.integers(1, 4096, (batch_size, n), "int32") for n in lengths)


def translations(batch_size):
    return tf.data.Dataset.from_tensors(token_pairs(batch_size))


def captioned(build, batch_size):
    data = build().batches(emoji().batches(batch_size, seed=SEED))
    return data.take(len(emoji().images) // batch_size)  # XLA would compile a short last batch


def crops(batch_size, size=STYLE_PX):
    return ak.datasets.load("photographs", "train[:200]", batch_size, size, seed=SEED)


def pairs(batch_size):
    images = crops(batch_size, ADAIN_PX)
    return tf.data.Dataset.zip(images, images)


@dataclass(frozen=True)
class Case:
    """A line of the table: how the model is built and what it trains on."""

    name: str
    build: object  # function of keyword arguments
    data: object  # function of the batch size
    batch_size: int = 64
    torch: str = ""  # its name in `torch_models.py`
    library: str = "torch"  # what that needs
    plain: object = None  # function that builds it of keras.layers, if there is one
    unit: str = "steps"  # what is counted
    units_a_step: int = 1


TOKENS = {"batch_size": 32, "unit": "tokens", "units_a_step": 32 * CONTEXT_LENGTH}
PAIRS = {"unit": "tokens read and written", "units_a_step": 64 * 2 * PAIR_LENGTH}

CASES = (
    Case("DCGAN 28 px", dcgan, clothes, torch="DCGAN"),
    Case("DCGAN 28 px, augmented (PyTorch's is not)", augmented_dcgan, clothes, torch="DCGAN"),
    Case("MLPGAN 28 px", mlpgan, clothes, torch="MLPGAN"),
    Case("MLPGAN ring", ring_gan, ring, 256, torch="RingGAN"),
    Case("VAE 28 px", vae, clothes, torch="VAE"),
    Case(
        "Denoising autoencoder 28 px", denoising_autoencoder, clothes, torch="DenoisingAutoencoder"
    ),
    Case("Diffusion 28 px", diffusion, functools.partial(clothes, labels=True), torch="Diffusion"),
    Case(
        "Latent diffusion 7 x 7 x 4",
        latent_diffusion,
        functools.partial(clothes, labels=True),
        torch="LatentDiffusion",
    ),
    Case(
        "Text: GPT",
        gpt,
        functools.partial(bible, gpt),
        torch="GPT",
        plain=functools.partial(keras_models.gpt, 2048, 192, 6, 6, CONTEXT_LENGTH),
        **TOKENS,
    ),
    Case(
        "Text: GPT, LoRA of rank 4",
        lora_gpt,
        functools.partial(bible, gpt),
        torch="GPTLoRA",
        library="peft",
        **TOKENS,
    ),
    Case(
        "Text: LSTM",
        lstm,
        functools.partial(bible, lstm),
        torch="LSTM",
        plain=functools.partial(keras_models.lstm, 1024, 384, CONTEXT_LENGTH),
        **TOKENS,
    ),
    Case("Text to text: Transformer", seq2seq, translations, torch="Seq2Seq", **PAIRS),
    Case(
        "Text to text: LSTM with attention",
        rnn_seq2seq,
        translations,
        torch="RNNSeq2Seq",
        **PAIRS,
    ),
    Case(
        "Text to picture 16 x 16 x 4",
        text_to_image,
        functools.partial(captioned, text_to_image),
        torch="TextToImage",
    ),
    Case(
        "Contrastive text-image model 64 px",
        text_image_model,
        functools.partial(captioned, text_image_model),
        128,
        torch="TextImageModel",
    ),
    Case(
        "Style transfer (Gatys) 256 px",
        style_transfer,
        lambda batch_size: None,
        1,
        torch="StyleTransfer",
    ),
    Case("Fast style transfer 256 px", fast_style_transfer, crops, 4, torch="FastStyleTransfer"),
    Case("AdaIN 128 px", adain, pairs, 4, torch="AdaIN"),
)


def case(name):
    return next(case for case in CASES if case.name == name)


def noise(network, batch_size):
    """A batch for `train_step` as NumPy arrays, of noise."""
    rng = np.random.default_rng(SEED)

    def images(shape):
        return rng.uniform(-1, 1, (batch_size, *shape)).astype("float32")

    if isinstance(network, ak.text.LanguageModel):
        shape = batch_size, network.context_length + 1
        return rng.integers(1, network.tokenizer.vocab_size, shape, "int32")
    if isinstance(network, ak.seq2seq.Seq2Seq | ak.seq2seq.RNNSeq2Seq):
        return token_pairs(batch_size)
    if isinstance(network, ak.style.StyleTransfer):
        return np.int32(0)
    if isinstance(network, ak.style.FastStyleTransfer):
        return images((STYLE_PX, STYLE_PX, 3))
    if isinstance(network, ak.style.AdaIN):
        return images((ADAIN_PX, ADAIN_PX, 3)), images((ADAIN_PX, ADAIN_PX, 3))
    if isinstance(network, ak.text_to_image.TextToImage | ak.contrastive.TextImageModel):
        shape = batch_size, network.max_length
        tokens = rng.integers(1, network.tokenizer.vocab_size, shape, "int32")
        return images(network.image_shape), tokens
    if getattr(network, "num_classes", None):
        labels = np.arange(batch_size, dtype="int32") % network.num_classes
        return images(network.image_shape), labels
    return images(network.image_shape)


def fit(network, data, callback):
    """Train through `fit`, as a student does, until the callback ends it."""
    more = {"verbose": 0, "callbacks": [callback]}
    if isinstance(network, ak.style.StyleTransfer):
        network.fit(10**9, **more)
        return
    data = steady(data.repeat())
    network.fit(data, steps_per_epoch=10**9, shuffle=False, **more)
