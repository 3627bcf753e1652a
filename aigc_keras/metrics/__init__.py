"""How good are generated images? Distances between the features of real and of generated ones.

Every number here depends on the network that computed the features, and on how many images went in:
two numbers are comparable only where both agree.
"""

from aigc_keras.metrics.distances import (
    bootstrap,
    count_modes,
    frechet_distance,
    frechet_distance_from_moments,
    inception_score,
    kernel_distance,
    nearest_neighbours,
    precision_recall,
)
from aigc_keras.metrics.features import (
    Features,
    fashion_features,
    imagenet_features,
    inception_features,
)
from aigc_keras.metrics.score import Score, evaluate_samples
from aigc_keras.metrics.streaming import FrechetDistance, KernelDistance
from aigc_keras.metrics.text import (
    BitsPerCharacter,
    Perplexity,
    TextScore,
    bits_per_character,
    bleu,
    chrf,
    ngram_overlap,
    rouge,
)
