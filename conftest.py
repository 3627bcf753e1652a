"""Settings for unit tests and, under `pytest --nbval`, for the kernels of the chapters."""

import os

# Before anything imports TensorFlow or Keras; a kernel inherits them.
os.environ.setdefault("AIGC_PROFILE", "fast")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_configure(config):
    # nbval would look for the file in the current folder.
    config.option.nbval_sanitize_with = str(config.rootpath / "nbval_sanitize.cfg")
