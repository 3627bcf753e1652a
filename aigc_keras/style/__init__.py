"""Style transfer (风格迁移): chapter 03.

A picture with the content of one image and the style of another, both measured by the features of
a network that was trained to see (Gatys et al. 2016, CVPR, "Image Style Transfer Using
Convolutional Neural Networks").
"""

from aigc_keras.style.adain import AdaIN
from aigc_keras.style.colors import color_error, color_statistics, match_colors
from aigc_keras.style.fast import FastStyleTransfer
from aigc_keras.style.features import (
    CONTENT_LAYERS,
    STYLE_LAYERS,
    PerceptualFeatures,
    feature_layers,
)
from aigc_keras.style.gatys import StyleTransfer, coarse_to_fine
from aigc_keras.style.losses import (
    PARTS,
    PerceptualLoss,
    gram_matrix,
    relative_error,
    total_variation,
)
from aigc_keras.style.methods import stylize
from aigc_keras.style.networks import (
    CORRECTION,
    InstanceNormalization,
    adain_decoder,
    adaptive_instance_normalization,
    channel_statistics,
    transformer,
)
from aigc_keras.style.pictures import BORDER, in_tiles, mirrored
