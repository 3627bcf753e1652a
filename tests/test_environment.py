"""Project, lock, conda environment, Makefile, README and continuous integration agree."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import aigc_keras

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
ASKED = [Requirement(line) for line in PROJECT["dependencies"]] + [
    Requirement(line) for extra in PROJECT["optional-dependencies"].values() for line in extra
]


def locked():
    """(requirement, options) of each entry of the lock."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", read("requirements.lock")))
    entries = [line.partition(" --") for line in text.splitlines() if line.strip()]
    return [(Requirement(line), dashes + options) for line, dashes, options in entries]


def code_lines(markdown):
    """The lines of the fenced code blocks."""
    blocks = re.findall(r"(?ms)^```\w*\n(.*?)^```", markdown)
    return {line.strip() for block in blocks for line in block.splitlines()}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_lock_has_every_dependency_once(python, system):
    here = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": system}
    versions = {}
    for requirement, _ in locked():
        if requirement.marker is None or requirement.marker.evaluate(here):
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            versions.setdefault(canonicalize_name(requirement.name), []).append(pin.version)
    assert [name for name, found in versions.items() if len(found) > 1] == []
    for asked in ASKED:
        (version,) = versions[canonicalize_name(asked.name)]
        assert version in asked.specifier, f"{asked}: the lock has {version}"


def test_lock_has_what_builds_the_package():
    build = tomllib.loads(read("pyproject.toml"))["build-system"]["requires"]
    versions = {requirement.name: requirement.specifier for requirement, _ in locked()}
    for asked in map(Requirement, build):
        (pin,) = versions[asked.name]
        assert pin.version in asked.specifier


def test_every_entry_of_the_lock_has_a_hash():
    bare = [
        r.name for r, options in locked() if not re.search(r"--hash=sha256:[0-9a-f]{64}", options)
    ]
    assert bare == []
    assert len(locked()) > len(ASKED)


@pytest.mark.parametrize("name", ["requirements.lock", "environment.yml"])
def test_no_address(name):
    assert (
        re.findall(r"(?i)\S*(?:https?:|file:|ftp:|//|--(?:extra-)?index-url)\S*", read(name)) == []
    )


def test_conda_brings_python_and_pip_and_the_lock_the_rest():
    python, pip, section = yaml.safe_load(read("environment.yml"))["dependencies"]
    asked = Requirement(python)
    assert (asked.name, asked.specifier) == ("python", SpecifierSet(PROJECT["requires-python"]))
    assert [version in Requirement(pip).specifier for version in ("23.2.1", "23.3")] == [
        False,
        True,
    ]
    assert section == {"pip": ["-r requirements.lock"]}


def test_pip_never_looks_up_what_the_lock_has():
    """Before 23.3 it resolves a requirement with an extra anew, and fails at a newer one."""
    pages = ("Makefile", "README.md", "notebooks/exercises/README.md")
    lines = [
        line for name in pages for line in read(name).splitlines() if "requirements.lock" in line
    ]
    calls = [line for line in lines if "pip install" in line]
    assert len(calls) == 4
    assert all("--no-deps --require-hashes" in line for line in calls)


def test_makefile_accepts_the_pythons_that_the_project_accepts():
    low, high = re.search(
        r"not \((.+?)\) <= sys.version_info < \((.+?)\)", read("Makefile")
    ).groups()
    stated = f">={low},<{high}".replace(", ", ".")
    assert SpecifierSet(stated) == SpecifierSet(PROJECT["requires-python"])
    assert all(python in SpecifierSet(stated) for python in PYTHONS)


@pytest.mark.skipif(shutil.which("make") is None, reason="the pip and conda set-ups need no make")
def test_make_alone_lists_every_target():
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    lines = subprocess.check_output(["make"], cwd=ROOT, env=clean, text=True).splitlines()
    listed = {line.split()[1]: line.split()[2:] for line in lines}
    phony = re.search(r"(?m)^\.PHONY: (.+)$", read("Makefile")).group(1).split()
    assert list(listed) == phony
    assert all(listed.values()), "a target without a description"


def test_every_way_into_the_course_prepares_the_data_before_it_opens_lab():
    """The README promises that no network is needed after the set-up."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", read("README.md"))
    ways = [block.splitlines() for block in blocks if "jupyter" in block or "lab" in block]
    assert [way[-1] for way in ways] == ["make lab", *["python notebooks/lab.py"] * 2]
    assert [way[-2] for way in ways[1:]] == ["python -m aigc_keras.datasets"] * 2
    assert re.search(r"(?m)^lab: .*\.venv/\.data", read("Makefile"))


def test_ci_calls_the_test_command_of_the_readme():
    commands = read(".ci/run").splitlines()
    assert commands[-1] == "make test"
    assert commands[-1] in code_lines(read("README.md"))
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_workflow_does_the_same_on_the_oldest_and_the_newest_python():
    jobs = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]
    job = jobs["test"]
    assert job["steps"][-1] == {"run": "bash .ci/run"}
    assert job["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]


def test_ci_sets_up_with_pip_and_the_workflow_with_uv_too():
    assert "export UV=" in read(".ci/run").splitlines()
    steps = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]["uv"]["steps"]
    assert steps[-2:] == [{"run": "pip install uv"}, {"run": "make lint data"}]
    recipe = read("Makefile").partition('if [ -n "$(UV)" ]')[2]
    with_uv, with_pip = recipe.partition("else")[::2]
    for part in (with_uv, with_pip):
        calls = re.findall(r"pip (install.* -r|install.* -e|check)", part)
        assert calls[-1] == "check" and len(calls) == 3


def test_readme_shows_the_house_that_the_linter_holds():
    house = re.search(r"holds it:\n\n```\n(.*?)```", read("README.md"), re.DOTALL)[1]
    shown = [re.split(r"\s{2,}", line)[0].split(" | ") for line in house.splitlines()]
    contract = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    held = [layer.split(" | ") for layer in contract["layers"]]
    chapters = [name for layer in held[3:8] for name in layer]
    assert shown == [*held[:3], chapters, *held[8:]]


def test_readme_shows_the_measured_chapters():
    table = runpy.run_path(str(ROOT / "notebooks" / "build.py"))["table"]
    chapters = json.loads(read("data/chapters.json"))
    assert set(chapters) == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert table(chapters) in read("README.md")


def test_readme_code_runs_on_names_that_exist():
    """The code of "The library alone" parses, and every `ak.` name in the README exists."""
    readme = read("README.md")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len(blocks) == 4
    for code in blocks:
        compile(code, "README.md", "exec")
    names = set(re.findall(r"\bak\.(\w+)\.(\w+)", readme))
    assert names
    for module, name in names:
        assert hasattr(getattr(aigc_keras, module), name), f"ak.{module}.{name}"


def test_import_without_a_terminal(tmp_path):
    """As a service is started. Nothing that is opened later gets the number of standard error."""
    code = f"""
import os
for i in range(3):
    os.close(i)
import aigc_keras
with open({str(tmp_path / "file")!r}, "w") as file:
    assert file.fileno() != 2
    os.write(2, b"noise")
    file.write("whole")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
    assert (tmp_path / "file").read_text() == "whole"


def test_import_leaves_standard_error_as_it_was(tmp_path):
    """Also where it is a file, which took the number after the terminal was closed."""
    code = f"""
import os
os.close(2)
file = open({str(tmp_path / "file")!r}, "w")
import aigc_keras
assert file.fileno() == 2
file.write("whole")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
    assert (tmp_path / "file").read_text() == "whole"
