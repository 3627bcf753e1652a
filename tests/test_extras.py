"""Without the packages of the extras the core works, and what needs one of them names its extra."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("data", "plots", "style", "text")
USE = """
import importlib.abc, importlib.metadata, json, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import aigc_keras as ak

model = ak.gan.MLPGAN(image_shape=(2,), latent_dim=2)
model.compile()
model.fit(ak.datasets.load("ring", "train[:256]"), verbose=0)
assert model.generate(3).shape == (3, 2)
assert ak.checkpoints.load("classifier_fashion_mnist").count_params()

def no_distribution(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.metadata.distribution = no_distribution
messages = {}
for extra, calls in {
    "data": [
        *(lambda name=name: ak.datasets.load(name) for name in ak.datasets.names()[:-1]),
        lambda: ak.datasets.captions(),
        lambda: ak.datasets.captioned(),
        lambda: ak.datasets.photograph("chelsea"),
    ],
    "plots": [
        lambda: ak.plots.figure(),
        lambda: ak.plots.tokens(["a"], [1.0]),
        lambda: ak.plots.latent_map([[0.0, 1.0]], [0], ["a"]),
    ],
    "style": [
        *(lambda name=name: ak.patterns.draw(name) for name in ("strokes", "mosaic", "ink_wash")),
        lambda: ak.style.PerceptualFeatures(["block1_conv1"]),
    ],
    "text": [
        lambda: ak.datasets.text("kjv"),
        lambda: ak.poetry.rhyme("光"),
        lambda: ak.text.BPETokenizer.train(["a"]),
        lambda: ak.text.BPETokenizer("{}"),
        lambda: ak.metrics.bleu(["a"], ["a"]),
        lambda: ak.metrics.rouge(["a"], ["a"]),
    ],
    "course": [lambda: ak.show(ak.gan.GAN)],
}.items():
    for call in calls:
        try:
            call()
        except ImportError as error:
            messages.setdefault(extra, []).append(str(error))
print(json.dumps(messages))
"""


@pytest.fixture(scope="module")
def messages():
    names = {
        canonicalize_name(Requirement(line).name)
        for extra in EXTRAS
        for line in PROJECT["optional-dependencies"][extra]
    }
    modules = [
        module
        for module, distributions in packages_distributions().items()
        if names.intersection(map(canonicalize_name, distributions))
    ]
    assert len(modules) >= len(names)
    command = [sys.executable, "-c", USE, *modules, "IPython"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("extra", "count"), [("data", 8), ("plots", 3), ("style", 4), ("text", 6), ("course", 1)]
)
def test_a_missing_extra_is_named(messages, extra, count):
    assert len(messages[extra]) == count
    for message in messages[extra]:
        missing, _, advice = message.partition(" is missing: ")
        assert missing
        assert advice == f'pip install "aigc-keras[{extra}]"'


def test_the_core_is_what_the_others_have_not():
    core = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert core == {"filelock", "h5py", "keras", "numpy", "pillow", "tensorflow"}
