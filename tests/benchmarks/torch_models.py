"""The networks of `aigc_keras` and their train steps in plain PyTorch, for `bench.py`.

Answers each line "MODEL METHOD PRECISION SECONDS [NUMBER ...]" on stdin with a line on stdout: how
often METHOD ran a second. Of train_step the NUMBER is the batch size; otherwise they are passed to
METHOD. Images and texts are noise that lies in memory: their values and their loading cost this
side nothing. The first line says, as JSON, which versions of torch and other libraries there are.

`torch_models.py MODEL PRECISION N` prints instead how many bytes of memory training on batches of N
takes at its peak, beyond what the process had before the model was built.
"""

import functools
import importlib.metadata
import importlib.util
import itertools
import json
import math
import sys
import time

import memory
import torch
from torch import nn
from torch.nn.functional import (
    avg_pool2d,
    cross_entropy,
    gelu,
    interpolate,
    linear,
    normalize,
    pad,
    relu,
    scaled_dot_product_attention,
    softplus,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SKIP = 1  # calls before each measurement, after the other programs had the processor


def generator(latent_dim, width=128):
    return nn.Sequential(
        nn.Linear(latent_dim, 7 * 7 * width, bias=False),
        nn.Unflatten(1, (width, 7, 7)),
        nn.BatchNorm2d(width, eps=1e-3),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width // 2, eps=1e-3),
        nn.ReLU(),
        nn.ConvTranspose2d(width // 2, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def discriminator(width=64):
    return nn.Sequential(
        nn.Conv2d(1, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(7 * 7 * 2 * width, 1),
    )


def mlp(sizes, dropout=0.0):
    """Dense layers; what comes last is linear."""
    layers = []
    for i, (before, after) in enumerate(itertools.pairwise(sizes)):
        if i:
            layers += [nn.LeakyReLU(0.2)] + [nn.Dropout(dropout)] * (dropout > 0)
        layers.append(nn.Linear(before, after))
    return layers


class GAN:
    image_shape = 1, 28, 28

    def __init__(self, bfloat16, latent_dim, generator, discriminator):
        self.bfloat16, self.latent_dim = bfloat16, latent_dim
        self.generator, self.discriminator = generator, discriminator
        self.ema_generator = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True
        ).eval()
        self.generator_weights = list(self.generator.parameters())
        self.discriminator_weights = list(self.discriminator.parameters())
        adam = {"lr": 4e-4, "betas": (0.5, 0.999), "eps": 1e-7}
        self.generator_optimizer = torch.optim.Adam(self.generator_weights, **adam)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator_weights, **adam)

    def batch(self, n):
        return noise_images(n, *self.image_shape)

    def train_step(self, real_images):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            fake_images = self.generator(torch.randn(len(real_images), self.latent_dim))
            real_logits = self.discriminator(real_images).float()
            fake_logits = self.discriminator(fake_images).float()
        discriminator_loss = softplus(-real_logits).mean() + softplus(fake_logits).mean()
        generator_loss = softplus(-fake_logits).mean()
        self.discriminator_optimizer.zero_grad()
        self.generator_optimizer.zero_grad()
        discriminator_loss.backward(inputs=self.discriminator_weights, retain_graph=True)
        generator_loss.backward(inputs=self.generator_weights)
        self.discriminator_optimizer.step()
        self.generator_optimizer.step()
        self.ema_generator.update_parameters(self.generator)
        return discriminator_loss.item(), generator_loss.item()

    @torch.no_grad()
    def generate(self, n, at_a_time=256):
        latents = torch.randn(n, self.latent_dim).split(at_a_time)
        return torch.cat([self.ema_generator(x) for x in latents])


class DCGAN(GAN):
    def __init__(self, bfloat16):
        super().__init__(bfloat16, 64, generator(64), discriminator())


class MLPGAN(GAN):
    def __init__(self, bfloat16):
        super().__init__(
            bfloat16,
            64,
            nn.Sequential(
                *mlp((64, 256, 512, 1024, 28 * 28)), nn.Tanh(), nn.Unflatten(1, self.image_shape)
            ),
            nn.Sequential(nn.Flatten(), *mlp((28 * 28, 1024, 512, 256, 1), dropout=0.4)),
        )


class RingGAN(GAN):
    image_shape = (2,)

    def __init__(self, bfloat16):
        super().__init__(
            bfloat16,
            8,
            nn.Sequential(*mlp((8, 128, 128, 2)), nn.Tanh()),
            nn.Sequential(*mlp((2, 128, 128, 1))),
        )


def encoder(width=16, hidden=256):
    """Up to the two layers that give mean and log-variance."""
    return nn.Sequential(
        nn.Conv2d(1, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(7 * 7 * 2 * width, hidden),
        nn.ReLU(),
    )


def decoder(latent_dim, width=16, hidden=256):
    return nn.Sequential(
        nn.Linear(latent_dim, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 7 * 7 * 2 * width),
        nn.ReLU(),
        nn.Unflatten(1, (2 * width, 7, 7)),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
    )


class VAE(nn.Module):
    def __init__(self, bfloat16, latent_dim=16, hidden=256):
        super().__init__()
        self.bfloat16 = bfloat16
        self.encoder, self.decoder = encoder(hidden=hidden), decoder(latent_dim, hidden=hidden)
        self.mean, self.log_variance = nn.Linear(hidden, latent_dim), nn.Linear(hidden, latent_dim)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, eps=1e-7)

    def batch(self, n):
        return noise_images(n, 1, 28, 28)

    def train_step(self, images):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            features = self.encoder(images)
        # As in Keras, mean and log-variance are float32 in every precision.
        mean, log_variance = self.mean(features.float()), self.log_variance(features.float())
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = self.decoder(latents)
        logits, white = logits.float(), 0.5 * (images + 1)
        reconstruction_loss = (softplus(logits) - white * logits).sum((1, 2, 3)).mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
        loss = reconstruction_loss + kl
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item(), reconstruction_loss.item(), kl.item()

    @torch.no_grad()
    def generate(self, n, at_a_time=256):
        latents = torch.randn(n, self.mean.out_features).split(at_a_time)
        return torch.cat([torch.tanh(0.5 * self.decoder(x)) for x in latents])


def code_encoder(code_channels, width=32, channels=1):
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * width, code_channels, 3, padding=1),
    )


