"""What an engineer installs, a wheel without the repository, has all that the library uses."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("aigc_keras", "data/checkpoints", "data/chapters.json", "pyproject.toml")
PARTS += ("README.md", "LICENSE")
USE = """
import contextlib, json, sys
from pathlib import Path
import aigc_keras as ak

with contextlib.redirect_stdout(sys.stderr):
    names = [name for name in ak.checkpoints.names() if ak.checkpoints.load(name)]
    ak.metrics.fashion_features()
    ak.images.write("cat.png", ak.datasets.photograph("chelsea", 64))
    assert ak.style.stylize("cat.png", "cat.png", "adain", 48).shape == (32, 48, 3)
    ak.profile.announce("01_gan")
print(json.dumps([str(Path(ak.__file__).parents[1]), names]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the library as its wheel unpacks, which is how a pure one is installed."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        (source / part).parent.mkdir(exist_ok=True)
        copy(ROOT / part, source / part)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('wheel'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def test_a_wheel_is_used_from_another_folder(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", USE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder, names = json.loads(done.stdout)
    assert folder == str(installed)
    committed = (ROOT / "data" / "checkpoints").glob("*.npz")
    assert names == sorted(path.stem for path in committed)
    assert "Measured in the lesson profile" in done.stderr
