"""Keras' own test of layers, for those of this library."""

import numpy as np
import pytest
import tensorflow as tf
from contract_cases import PHOTOS, SHALLOW
from keras.src.testing import TestCase as KerasTestCase

from aigc_keras import diffusion, style, text


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")  # by Keras itself
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning")
class TestLayers(KerasTestCase):
    """Keras' own test of layers: built, saved, symbolic and eager, trained, in half precision."""

    def test_sinusoidal_embedding(self):
        self.run_layer_test(
            diffusion.SinusoidalEmbedding,
            {"dim": 6},
            input_shape=(4,),
            expected_output_shape=(4, 6),
            expected_num_trainable_weights=0,
        )

    def test_recurrent(self):
        for cell in text.CELLS:
            self.run_layer_test(
                text.Recurrent,
                {"units": 3, "cell": cell},
                input_shape=(2, 5, 4),
                expected_output_shape=(2, 5, 3),
                expected_num_trainable_weights=3,
                expected_num_non_trainable_weights=0,
            )

    def test_causal_self_attention(self):
        cache = (2, 2, 5, 2)
        self.run_layer_test(
            text.CausalSelfAttention,
            {"num_heads": 2},
            input_shape=(2, 5, 4),
            expected_output_shape=((2, 5, 4), (cache, cache)),
            expected_num_trainable_weights=4,
        )

    def test_transformer_block(self):
        cache = (2, 2, 5, 2)
        self.run_layer_test(
            text.TransformerBlock,
            {"num_heads": 2, "dropout": 0.1},
            input_shape=(2, 5, 4),
            expected_output_shape=((2, 5, 4), (cache, cache)),
            expected_num_trainable_weights=12,
            expected_num_seed_generators=1,
        )

    def test_instance_normalization(self):
        self.run_layer_test(
            style.InstanceNormalization,
            {},
            input_shape=(2, 4, 4, 3),
            expected_output_shape=((2, 4, 4, 3), (2, 2, 3)),
            expected_num_trainable_weights=2,
        )

    def test_perceptual_features(self):
        self.run_layer_test(
            style.PerceptualFeatures,
            {"layers": ["block1_conv1", "block2_conv1"], "dtype": "float32"},
            input_shape=(2, 8, 8, 3),
            expected_output_shape={
                "block1_conv1": (2, 8, 8, 64),
                "block2_conv1": (2, 4, 4, 128),
            },
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            run_mixed_precision_check=False,
        )

    def test_perceptual_loss(self):
        """Not by Keras' test: it is made of images, which no configuration holds, and is called
        with two arguments. Left is that it has nothing to train, and is alike in a graph."""
        layer = style.PerceptualLoss(
            [PHOTOS[0]], [1.0], *SHALLOW.values(), 1.0, 1.0, 1.0, 1.0, "hed", "float32"
        )
        content = layer.content_of(PHOTOS[1:3])
        losses = layer(PHOTOS[3:5], content)
        assert list(losses) == list(style.PARTS) and not layer.trainable_weights
        for key, value in tf.function(layer)(PHOTOS[3:5], content).items():
            np.testing.assert_allclose(value, losses[key], rtol=1e-4)