def code_decoder(code_channels, width=32, channels=1):
    return nn.Sequential(
        nn.Conv2d(code_channels, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        nn.Tanh(),
    )


class DenoisingAutoencoder:
    def __init__(self, bfloat16):
        self.bfloat16 = bfloat16
        self.network = nn.Sequential(code_encoder(8), code_decoder(8))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, eps=1e-7)

    def batch(self, n):
        return noise_images(n, 1, 28, 28)

    def train_step(self, images):
        noisy = images + 0.5 * torch.randn_like(images)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            denoised = self.network(noisy).float()
        loss = (images - denoised).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class ResidualBlock(nn.Module):
    def __init__(self, channels, width, dim):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels, eps=1e-3)
        self.scale, self.shift = nn.Linear(dim, channels), nn.Linear(dim, channels)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x, embedding):
        scale, shift = (layer(embedding)[..., None, None] for layer in (self.scale, self.shift))
        h = relu(self.norm(x) * (1 + scale) + shift)
        return self.skip(x) + self.second(relu(self.first(h)))


class UNet(nn.Module):
    """`aigc_keras.diffusion.unet` with two widths and blocks=1."""

    block = ResidualBlock

    def __init__(self, channels, widths, patch, num_classes):
        super().__init__()
        fine, coarse = widths
        dim = 2 * coarse
        self.frequencies = torch.exp(-math.log(10_000) * torch.arange(32) / 32)
        self.time = nn.Sequential(nn.Linear(64, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(num_classes + 1, dim)  # one more class than there are: none
        if patch == 1:
            self.input = nn.Conv2d(channels, fine, 3, padding=1)
            self.output = nn.Conv2d(fine, channels, 3, padding=1)
        else:
            self.input = nn.Conv2d(channels, fine, patch, stride=patch)
            self.output = nn.ConvTranspose2d(
                fine, channels, 2 * patch, stride=patch, padding=patch // 2
            )
        self.fine_down = self.block(fine, fine, dim)
        self.downsample = nn.Conv2d(fine, coarse, 3, stride=2)
        self.coarse_down = self.block(coarse, coarse, dim)
        self.middle = self.block(coarse, coarse, dim)
        self.attention_norm = nn.GroupNorm(8, coarse, eps=1e-3)
        self.attention = nn.MultiheadAttention(coarse, 4, batch_first=True)
        self.coarse_up = self.block(2 * coarse, coarse, dim)
        self.upsample = nn.Conv2d(coarse, fine, 3, padding=1)
        self.fine_up = self.block(2 * fine, fine, dim)
        self.output_norm = nn.GroupNorm(8, fine, eps=1e-3)

    def embed(self, times, labels):
        angles = 1000 * times[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        return nn.functional.silu(self.time(waves) + self.label(labels))

    def forward(self, noisy, times, labels):
        embedding = self.embed(times, labels)
        fine = self.fine_down(self.input(noisy), embedding)
        odd = fine.shape[-1] % 2  # Keras' "same" pads an even side at its end only
        coarse = self.coarse_down(self.downsample(pad(fine, (odd, 1, odd, 1))), embedding)
        x = self.middle(coarse, embedding)
        h = self.attention_norm(x).flatten(2).transpose(1, 2)
        h, _ = self.attention(h, h, h, need_weights=False)
        x = x + h.transpose(1, 2).reshape(x.shape)
        x = self.coarse_up(torch.cat([x, coarse], 1), embedding)
        x = interpolate(x, scale_factor=2)[..., : fine.shape[-2], : fine.shape[-1]]
        x = self.fine_up(torch.cat([self.upsample(x), fine], 1), embedding)
        return self.output(relu(self.output_norm(x)))


def cosine_rates(times):
    """(signal rates, noise rates) of the cosine schedule, in double precision."""
    offset = 0.008
    angles = (times.double() + offset) / (1 + offset) * math.pi / 2
    alpha_bar = angles.cos() ** 2 / math.cos(offset / (1 + offset) * math.pi / 2) ** 2
    alpha_bar = 1 - (1 - 1e-4) * (1 - alpha_bar)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


class Diffusion:
    shape, widths, patch, num_classes, timesteps = (1, 28, 28), (32, 96), 2, 10, 1000
    no_label = num_classes

    def __init__(self, bfloat16):
        self.bfloat16 = bfloat16
        self.network = self.make_network()
        self.ema_network = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(0.999)
        ).eval()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, eps=1e-7)
        steps = torch.arange(self.timesteps + 1) / self.timesteps
        self.rates = [x.float()[:, None, None, None] for x in cosine_rates(steps)]

    def make_network(self):
        return UNet(self.shape[0], self.widths, self.patch, self.num_classes)

    def batch(self, n):
        return noise_images(n, 1, 28, 28), self.labels(n)

    def labels(self, n):
        return torch.arange(n) % self.num_classes

    def read(self, labels):
        """What the network is given for labels: here they themselves."""
        return labels

    def encode(self, images):
        return images

    def decode(self, data):
        return data

    def clip(self, data):
        return data.clamp(-1, 1)

    def train_step(self, batch):
        images, labels = batch
        data, labels, n = self.encode(images), labels.clone(), len(images)
        labels[torch.rand(n) < 0.1] = self.no_label
        steps = torch.randint(1, self.timesteps + 1, (n,))
        signal_rates, noise_rates = (x[steps] for x in self.rates)
        noise = torch.randn_like(data)
        noisy = signal_rates * data + noise_rates * noise
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            velocity = self.network(noisy, steps / self.timesteps, self.read(labels)).float()
        loss = (velocity - (signal_rates * noise - noise_rates * data)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.ema_network.update_parameters(self.network)
        return loss.item()

    def generate(self, n, steps):
        return self.sample(torch.randn(n, *self.shape), self.labels(n), steps)

    def predict(self, noisy, time_, labels):
        return self.ema_network(noisy, torch.full((len(noisy),), time_), labels)

    @torch.no_grad()
    def sample(self, noisy, labels, steps):
        """DPM-Solver++(2M): Lu et al. 2022, algorithm 2, as `aigc_keras.diffusion.DPMSolver`."""
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        signal_rates, noise_rates = (x.tolist() for x in cosine_rates(times))
        log_snr = [math.log(s / n) for s, n in zip(signal_rates[:-1], noise_rates, strict=False)]
        previous = None
        for i, time_ in enumerate(times[:-1].tolist()):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                velocity = self.predict(noisy, time_, labels)
            image = self.clip(signal_rates[i] * noisy - noise_rates[i] * velocity.float())
            if i == steps - 1:
                return self.decode(image)
            h = log_snr[i + 1] - log_snr[i]
            straight = image
            if previous is not None:
                straight = image + 0.5 * h / (log_snr[i] - log_snr[i - 1]) * (image - previous)
            noisy = noise_rates[i + 1] / noise_rates[i] * noisy
            noisy = noisy - signal_rates[i + 1] * math.expm1(-h) * straight
            previous = image


class LatentDiffusion(Diffusion):
    """With the networks of `latent_autoencoder`, which are float32 in every precision."""

    shape, widths, patch = (4, 7, 7), (64, 128), 1
    code = 32, 1  # width of the autoencoder, channels of an image

    def __init__(self, bfloat16):
        super().__init__(bfloat16)
        # Means and log-variances.
        self.encoder, self.decoder = code_encoder(8, *self.code), code_decoder(4, *self.code)
        self.mean, self.std = torch.zeros(4, 1, 1), torch.ones(4, 1, 1)

    @torch.no_grad()
    def encode(self, images):
        mean, _ = self.encoder(images).chunk(2, dim=1)
        return (mean - self.mean) / self.std

    def decode(self, data):
        return self.decoder(data * self.std + self.mean)

    def clip(self, data):
        return data


class LanguageModel(nn.Module):
    """Batches are tokens (N, context_length + 1): all but the last are inputs."""

    context_length = 128

    def __init__(self, bfloat16, vocab_size, width):
        super().__init__()
        self.bfloat16, self.vocab_size = bfloat16, vocab_size
        self.embedding = nn.Embedding(vocab_size, width)  # also the output weights

    def batch(self, n):
        return torch.randint(self.vocab_size, (n, self.context_length + 1))

    def prepare(self):
        nn.init.normal_(self.embedding.weight, std=0.02)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=2e-3, betas=(0.9, 0.98), eps=1e-7, weight_decay=0.1
        )

    def forward(self, tokens):
        return linear(self.hidden(self.embedding(tokens)), self.embedding.weight)

    def loss(self, tokens):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = self(tokens[:, :-1]).float()
        return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def train_step(self, data):
        loss = self.loss(data)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


class LSTM(LanguageModel):
    def __init__(self, bfloat16, vocab_size=1024, units=384):
        super().__init__(bfloat16, vocab_size, units)
        self.lstm = nn.LSTM(units, units, batch_first=True)
        # PyTorch has two biases, whose sum counts: ours has one.
        self.lstm.bias_hh_l0.requires_grad_(False).zero_()
        self.prepare()

    def hidden(self, x):
        return self.lstm(x)[0]

    @torch.no_grad()
    def generate(self, n, new, prompt_tokens=8):
        tokens = [torch.randint(self.vocab_size, (n, prompt_tokens))]
        state = None
        for _ in range(new):
            hidden, state = self.lstm(self.embedding(tokens[-1]), state)
            logits = linear(hidden[:, -1], self.embedding.weight)
            tokens.append(torch.multinomial(logits.softmax(-1), 1))
        return torch.cat(tokens, 1)


def rotations(width, length):
    """Cosines and sines of the angles by which rotary positions turn heads of `width` numbers."""
    half = width // 2
    angles = torch.arange(length)[:, None] * 10_000 ** (-torch.arange(half) / half)
    return angles.cos(), angles.sin()


def joined(x):
    """Heads (B, heads, T, width / heads) as (B, T, width)."""
    return x.transpose(1, 2).flatten(2)


class Block(nn.Module):
    def __init__(self, width, num_heads, causal=True):
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def heads(self, x, n):
        """(B, T, n x width) as n tensors (B, heads, T, width / heads)."""
        return x.unflatten(-1, (n, self.num_heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(self, x, cos, sin, seen=None):
        return self.feed_forward(self.attend(x, cos, sin, seen))

    def attend(self, x, cos, sin, seen=None):
        def rotate(x):
            a, b = x.chunk(2, dim=-1)
            c, s = cos.to(x.dtype), sin.to(x.dtype)
            return torch.cat([a * c - b * s, a * s + b * c], -1)

        queries, keys, values = self.heads(self.qkv(self.norm1(x)), 3)
        mixed = scaled_dot_product_attention(
            rotate(queries), rotate(keys), values, seen, is_causal=self.causal
        )
        return x + self.out(joined(mixed))

    def feed_forward(self, x):
        return x + self.narrow(gelu(self.widen(self.norm2(x)), approximate="tanh"))


class GPT(LanguageModel):
    def __init__(self, bfloat16, vocab_size=2048, width=192, num_layers=6, num_heads=6):
        super().__init__(bfloat16, vocab_size, width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.cos, self.sin = rotations(width // num_heads, self.context_length)
        self.prepare()

    def hidden(self, x):
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)


class GPTLoRA(GPT):
    """`GPT` of which only peft's adapters of rank 4 learn, beside the four layers of each block."""

    def prepare(self):
        from peft import LoraConfig, inject_adapter_in_model

        self.requires_grad_(False)
        inject_adapter_in_model(
            LoraConfig(r=4, lora_alpha=4, target_modules=["qkv", "out", "widen", "narrow"]),
            self.blocks,
        )
        super().prepare()


PADDING = -1


class TextToText(LanguageModel):
    """Batches are sources (N, length) and targets (N, length + 1): all but the last are inputs."""

    length = 40

    def batch(self, n):
        lengths = self.length, self.length + 1
        return tuple(torch.randint(1, self.vocab_size, (n, length)) for length in lengths)

    def loss(self, data):
        sources, targets = data
        hidden = sources == PADDING
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            x, memory = (self.embedding(t.clamp(min=0)) for t in (targets[:, :-1], sources))
            logits = linear(self.hidden(x, memory, hidden), self.embedding.weight).float()
        return cross_entropy(
            logits.flatten(0, 1),
            targets[:, 1:].flatten(),
            ignore_index=PADDING,
            label_smoothing=0.1,
        )


class DecoderBlock(Block):
    def __init__(self, width, num_heads):
        super().__init__(width, num_heads)
        self.norm3, self.query = nn.LayerNorm(width), nn.Linear(width, width)
        self.key_value, self.cross_out = nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x, cos, sin, memory, seen):
        x = self.attend(x, cos, sin)
        (queries,) = self.heads(self.query(self.norm3(x)), 1)
        keys, values = self.heads(self.key_value(memory), 2)
        mixed = scaled_dot_product_attention(queries, keys, values, seen)
        return self.feed_forward(x + self.cross_out(joined(mixed)))


class Seq2Seq(TextToText):
    def __init__(self, bfloat16, vocab_size=4096, width=192, num_layers=3, num_heads=6):
        super().__init__(bfloat16, vocab_size, width)
        self.encoder = nn.ModuleList(
            Block(width, num_heads, causal=False) for _ in range(num_layers)
        )
        self.decoder = nn.ModuleList(DecoderBlock(width, num_heads) for _ in range(num_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cos, self.sin = rotations(width // num_heads, self.length)
        self.prepare()

    def hidden(self, x, memory, hidden):
        seen = ~hidden[:, None, None]
        for block in self.encoder:
            memory = block(memory, *self.angles(memory), seen)
        memory = self.encoder_norm(memory)
        for block in self.decoder:
            x = block(x, *self.angles(x), memory, seen)
        return self.decoder_norm(x)

    def angles(self, x):
        return self.cos[: x.shape[1]], self.sin[: x.shape[1]]


class RNNSeq2Seq(TextToText):
    """Two LSTMs, and the attention of Bahdanau et al. 2015 after the decoder's."""

    def __init__(self, bfloat16, vocab_size=4096, units=192):
        super().__init__(bfloat16, vocab_size, units)
        self.encoder, self.decoder = (nn.LSTM(units, units, batch_first=True) for _ in range(2))
        for lstm in (self.encoder, self.decoder):  # one bias, as in `LSTM`
            lstm.bias_hh_l0.requires_grad_(False).zero_()
        self.bridge, self.combine = nn.Linear(units, 2 * units), nn.Linear(2 * units, units)
        self.query, self.key = nn.Linear(units, units), nn.Linear(units, units, bias=False)
        self.score = nn.Linear(units, 1, bias=False)
        self.prepare()

    def hidden(self, x, memory, hidden):
        states, _ = self.encoder(memory)
        last = states[torch.arange(len(states)), (~hidden).sum(1) - 1]
        first = self.bridge(last).tanh()[None].chunk(2, dim=-1)
        x, _ = self.decoder(x, tuple(part.contiguous() for part in first))
        mixed = torch.tanh(self.query(x)[:, :, None] + self.key(states)[:, None])
        scores = self.score(mixed)[..., 0].masked_fill(hidden[:, None], -math.inf)
        return self.combine(torch.cat([x, scores.softmax(-1) @ states], -1)).tanh()


# --- texts and pictures ---


class TextEncoder(nn.Module):
    """`aigc_keras.text.reading.token_encoder`: from tokens (N, T) to vectors, and which count."""

    def __init__(self, vocab_size=2000, length=32, width=64, num_layers=2, num_heads=4):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(
            Block(width, num_heads, causal=False) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.cos, self.sin = rotations(width // num_heads, length)

    def forward(self, tokens):
        x, seen = self.embedding(tokens.clamp(min=0)), tokens != PADDING
        for block in self.blocks:
            x = block(x, self.cos, self.sin, seen[:, None, None])
        return self.norm(x), seen


def captions(n, vocab_size=2000, length=32):
    """Random tokens, behind them END, which is 0, and PADDING."""
    tokens = torch.randint(1, vocab_size, (n, length))
    tokens[:, length // 2] = 0
    tokens[:, length // 2 + 1 :] = PADDING
    return tokens


class ToldBlock(ResidualBlock):
    """Then each position of the map looks at the vectors of a text."""

    heads = Block.heads

    def __init__(self, channels, width, dim, text_width=64, num_heads=4):
        super().__init__(channels, width, dim)
        self.num_heads, self.text_norm = num_heads, nn.GroupNorm(8, width, eps=1e-3)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(text_width, 2 * width)

    def forward(self, x, told):
        embedding, text, seen = told
        x = super().forward(x, embedding)
        (queries,) = self.heads(self.query(self.text_norm(x).flatten(2).transpose(1, 2)), 1)
        keys, values = self.heads(self.key_value(text), 2)
        mixed = scaled_dot_product_attention(queries, keys, values, seen[:, None, None])
        return x + self.out(joined(mixed)).transpose(1, 2).reshape(x.shape)


class ToldUNet(UNet):
    """Told by (vectors of a text, which of them count); their mean joins the time."""

    block = ToldBlock

    def __init__(self, channels, widths, patch, text_width=64):
        super().__init__(channels, widths, patch, num_classes=0)
        self.label = nn.Linear(text_width, 2 * widths[-1])

    def embed(self, times, labels):
        text, seen = labels
        mean = (text * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        return super().embed(times, mean), text, seen


class TextToImage(LatentDiffusion):
    """The encoder of texts is frozen; it reads them once before all steps of `generate`."""

    shape, widths, patch, code, guidance = (4, 16, 16), (96, 160), 2, (48, 3), 3.0
    no_label = torch.tensor([0] + 31 * [PADDING])  # the empty text

    def __init__(self, bfloat16):
        super().__init__(bfloat16)
        self.text_encoder = TextEncoder().requires_grad_(False)

    def make_network(self):
        return ToldUNet(self.shape[0], self.widths, self.patch)

    def batch(self, n):
        return noise_images(n, 3, 64, 64), self.labels(n)

    def labels(self, n):
        return captions(n)

    def read(self, labels):
        return self.text_encoder(labels)

    def generate(self, n, steps):
        texts = torch.cat([self.labels(n), self.no_label.expand(n, -1)])
        return self.sample(torch.randn(n, *self.shape), self.read(texts), steps)

    def predict(self, noisy, time_, labels):
        """Guided: with the texts and without, in one pass."""
        both = super().predict(noisy.repeat(2, 1, 1, 1), time_, labels)
        told, untold = both.chunk(2)
        return untold + self.guidance * (told - untold)


class TextImageModel(nn.Module):
    def __init__(self, bfloat16, width=16, hidden=256, dim=64):
        super().__init__()
        self.bfloat16, layers = bfloat16, []
        for before, after in itertools.pairwise([3, width, 2 * width, 4 * width]):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(8 * 8 * 4 * width, hidden), nn.ReLU()]
        self.image_encoder = nn.Sequential(*layers, nn.Linear(hidden, dim))
        self.text_encoder = TextEncoder(width=dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=2e-3, eps=1e-7)

    def batch(self, n):
        return noise_images(n, 3, 64, 64), captions(n)

    def forward(self, images, tokens):
        """(losses, recall at 1) of a batch."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            images, (texts, seen) = self.image_encoder(images), self.text_encoder(tokens)
        texts = (texts.float() * seen[..., None]).sum(1)
        similarities = normalize(images.float(), dim=1) @ normalize(texts, dim=1).T
        # Equal texts are no wrong answers to each other.
        same, own = (tokens[:, None] == tokens).all(2), torch.eye(len(tokens), dtype=torch.bool)
        scores = (self.log_scale.exp() * similarities).masked_fill(same & ~own, -math.inf)
        losses = -0.5 * sum(scores.log_softmax(i).diagonal() for i in (0, 1))
        recall = same[torch.arange(len(tokens)), similarities.argmax(1)].float().mean()
        return losses, recall

    def train_step(self, data):
        losses, recall = self(*data)
        loss = losses.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(100))
        return loss.item(), recall.item()


# --- what transformers has ---


class GPT2:
    """transformers' own `generate`, with its cache, of a network as large as `GPT`."""

    def __init__(self, bfloat16):
        from transformers import GPT2Config, GPT2LMHeadModel

        # Without a token that ends a text, all are as long as they may be.
        config = GPT2Config(
            vocab_size=2048,
            n_positions=128,
            n_embd=192,
            n_layer=6,
            n_head=6,
            bos_token_id=0,
            eos_token_id=None,
        )
        self.model = GPT2LMHeadModel(config).eval()

    def generate(self, n, new, prompt_tokens=8):
        prompts = torch.randint(2048, (n, prompt_tokens))
        return self.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=new,
            do_sample=True,
            top_k=0,  # of all tokens: its default is 50
            use_cache=True,
            pad_token_id=0,
        )


class Pegasus:
    """transformers' own `generate` of an encoder-decoder with as many weights as `Seq2Seq`.

    Its blocks are the same, with the norm before each part; its positions are waves that are added,
    which have no weights, either.
    """

    def __init__(self, bfloat16):
        from transformers import PegasusConfig, PegasusForConditionalGeneration

        sizes = {"layers": 3, "attention_heads": 6, "ffn_dim": 4 * 192}
        # Without a token that ends a text, all are as long as they may be.
        config = PegasusConfig(
            vocab_size=4096,
            d_model=192,
            **{f"{part}_{k}": n for part in ("encoder", "decoder") for k, n in sizes.items()},
            activation_function="gelu_pytorch_tanh",
            max_position_embeddings=64,
            pad_token_id=0,
            decoder_start_token_id=0,
            eos_token_id=None,
            forced_eos_token_id=None,
        )
        self.model = PegasusForConditionalGeneration(config).eval()

    def generate(self, n, new, n_beams, length=40):
        sources = torch.randint(1, 4096, (n, length))
        return self.model.generate(
            sources,
            attention_mask=torch.ones_like(sources),
            max_new_tokens=new,
            num_beams=n_beams,
            do_sample=False,
            use_cache=True,
        )


# --- style transfer ---

VGG16 = (64, 64), (128, 128), (256, 256, 256), (512, 512, 512)  # channels of each block
STYLE_LAYERS = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1")
CORRECTION = 0.4


class Trunk(nn.Module):
    """VGG16 up to the last of `layers`, with average pooling and random weights.

    As in `aigc_keras`, it alone runs in bfloat16; frozen, it is converted once.
    """

    def __init__(self, layers, bfloat16):
        super().__init__()
        names = [f"block{b}_conv{c}" for b, n in enumerate(VGG16, 1) for c in range(1, len(n) + 1)]
        names = names[: 1 + max(map(names.index, layers))]
        self.layers, self.convolutions, before = layers, nn.ModuleDict(), 3
        for name, channels in zip(names, itertools.chain(*VGG16), strict=False):
            self.convolutions[name] = nn.Conv2d(before, channels, 3, padding=1)
            nn.init.kaiming_normal_(self.convolutions[name].weight, nonlinearity="relu")
            before = channels
        self.mean = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
        self.dtype = torch.bfloat16 if bfloat16 else torch.float32
        self.requires_grad_(False).to(self.dtype)

    def forward(self, images):
        x = (127.5 * (images.flip(1) + 1) - self.mean).to(self.dtype)
        maps = {}
        for name, convolution in self.convolutions.items():
            if name.endswith("conv1") and name != "block1_conv1":
                x = avg_pool2d(x, 2)
            x = relu(convolution(x))
            if name in self.layers:
                maps[name] = x
        return maps


def gram_matrix(maps):
    flat = maps.flatten(2)
    return (flat @ flat.transpose(1, 2)).float() / flat.shape[2]


def relative_error(values, targets):
    errors = (values.float() - targets.float()).square().flatten(1).sum(1)
    return (errors / (targets.float().square().flatten(1).sum(1) + 1e-8)).mean()


def total_variation(images):
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().mean()
    return down + (images[..., 1:] - images[..., :-1]).abs().mean()


def color_statistics(images):
    pixels = images.flatten(2)
    mean = pixels.mean(2)
    centred = pixels - mean[..., None]
    return mean, centred @ centred.transpose(1, 2) / pixels.shape[2]


def root(covariance, power):
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=1e-4)[:, None] ** power) @ vectors.transpose(1, 2)


def color_error(images, mean, covariance):
    own_mean, own_covariance = color_statistics(images)
    own_covariance, covariance = (c + 1e-3 * torch.eye(3) for c in (own_covariance, covariance))
    whiten = root(covariance, -0.5)
    shift = whiten @ (own_mean - mean)[..., None]
    spread = whiten @ own_covariance @ whiten
    trace = spread.diagonal(dim1=1, dim2=2).sum(1)
    return 0.5 * (shift.square().sum((1, 2)) + trace - 3 - torch.logdet(spread)).mean()


def match_colors(images, mean, covariance):
    own_mean, own_covariance = color_statistics(images)
    transform = root(covariance, 0.5) @ root(own_covariance, -0.5)
    centred = images - own_mean[..., None, None]
    matched = torch.einsum("bihw,bji->bjhw", centred, transform)
    return (matched + mean[..., None, None]).clamp(-1, 1)


class PerceptualLoss:
    def __init__(self, style, content_layer, weights, bfloat16):
        self.content_layer, self.weights = content_layer, weights
        self.features = Trunk([content_layer, *STYLE_LAYERS], bfloat16)
        maps = self.features(style)
        self.grams = {name: gram_matrix(maps[name]) for name in STYLE_LAYERS}
        self.colors = color_statistics(style)

    def content_of(self, images):
        return self.features(images)[self.content_layer]

    def __call__(self, pictures, content):
        maps = self.features(pictures)
        styles = [relative_error(gram_matrix(maps[n]), gram) for n, gram in self.grams.items()]
        losses = (
            relative_error(maps[self.content_layer], content),
            sum(styles) / len(styles),
            color_error(pictures, *self.colors),
            total_variation(pictures),
        )
        total = sum(weight * loss for weight, loss in zip(self.weights, losses, strict=True))
        return total, *losses


def descend(losses, optimizer):
    optimizer.zero_grad()
    losses[0].backward()
    optimizer.step()
    return [loss.item() for loss in losses]


class StyleTransfer:
    def __init__(self, bfloat16, size=256):
        content, style = noise_images(2, 3, size, size).split(1)
        self.loss = PerceptualLoss(style, "block4_conv2", (0.05, 1.0, 0.05, 0.2), bfloat16)
        self.content = self.loss.content_of(content)
        self.pixels = content.clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.pixels], lr=0.05, eps=1e-7)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 1 / (1 + step / 50)
        )

    def batch(self, n):
        return None

    def train_step(self, data):
        losses = descend(self.loss(self.pixels, self.content), self.optimizer)
        self.schedule.step()
        with torch.no_grad():
            self.pixels.clamp_(-1, 1)
        return losses


class Normalised(nn.Sequential):
    def __init__(self, before, after, size, stride=1, activation=True):
        super().__init__(
            nn.Conv2d(before, after, size, stride, padding=size // 2),
            nn.InstanceNorm2d(after, eps=1e-5, affine=True),
            *[nn.ReLU()] * activation,
        )


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(
            Normalised(width, width, 3), Normalised(width, width, 3, activation=False)
        )

    def forward(self, x):
        return x + self.inner(x)


class FastStyleTransfer:
    def __init__(self, bfloat16, width=32, n_blocks=5):
        style = noise_images(1, 3, 256, 256)
        self.loss = PerceptualLoss(style, "block3_conv2", (0.4, 1.0, 0.05, 0.05), bfloat16)
        self.network = nn.Sequential(
            Normalised(3, width, 9),
            Normalised(width, 2 * width, 3, 2),
            Normalised(2 * width, 4 * width, 3, 2),
            *(Residual(4 * width) for _ in range(n_blocks)),
            nn.Upsample(scale_factor=2),
            Normalised(4 * width, 2 * width, 3),
            nn.Upsample(scale_factor=2),
            Normalised(2 * width, width, 3),
            nn.Conv2d(width, 3, 3, padding=1),
        )
        nn.init.zeros_(self.network[-1].weight)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=2e-3, eps=1e-7)

    def batch(self, n):
        return noise_images(n, 3, 256, 256)

    def paint(self, images):
        return images + CORRECTION * self.network(images)

    def train_step(self, images):
        images = match_colors(images, *self.loss.colors)
        content = self.loss.content_of(images)
        return descend(self.loss(self.paint(images), content), self.optimizer)

    @torch.no_grad()
    def stylize(self, size):
        image = match_colors(noise_images(1, 3, size, size), *self.loss.colors)
        return self.paint(image).clamp(-1, 1)


def channel_statistics(maps):
    variance, mean = torch.var_mean(maps.float(), (2, 3), correction=0)
    return mean, (variance + 1e-5).sqrt()


class Decoder(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.blocks, before = nn.ModuleList(), 0
        for i in reversed(range(4)):
            after = width * 2**i
            layers = [nn.Conv2d(before + 64 * 2**i, after, 3, padding=1), nn.ReLU()]
            if i > 1:
                layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
            self.blocks.append(nn.Sequential(*layers, *[nn.Upsample(scale_factor=2)] * (i > 0)))
            before = after
        self.last = nn.Conv2d(before, 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, maps):
        *finer, x = maps
        x = self.blocks[0](x)
        for block, fine in zip(self.blocks[1:], reversed(finer), strict=True):
            x = block(torch.cat([x, fine], 1))
        return CORRECTION * self.last(x)


class AdaIN:
    def __init__(self, bfloat16):
        self.features, self.decoder = Trunk(STYLE_LAYERS, bfloat16), Decoder()
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), lr=1e-3, eps=1e-7)

    def batch(self, n):
        return noise_images(n, 3, 128, 128), noise_images(n, 3, 128, 128)

    def paint(self, images, style_statistics):
        normalised, scaled = [], []
        maps = self.features(images).values()
        for x, (style_mean, style_std) in zip(maps, style_statistics, strict=True):
            mean, std, style_mean, style_std = (
                y[..., None, None] for y in (*channel_statistics(x), style_mean, style_std)
            )
            normalised.append((x.float() - mean) / std * style_std + style_mean)
            size = (style_mean.square().mean(1) + style_std.square().mean(1)).sqrt()
            scaled.append(normalised[-1] / (size[:, None] + 1e-5))
        return images + self.decoder(scaled), normalised

    def train_step(self, data):
        images, styles = data
        style_maps = list(self.features(styles).values())
        colors = color_statistics(styles)
        statistics = [channel_statistics(x) for x in style_maps]
        pictures, maps = self.paint(match_colors(images, *colors), statistics)
        found = list(self.features(pictures).values())
        errors = [
            relative_error(gram_matrix(x), gram_matrix(y))
            for x, y in zip(found, style_maps, strict=True)
        ]
        losses = (
            relative_error(found[-1], maps[-1]),
            sum(errors) / len(errors),
            color_error(pictures, *colors),
            total_variation(pictures),
        )
        total = sum(w * loss for w, loss in zip((1.0, 10.0, 0.05, 0.05), losses, strict=True))
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimizer.step()
        return [loss.item() for loss in (total, *losses)]

    @torch.no_grad()
    def stylize(self, size):
        image, style = noise_images(2, 3, size, size).split(1)
        image = match_colors(image, *color_statistics(style))
        statistics = [channel_statistics(x) for x in self.features(style).values()]
        return self.paint(image, statistics)[0].clamp(-1, 1)


MODELS = (
    DCGAN,
    MLPGAN,
    RingGAN,
    VAE,
    DenoisingAutoencoder,
    Diffusion,
    LatentDiffusion,
    LSTM,
    GPT,
    GPT2,
    GPTLoRA,
    Seq2Seq,
    RNNSeq2Seq,
    Pegasus,
    TextToImage,
    TextImageModel,
    StyleTransfer,
    FastStyleTransfer,
    AdaIN,
)


def noise_images(*shape):
    return torch.rand(shape) * 2 - 1


def calls_per_second(function, seconds, skip):
    for _ in range(skip):
        function()
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not calls:
        function()
        calls += 1
    return calls / elapsed


@functools.cache
def build(name, precision):
    models = {model.__name__: model for model in MODELS}
    return models[name](bfloat16=precision == "bfloat16")


def answer(line):
    name, method, precision, seconds, *numbers = line.split()
    model, seconds, numbers = build(name, precision), float(seconds), [int(x) for x in numbers]
    if method == "train_step":
        numbers = [model.batch(*numbers)]
    call = functools.partial(getattr(model, method), *numbers)
    return calls_per_second(call, seconds, SKIP if seconds else 0)


def main():
    torch.manual_seed(0)
    if len(sys.argv) > 1:
        name, precision, n = sys.argv[1:]
        before = memory.resident()
        model = build(name, precision)
        batch = model.batch(int(n))
        for _ in range(memory.STEPS):
            model.train_step(batch)
        print(memory.peak() - before)
        return
    versions = {
        name: importlib.metadata.version(name) if importlib.util.find_spec(name) else None
        for name in ("transformers", "peft")
    }
    print(json.dumps({"torch": torch.__version__} | versions), flush=True)
    for line in sys.stdin:
        print(answer(line), flush=True)


if __name__ == "__main__":
    main()
