"""`aigc_keras.datasets`: sources, damaged data, several processes, interrupted ones."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aigc_keras import datasets
from aigc_keras.datasets import fashion, preparation
from aigc_keras.datasets.images import cut
from aigc_keras.files import sha256


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty folder in the place of tfds' own, and nothing remembered."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    forget()
    yield tmp_path
    forget()


def forget():
    for cached in (fashion._builder, fashion.fashion_mnist, cut):
        cached.cache_clear()


# --- Debian's files and the other sources -----------------------------------------------------


def upstream_and_debian(folder):
    """A small pair of files that differ as upstream's and Debian's do; what tfds would know."""
    infos = {}
    for name, seconds in (("train-x.gz", 1504176606), ("t10k-x.gz", 1504176627)):
        data = np.random.default_rng(0).bytes(5_000)
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = packer.compress(data) + packer.flush()
        body += zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
        head = b"\x1f\x8b\x08\x08" + seconds.to_bytes(4, "little") + b"\x00\x03"
        upstream = head + name[:-3].encode() + b"\x00" + body
        assert gzip.decompress(upstream) == data
        (folder / name).write_bytes(b"\x1f\x8b\x08\x00\xed\n\xda^\x00\x03" + body)
        infos[name] = SimpleNamespace(
            filename=name, size=len(upstream), checksum=hashlib.sha256(upstream).hexdigest()
        )
    return infos


def test_header_of_debians_files_is_restored(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "debian")
    fashion.DEBIAN_FOLDER.mkdir()
    infos = upstream_and_debian(fashion.DEBIAN_FOLDER)
    fashion._from_debian(tmp_path, infos)
    fashion._check_files(tmp_path, infos)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_source_is_refused_by_name_and_the_next_one_asked(
    tmp_path, data_dir, monkeypatch, damage
):
    import tensorflow_datasets as tfds

    debian = tmp_path / "debian"
    debian.mkdir()
    infos = upstream_and_debian(debian)
    data = bytearray((debian / "t10k-x.gz").read_bytes())
    if damage == "truncated":
        data = data[:-1]
    else:
        data[2_000] ^= 1
    (debian / "t10k-x.gz").write_bytes(data)
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", debian)
    monkeypatch.setattr(
        tfds.core.DatasetBuilder, "url_infos", property(lambda self: infos), raising=True
    )
    asked = []

    def second(manual, url_infos):
        asked.append(manual)
        raise OSError("nothing here")

    monkeypatch.setattr(fashion, "_SOURCES", {"Debian": fashion._from_debian, "next": second})
    with (
        pytest.warns(UserWarning, match=f"Debian refused: t10k-x.gz is .*{damage}"),
        pytest.raises(RuntimeError, match=rf"Debian: t10k-x\.gz is .*{damage}(.|\n)*next: nothing"),
    ):
        datasets.load("fashion_mnist")
    assert asked


def test_without_any_source_the_error_lists_the_ways(data_dir, tmp_path_factory, monkeypatch):
    tools = tmp_path_factory.mktemp("bin")
    apt = tools / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", data_dir / "none")

    def no_network(url, timeout):
        raise urllib.error.URLError(f"timed out after {timeout} s")

    monkeypatch.setattr(fashion.urllib.request, "urlopen", no_network)
    with pytest.raises(RuntimeError) as caught:
        datasets.load("fashion_mnist")
    text = str(caught.value)
    for part in (
        f"no folder fashion_mnist in {data_dir}",
        "No such file or directory",
        "E: Unable to locate package",
        "timed out after 10 s",
        "apt-get install dataset-fashion-mnist",
        "TFDS_DATA_DIR",
        'load("digits")',
    ):
        assert part in text
    assert [path.name for path in data_dir.iterdir()] == [".fashion_mnist.lock"]


def test_build_from_debian_refuse_a_damaged_one_and_repair(data_dir, monkeypatch, capfd):
    """The whole way, once: 10 to 20 s."""
    if not fashion.DEBIAN_FOLDER.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    broken = data_dir / "broken"
    shutil.copytree(fashion.DEBIAN_FOLDER, broken)
    os.truncate(broken / "train-images-idx3-ubyte.gz", 1_000_000)
    working = {"Debian": fashion._from_debian}
    with monkeypatch.context() as patch:
        patch.setattr(fashion, "DEBIAN_FOLDER", broken)
        patch.setattr(fashion, "_SOURCES", working)
        with (
            pytest.warns(UserWarning, match=r"refused: train-images-idx3-ubyte\.gz is truncated"),
            pytest.raises(RuntimeError, match=r"train-images-idx3-ubyte\.gz is truncated"),
        ):
            datasets.arrays("fashion_mnist")
    capfd.readouterr()
    monkeypatch.setattr(fashion, "_SOURCES", working)
    images, labels = datasets.arrays("fashion_mnist", "test")
    out, _ = capfd.readouterr()
    assert out == "fashion_mnist: prepared by tensorflow-datasets from Debian, verified\n"
    # the same, read without tfds; tfds stores them in an order of its own
    raw = gzip.decompress((fashion.DEBIAN_FOLDER / "t10k-images-idx3-ubyte.gz").read_bytes())
    raw_labels = gzip.decompress((fashion.DEBIAN_FOLDER / "t10k-labels-idx1-ubyte.gz").read_bytes())
    expected = sorted(
        (raw[16 + 784 * i : 800 + 784 * i], label) for i, label in enumerate(raw_labels[8:])
    )
    pixels = np.round((images + 1) * 127.5).astype("uint8")
    assert (
        sorted((x.tobytes(), y) for x, y in zip(pixels, labels.tolist(), strict=True)) == expected
    )
    assert preparation._altered(data_dir / "fashion_mnist" / "3.0.1") is None
    assert not list(data_dir.glob(".fashion_mnist-*"))


def unusable(kind, folder, monkeypatch):
    """A data folder in which nothing can be prepared; root is not held by a file's mode."""
    if kind == "a file":
        folder.touch()
    elif kind == "below a file":
        folder.touch()
        return folder / "data"
    elif kind == "cannot be made":
        return Path("/proc/nope/data")
    elif kind == "a folder as lock":
        (folder / ".digits.lock").mkdir(parents=True)
    else:

        def read_only(*args, **options):
            raise OSError(30, "Read-only file system", str(folder))

        monkeypatch.setattr(
            *{
                "mkdir": (Path, "mkdir"),
                "mkdtemp": (preparation.tempfile, "mkdtemp"),
                "lock": (preparation.filelock.FileLock, "acquire"),
            }[kind],
            read_only,
        )
    return folder


