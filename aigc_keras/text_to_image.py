"""From text to picture (文生图): chapter 10.

The latent diffusion of chapter 04, told by a text what to draw instead of by a class: Rombach et
al. 2022 (arXiv:2112.10752), section 3.3.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from aigc_keras.attention import CrossAttention
from aigc_keras.diffusion import LatentDiffusion, unet
from aigc_keras.guards import (
    as_images,
    check_choice,
    check_functional,
    check_network,
    check_number,
    check_sizes,
)
from aigc_keras.model import averaged
from aigc_keras.text.reading import WithTexts, token_encoder
from aigc_keras.text.tokenizers import PADDING, check_tokenizer, padding_of

CONDITIONINGS = ("attention", "modulation")
MOST_POSITIONS = 256  # of a map that looks at the text itself: 16 x 16


@keras.saving.register_keras_serializable("aigc_keras")
class MapAttention(CrossAttention):
    """Every position of a map (B, height, width, channels) looks at all of `memory`: a text."""

    def dense(self, shape, n=1, std=None, reads=None):
        # Scores of about 1: with those of a GPT, near 0, it looks at all tokens alike for long.
        std = (reads or shape)[-1] ** -0.5 if std is None else std
        return super().dense(shape, n, std, reads)

    def weights_and_values(self, x, memory, hidden=None):
        batch, height, breadth, channels = ops.shape(x)
        x = ops.reshape(x, (batch, height * breadth, channels))
        return super().weights_and_values(x, memory, hidden)

    def call(self, x, memory, hidden=None):
        return ops.reshape(super().call(x, memory, hidden), ops.shape(x))


def text_condition(text_encoder, max_length=32, conditioning="attention", dtype=None):
    """What `diffusion.unet` takes as its `condition`, where it is a text.

    The mean of the tokens' vectors scales and shifts all maps, as a class does: `"modulation"`.
    `"attention"`: beside it, behind each block of at most 256 positions, these look at the tokens
    (both: Nichol et al. 2022, arXiv:2112.10741, section 4.1).
    """
    tokens = keras.Input((max_length,), dtype="int32", name="tokens")
    memory, hidden = text_encoder(tokens), padding_of(tokens)
    mean = layers.GlobalAveragePooling1D(dtype=dtype)(memory, mask=ops.logical_not(hidden))
    if conditioning == "modulation":
        return tokens, mean, None

    def look(x):
        if math.prod(x.shape[1:3]) > MOST_POSITIONS:
            return x
        h = layers.GroupNormalization(8, dtype=dtype)(x)
        seen = MapAttention(4, output_std=0.0, dtype=dtype)(h, memory, hidden=hidden)
        return layers.Add(dtype=dtype)([x, seen])

    return tokens, mean, look


@keras.saving.register_keras_serializable("aigc_keras")
class TextToImage(WithTexts, LatentDiffusion):
    """Latent diffusion that draws what a text says; trains on (images, tokens of their texts).

    Args:
        autoencoder: a trained `aigc_keras.vae.VAE`; `fit` leaves it as it is.
        tokenizer: a `CharTokenizer` or `BPETokenizer`; it is saved with the model.
        latent_shape: (height, width, channels), as many numbers as the autoencoder's latent_dim.
        max_length: at most so many tokens has a text, END included.
        conditioning: how the network is told: one of `CONDITIONINGS`, see `text_condition`.
        text_encoder: a `keras.Model` of your own from tokens (B, max_length), int32 with PADDING
            behind them, to (B, max_length, any), trained with `tokenizer`; a copy of it becomes a
            part of the network, and `fit` leaves that as it is. By default
            a `text.reading.token_encoder` of 4 heads, which is trained as a part of the network.
        text_width, text_layers: its size; the width is a multiple of 8.
        label_dropout: share of the texts that training replaces by the empty one.
        **kwargs: as for `LatentDiffusion`, which needs no num_classes here.
    """

    def __init__(
        self,
        autoencoder,
        tokenizer,
        latent_shape=(16, 16, 4),
        max_length=32,
        conditioning="attention",
        text_encoder=None,
        text_width=128,
        text_layers=2,
        **kwargs,
    ):
        if kwargs.get("num_classes") is not None:
            raise ValueError(f"num_classes: got {kwargs['num_classes']!r}, accepted is None.")
        self.tokenizer = check_tokenizer("tokenizer", tokenizer)
        self.max_length = check_number("max_length", max_length, low=1, integer=True)
        self.conditioning = check_choice("conditioning", conditioning, CONDITIONINGS)
        self.text_width, self.text_layers = text_width, text_layers
        # A part of the network, which saves it: no attribute that Keras follows.
        vars(self)["_text_encoder"] = text_encoder
        super().__init__(autoencoder, latent_shape, **kwargs)
        self.no_label = self.tokens("")[0]

    def default_network(self, widths, blocks, patch, outputs, dtype):
        encoder = self._text_encoder
        if encoder is None:
            check_sizes(text_width=self.text_width, text_layers=self.text_layers)
            if self.text_width % 8:
                raise ValueError(f"text_width: got {self.text_width}, accepted are multiples of 8.")
            sizes = (self.max_length, self.text_width, self.text_layers, 4)
            encoder = token_encoder(self.tokenizer, *sizes, dtype)
        else:
            check_functional("text_encoder", encoder)
            vectors = self.max_length, encoder.outputs[0].shape[-1]
            check_network("text_encoder", encoder, [vectors[:1]], [vectors])
            encoder = averaged(encoder, encoder.name)
        condition = text_condition(encoder, self.max_length, self.conditioning, dtype)
        sizes = {"outputs": outputs, "dtype": dtype, "condition": condition}
        return unet(self.data_shape, widths, blocks, patch, **sizes)

    # --- the text in place of the class ---

    @property
    def condition_shapes(self):
        return [(self.max_length,)]

    def conditions_of(self, labels, n):
        tokens = self.tokens("" if labels is None else labels)
        if len(tokens) not in (1, n):
            raise ValueError(f"texts: got {len(tokens)}, accepted are 1 or {n}.")
        return (np.broadcast_to(tokens, (n, self.max_length)),)

    def asked_for(self, labels, n, guidance_scale):
        texts, negative_prompt = labels
        (wanted,) = self.conditions_of(texts, n)
        away = np.broadcast_to(self.row("negative_prompt", negative_prompt), wanted.shape)
        return (away if guidance_scale == 0 else wanted), away

    def unpack(self, data):
        """(images, (tokens,)) of a batch."""
        images, tokens = self.parts_of(data)
        return ops.cast(images, "float32"), (ops.cast(tokens, "int32"),)

    # --- drawing ---

    def generate(
        self, texts, n=1, negative_prompt="", sampler=None, guidance_scale=3.0, seed=None,
        batch_size=64, start=None, strength=None,
    ):  # fmt: skip
        """`n` images of each text, float32 in [-1, 1], of shape `(len(texts) * n, *image_shape)`.

        prediction = that of the negative prompt + guidance_scale * (that of the text - that of the
        negative prompt): see `denoiser`. Between 0 and 1, it is a mixture of what the two say.

        Args:
            texts: a string or a list; with `start`, one for each of its images, or one for all.
            n: how many of each text.
            negative_prompt: a string, what the images shall not show.
            sampler, seed, batch_size, start, strength: as in `DiffusionModel.generate`.
        """
        n = check_number("n", n, low=1, integer=True)
        tokens = self.tokens(texts)  # refuses what is no text
        texts = [text for text in ([texts] if isinstance(texts, str) else texts) for _ in range(n)]
        n, labels = len(tokens) * n if start is None else None, (texts, negative_prompt)
        more = {"start": start, "strength": strength}
        return super().generate(n, labels, sampler, guidance_scale, seed, batch_size, **more)

    def inpaint(
        self, images, mask, texts, negative_prompt="", sampler=None, guidance_scale=3.0, seed=None,
        batch_size=64,
    ):  # fmt: skip
        """`images` with the part where `mask` is False drawn anew, to show what `texts` say.

        The arguments are those of `generate` and of `DiffusionModel.inpaint`.
        """
        labels = texts, negative_prompt
        return super().inpaint(images, mask, labels, sampler, guidance_scale, seed, batch_size)

    def attention(self, text, images, time=0.5, seed=None):
        """Where the network looks in `text` while it takes noise from `images`.

        Args:
            images: (n, *image_shape) in [-1, 1], such as `generate` gave.
            time: > 0 and <= 1: how much noise they get.

        Returns:
            (pieces, maps): the tokens as strings, END as "", and what share of the attention each
            gets, float32 (n, height, width, len(pieces)): the mean over all heads of all layers
            that look from the largest maps. The shares of a position add up to 1.
        """
        row = self.row("text", text)
        images = as_images("images", images, self.image_shape)
        if not 0 < check_number("time", time, low=0) <= 1:
            raise ValueError(f"time: got {time!r}, accepted is a number > 0 and <= 1.")
        self._check_adapted()
        looking = [x for x in self.ema_network.layers if isinstance(x, MapAttention)]
        if not looking:
            raise ValueError("conditioning: the network looks nowhere, accepted is 'attention'.")
        places = [x.input[0].shape[1:3] for x in looking]
        looking = [x for x, place in zip(looking, places, strict=True) if place == places[0]]
        steps = np.full(len(images), max(1, round(time * self.timesteps)))
        data, times = self.encode(images), (steps / self.timesteps).astype("float32")
        noisy = self.diffuse(data, self.noise(ops.shape(data), seed), steps)
        probe = keras.Model(self.ema_network.inputs, [x.input for x in looking])
        tokens = np.tile(row, (len(images), 1))
        seen = probe([noisy, *map(ops.convert_to_tensor, (times, tokens))])
        looks = [x.weights_and_values(*y)[0] for x, y in zip(looking, seen, strict=True)]
        maps = ops.mean(ops.cast(ops.stack(looks), "float32"), axis=(0, 2))
        maps = ops.convert_to_numpy(maps).reshape(len(images), *places[0], self.max_length)
        pieces = [self.tokenizer.decode([token]) for token in row[row != PADDING]]
        return pieces, maps[..., : len(pieces)]
