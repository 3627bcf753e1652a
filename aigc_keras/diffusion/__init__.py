"""Diffusion models (扩散模型): chapter 04.

Data are mixed with noise until nothing else is left; a network learns to say what the noise was,
and samplers walk the way back (Sohl-Dickstein et al. 2015, arXiv:1503.03585; Ho et al. 2020,
arXiv:2006.11239). Time t runs from 0 (data) to 1 (noise):

    x_t = signal_rate * x_0 + noise_rate * noise

With signal_rate^2 + noise_rate^2 = 1, a noise schedule gives alpha_bar = signal_rate^2. With
signal_rate + noise_rate = 1, the path is straight: rectified flow.
"""

from aigc_keras.diffusion.latent import LatentDiffusion, latent_autoencoder
from aigc_keras.diffusion.model import DiffusionModel, bits_per_dimension, gaussian_log_density
from aigc_keras.diffusion.networks import SinusoidalEmbedding, mlp, unet
from aigc_keras.diffusion.samplers import (
    DDIM,
    DDPM,
    SAMPLERS,
    SPACINGS,
    Denoised,
    DPMSolver,
    Euler,
    Heun,
    Sampler,
)
from aigc_keras.diffusion.schedules import (
    LOSS_WEIGHTINGS,
    MIN_ALPHA_BAR,
    NOISE_SCHEDULES,
    PATHS,
    PREDICTIONS,
    betas,
    components,
    cosine,
    half_log_snr,
    linear,
    loss_weights,
    posterior,
    prediction_target,
    predictions,
    rates_at,
    sigmoid,
    steps_back,
    straight,
)
