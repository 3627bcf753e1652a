"""The DCGAN and VAE of `aigc_keras` and their train steps in plain PyTorch, for `bench.py`.

Answers each line "MODEL PRECISION SECONDS" on stdin with a line of training steps/s on stdout. The
images are noise that lies in memory: their values and their loading cost this side nothing.
"""

import sys
import time

import torch
from torch import nn
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

BATCH_SIZE, SKIP_STEPS = 64, 10


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


MODELS = {"DCGAN": DCGAN, "VAE": VAE}


def steps_per_second(model, images, seconds):
    for _ in range(SKIP_STEPS):
        model.train_step(images)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        model.train_step(images)
        steps += 1
    return steps / (time.perf_counter() - start)


def main():
    torch.manual_seed(0)
    images = torch.rand(BATCH_SIZE, 1, 28, 28) * 2 - 1
    models = {
        (name, precision): build(bfloat16=precision == "bfloat16")
        for name, build in MODELS.items()
        for precision in ("float32", "bfloat16")
    }
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        name, precision, seconds = line.split()
        print(steps_per_second(models[name, precision], images, float(seconds)), flush=True)


if __name__ == "__main__":
    main()
