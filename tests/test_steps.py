"""A training step stays something that is read on one screen."""

import pytest
from steps import MODELS, n_lines, opened

LIMITS = {
    "GAN": (9, 90),
    "VAE": (8, 90),
    "SemiSupervisedVAE": (11, 90),
    "VQVAE": (8, 90),
    "diffusion": (12, 110),
    "GPT": (6, 60),
    "Seq2Seq": (9, 90),
    "TextImageModel": (9, 60),
    "Classifier": (9, 60),
    "Encoder": (9, 60),
}
WORDS = (10, 50)  # of the base class, the same for all


@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_read_on_one_screen(name):
    base, own = opened(MODELS[name])
    assert f"{MODELS[name].train_step.__qualname__}" in own
    for found, (functions, lines) in ((own, LIMITS[name]), (base, WORDS)):
        assert len(found) <= functions and n_lines(found) <= lines


def test_what_is_called_is_found():
    _, own = opened(MODELS["GAN"])
    assert {"GAN.train_step", "GAN.adversarial_loss", "GAN.penalty"} <= set(own)
