"""The DCGAN of `aigc_keras.gan` and its train step in plain PyTorch, for `bench.py`.

Answers each line "PRECISION SECONDS" on stdin with a line of training steps/s on stdout. The real
images are noise that lies in memory: their values and their loading cost this side nothing.
"""

import sys
import time

import torch
from torch import nn
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

BATCH_SIZE, LATENT_DIM, SKIP_STEPS = 64, 64, 10


def generator(width=128):
    return nn.Sequential(
        nn.Linear(LATENT_DIM, 7 * 7 * width, bias=False),
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
    def __init__(self, bfloat16):
        self.bfloat16 = bfloat16
        self.generator, self.discriminator = generator(), discriminator()
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
            fake_images = self.generator(torch.randn(len(real_images), LATENT_DIM))
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
    models = {"float32": DCGAN(bfloat16=False), "bfloat16": DCGAN(bfloat16=True)}
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        precision, seconds = line.split()
        print(steps_per_second(models[precision], images, float(seconds)), flush=True)


if __name__ == "__main__":
    main()