@pytest.mark.parametrize(
    "kind",
    [
        *("a file", "below a file", "cannot be made", "a folder as lock"),
        *("mkdir", "mkdtemp", "lock"),
    ],
)
@pytest.mark.parametrize("variable", ["TFDS_DATA_DIR", "HOME"])
def test_unusable_data_folder_is_one_error_that_names_the_variable(
    tmp_path, monkeypatch, kind, variable
):
    root = unusable(kind, tmp_path / "tensorflow_datasets", monkeypatch)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv(variable, str(root if variable == "TFDS_DATA_DIR" else root.parent))
    folder = preparation.data_folder("digits", "1.0")
    if variable == "HOME":
        root = root.parent / "tensorflow_datasets"
    assert folder == root / "digits" / "1.0"
    with pytest.raises(
        RuntimeError, match=rf"digits: the data folder {root} cannot .*TFDS_DATA_DIR"
    ):
        preparation.prepare(folder, lambda temporary: pytest.fail("built"))


def test_a_garbage_lock_is_a_lock(data_dir):
    folder = preparation.data_folder("digits", "1.0")
    data_dir.mkdir(exist_ok=True)
    (data_dir / ".digits.lock").write_text("garbage " * 200)

    def build(temporary):
        (temporary / "made").mkdir()
        return temporary / "made", "built"

    assert preparation.prepare(folder, build) == "built"


