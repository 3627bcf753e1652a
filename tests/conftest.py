import os
import sys
from pathlib import Path

import pytest

# NumPy's threads of several processes wait for each other: what it computes takes three times as
# long. So it has one in each, in the kernels of the chapters too; it reads this when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# That XLA compiles and agrees is tested, not how fast its code is: it spends most time on that.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
import matplotlib

# Not through MPLBACKEND: the kernels of the chapters would inherit it and show no figure.
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _same_start():
    """Every test starts from the same seed and leaves no figure open."""
    if "keras" in sys.modules:  # importing it takes seconds that some tests do without
        sys.modules["keras"].utils.set_random_seed(0)
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def prepared_fashion():
    """The folder of Fashion-MNIST, prepared before or now, if this machine has any source."""
    from aigc_keras.datasets import fashion

    try:
        builder, _ = fashion._builder()
    except RuntimeError as error:
        pytest.skip(f"no Fashion-MNIST: {error}")
    return Path(builder.data_dir)


@pytest.fixture
def eagerly():
    """Without graphs: to build one takes longer than a few steps take."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
