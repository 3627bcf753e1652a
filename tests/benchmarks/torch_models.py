"""The networks of `aigc_keras` and their train steps in plain PyTorch, for `bench.py`.

Answers each line "MODEL METHOD PRECISION N SECONDS" on stdin with a line on stdout: for METHOD
train_step the steps/s of batches of N, for generate the images/s, or texts/s, when N are drawn at a
time. Images and texts are noise that lies in memory: their values and their loading cost this side
nothing. The first line says, as JSON, which versions of torch and transformers there are.
"""

import functools
import importlib.metadata
import importlib.util
import json
import math
import sys
import time

import torch
from torch import nn
from torch.nn.functional import (
    cross_entropy,
    gelu,
    interpolate,
    linear,
    pad,
    relu,
    scaled_dot_product_attention,
    softplus,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SKIP_STEPS = 10


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


class DCGAN:
    latent_dim = 64

    def __init__(self, bfloat16):
        self.bfloat16 = bfloat16
        self.generator, self.discriminator = generator(self.latent_dim), discriminator()
        self.ema_generator = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True
        )
        self.generator_weights = list(self.generator.parameters())
        self.discriminator_weights = list(self.discriminator.parameters())
        adam = {"lr": 4e-4, "betas": (0.5, 0.999), "eps": 1e-7}
        self.generator_optimizer = torch.optim.Adam(self.generator_weights, **adam)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator_weights, **adam)

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
        self.fine_down = ResidualBlock(fine, fine, dim)
        self.downsample = nn.Conv2d(fine, coarse, 3, stride=2)
        self.coarse_down = ResidualBlock(coarse, coarse, dim)
        self.middle = ResidualBlock(coarse, coarse, dim)
        self.attention_norm = nn.GroupNorm(8, coarse, eps=1e-3)
        self.attention = nn.MultiheadAttention(coarse, 4, batch_first=True)
        self.coarse_up = ResidualBlock(2 * coarse, coarse, dim)
        self.upsample = nn.Conv2d(coarse, fine, 3, padding=1)
        self.fine_up = ResidualBlock(2 * fine, fine, dim)
        self.output_norm = nn.GroupNorm(8, fine, eps=1e-3)

    def forward(self, noisy, times, labels):
        angles = 1000 * times[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        embedding = nn.functional.silu(self.time(waves) + self.label(labels))
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

    def __init__(self, bfloat16):
        self.bfloat16 = bfloat16
        self.network = UNet(self.shape[0], self.widths, self.patch, self.num_classes)
        self.ema_network = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(0.999)
        ).eval()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, eps=1e-7)
        steps = torch.arange(self.timesteps + 1) / self.timesteps
        self.rates = [x.float()[:, None, None, None] for x in cosine_rates(steps)]

    def encode(self, images):
        return images

    def decode(self, data):
        return data

    def clip(self, data):
        return data.clamp(-1, 1)

    def train_step(self, images):
        data, n = self.encode(images), len(images)
        labels = torch.arange(n) % self.num_classes
        labels = torch.where(torch.rand(n) < 0.1, self.num_classes, labels)
        steps = torch.randint(1, self.timesteps + 1, (n,))
        signal_rates, noise_rates = (x[steps] for x in self.rates)
        noise = torch.randn_like(data)
        noisy = signal_rates * data + noise_rates * noise
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            velocity = self.network(noisy, steps / self.timesteps, labels).float()
        loss = (velocity - (signal_rates * noise - noise_rates * data)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.ema_network.update_parameters(self.network)
        return loss.item()

    def generate(self, n):
        return self.sample(torch.randn(n, *self.shape), torch.arange(n) % self.num_classes)

    @torch.no_grad()
    def sample(self, noisy, labels, steps=20):
        """DPM-Solver++(2M): Lu et al. 2022, algorithm 2, as `aigc_keras.diffusion.DPMSolver`."""
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        signal_rates, noise_rates = (x.tolist() for x in cosine_rates(times))
        log_snr = [math.log(s / n) for s, n in zip(signal_rates[:-1], noise_rates, strict=False)]
        previous = None
        for i, time_ in enumerate(times[:-1].tolist()):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                velocity = self.ema_network(noisy, torch.full((len(noisy),), time_), labels)
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

    def __init__(self, bfloat16):
        super().__init__(bfloat16)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 8, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(4, 64, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )
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

    def prepare(self):
        nn.init.normal_(self.embedding.weight, std=0.02)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=2e-3, betas=(0.9, 0.98), eps=1e-7, weight_decay=0.1
        )

    def forward(self, tokens):
        return linear(self.hidden(self.embedding(tokens)), self.embedding.weight)

    def train_step(self, tokens):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = self(tokens[:, :-1]).float()
        loss = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
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


class Block(nn.Module):
    def __init__(self, width, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, cos, sin):
        def rotate(x):
            a, b = x.chunk(2, dim=-1)
            c, s = cos.to(x.dtype), sin.to(x.dtype)
            return torch.cat([a * c - b * s, a * s + b * c], -1)

        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(rotate(queries), rotate(keys), values, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(gelu(self.widen(self.norm2(x)), approximate="tanh"))


class GPT(LanguageModel):
    def __init__(self, bfloat16, vocab_size=2048, width=192, num_layers=6, num_heads=6):
        super().__init__(bfloat16, vocab_size, width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        half = width // num_heads // 2
        speeds = 10_000 ** (-torch.arange(half) / half)
        angles = torch.arange(self.context_length)[:, None] * speeds
        self.cos, self.sin = angles.cos(), angles.sin()
        self.prepare()

    def hidden(self, x):
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)


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

    def generate(self, n, prompt_tokens=8, new=120):
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


MODELS = {
    "DCGAN": DCGAN,
    "VAE": VAE,
    "Diffusion": Diffusion,
    "LatentDiffusion": LatentDiffusion,
    "LSTM": LSTM,
    "GPT": GPT,
    "GPT2": GPT2,
}


def calls_per_second(function, seconds, skip):
    for _ in range(skip):
        function()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        function()
        calls += 1
    return calls / (time.perf_counter() - start)


def measure(model, method, n, seconds):
    if method == "generate":
        return n * calls_per_second(lambda: model.generate(n), seconds, skip=1)
    if isinstance(model, LanguageModel):
        data = torch.randint(model.vocab_size, (n, model.context_length + 1))
    else:
        data = torch.rand(n, 1, 28, 28) * 2 - 1
    return calls_per_second(lambda: model.train_step(data), seconds, SKIP_STEPS)


@functools.cache
def build(name, precision):
    return MODELS[name](bfloat16=precision == "bfloat16")


def main():
    torch.manual_seed(0)
    found = importlib.util.find_spec("transformers")
    transformers = importlib.metadata.version("transformers") if found else None
    print(json.dumps({"torch": torch.__version__, "transformers": transformers}), flush=True)
    for line in sys.stdin:
        name, method, precision, n, seconds = line.split()
        print(measure(build(name, precision), method, int(n), float(seconds)), flush=True)


if __name__ == "__main__":
    main()