def test_prepared_folder_needs_no_lock(prepared_fashion, data_dir, monkeypatch):
    copy_prepared(prepared_fashion, data_dir, keep_record=True)

    def read_only(*args, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(preparation.filelock.FileLock, "acquire", read_only)
    assert len(datasets.arrays("fashion_mnist", "test[:5]")[0]) == 5


def test_home_that_nobody_has(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "~nobody-of-this-name/data")
    with pytest.raises(RuntimeError, match=r"tang: there is no home folder .*TFDS_DATA_DIR"):
        preparation.data_folder("tang", "1.0.0")


# --- prepared data that went bad --------------------------------------------------------------


def copy_prepared(prepared, data_dir, keep_record):
    folder = data_dir / "fashion_mnist" / prepared.name
    shutil.copytree(prepared, folder)
    if not keep_record:
        (folder / "sha256.json").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("by_us", [True, False])
def test_truncated_record_is_refused_by_name_and_removed(prepared_fashion, data_dir, by_us):
    folder = copy_prepared(prepared_fashion, data_dir, keep_record=by_us)
    if by_us and not (folder / "sha256.json").exists():
        digests = {path.name: sha256(path) for path in folder.iterdir()}
        (folder / "sha256.json").write_text(json.dumps(digests))
    (records,) = folder.glob("*-test.tfrecord*")
    os.truncate(records, records.stat().st_size - 100)
    with pytest.raises(RuntimeError, match=rf"{records.name} is truncated.*removed; run again"):
        datasets.arrays("fashion_mnist", "test")
    assert not folder.exists()


def test_prepared_by_tfds_alone_is_accepted(prepared_fashion, data_dir, capfd):
    copy_prepared(prepared_fashion, data_dir, keep_record=False)
    assert len(datasets.arrays("fashion_mnist", "test")[0]) == 10_000
    datasets.arrays("fashion_mnist", "test[:5]")
    assert capfd.readouterr().out == "fashion_mnist: already prepared by tensorflow-datasets\n"
    assert "Source used: already prepared" in datasets.describe("fashion_mnist")


def test_damaged_description_is_refused_by_name(prepared_fashion, data_dir):
    folder = copy_prepared(prepared_fashion, data_dir, keep_record=False)
    os.truncate(folder / "dataset_info.json", 700)
    with pytest.raises(RuntimeError, match=r"dataset_info\.json is truncated"):
        datasets.load("fashion_mnist")
    assert not folder.exists()


# --- several processes, interrupted ones ------------------------------------------------------

WORKER = """
import importlib.util, sys, time, types
from pathlib import Path
# Of the package only what `preparation` imports: TensorFlow would take seconds.
sys.modules["aigc_keras"] = types.ModuleType("aigc_keras")
sys.modules["aigc_keras"].__path__ = [str(Path({module!r}).parents[1])]
spec = importlib.util.spec_from_file_location("preparation", {module!r})
preparation = importlib.util.module_from_spec(spec); spec.loader.exec_module(preparation)
root, seconds = Path(sys.argv[1]), float(sys.argv[2])
def build(temporary):
    made = temporary / "data" / "1.0"
    made.mkdir(parents=True)
    (made / "first").write_text("1" * 1000)
    (root / "begun").open("a").write("x")
    time.sleep(seconds)
    (made / "second").write_text("2" * 1000)
    return made, "built"
print(preparation.prepare(root / "data" / "1.0", build))
"""


def worker(root, seconds):
    code = WORKER.format(module=preparation.__file__)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_at_once(tmp_path):
    both = [worker(tmp_path, 0.5) for _ in range(2)]
    texts = [process.communicate(timeout=30)[0].strip() for process in both]
    assert sorted(texts) == ["None", "built"]
    assert (tmp_path / "begun").read_text() == "x"  # the second one waited, and built nothing
    assert preparation._altered(tmp_path / "data" / "1.0") is None
    assert not list(tmp_path.glob(".data-*"))


def test_killed_preparation_leaves_nothing_that_is_trusted(tmp_path):
    process = worker(tmp_path, 60)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "data").exists()
    assert len(list(tmp_path.glob(".data-*"))) == 1
    assert worker(tmp_path, 0).communicate(timeout=30)[0].strip() == "built"
    assert not list(tmp_path.glob(".data-*"))
    assert (tmp_path / "data" / "1.0" / "second").read_text() == "2" * 1000


def test_altered_names_the_file_and_refusal_lets_it_be_made_again(tmp_path):
    folder = tmp_path / "data" / "1.0"
    worker(tmp_path, 0).communicate(timeout=30)
    assert preparation._altered(folder) is None
    (folder / "second").write_text("2" * 999 + "3")
    assert preparation._altered(folder) == folder / "second"
    with pytest.raises(RuntimeError, match=r"it is wrong.*was removed; run again"):
        preparation.refuse(folder, "it is wrong")
    assert worker(tmp_path, 0).communicate(timeout=30)[0].strip() == "built"
    assert preparation._altered(folder) is None
    with pytest.raises(RuntimeError, match=r"it is wrong\. run again"):
        preparation.refuse(folder, "it is wrong")  # what another process repaired stays
    assert folder.exists()
