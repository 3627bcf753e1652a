"""All numbers of generated images at once."""

import math
from dataclasses import dataclass

from aigc_keras.metrics import distances
from aigc_keras.metrics.features import Features


@dataclass(frozen=True)
class Score:
    """What `evaluate_samples` found; errors are standard errors, `features` a name."""

    frechet: float
    frechet_error: float
    kernel: float
    kernel_error: float
    precision: float
    recall: float
    n_real: int
    n_fake: int
    features: str

    def __str__(self):
        # As many decimals as the error's first figure has.
        error = self.frechet_error
        decimals = max(0, -math.floor(math.log10(error))) if error > 0 else 2
        counts = f"{self.n_fake:,} images"
        if self.n_real != self.n_fake:
            counts = f"{self.n_fake:,} against {self.n_real:,} real images"
        return (
            f"Frechet distance {self.frechet:.{decimals}f} ± {error:.{decimals}f}, precision "
            f"{self.precision:.2f}, recall {self.recall:.2f} ({counts}, {self.features} features)"
        )


def evaluate_samples(fake_images, real_images, features, seed=0):
    """Compare generated with real images by Frechet and kernel distance, precision and recall.

    fake_images: array (N, H, W, C) in [-1, 1] or a tf.data.Dataset. real_images: the same, or what
    `features.extract(real_images)` returned. features: a Features object. Returns a Score.

    Raises ValueError for bad images, or fewer than four of a kind.
    """
    if not isinstance(features, Features):
        raise ValueError(f"features: got {features!r}, accepted is a Features object.")
    real, _ = real_images if isinstance(real_images, tuple) else features.extract(real_images)
    fake, _ = features.extract(fake_images)
    return Score(
        *distances.bootstrap(distances.frechet_distance, real, fake, seed=seed),
        *distances.kernel_distance(real, fake, seed=seed),
        *distances.precision_recall(real, fake),
        len(real),
        len(fake),
        features.name,
    )
