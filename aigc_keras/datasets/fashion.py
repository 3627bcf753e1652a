"""Fashion-MNIST: verified, and prepared by tensorflow-datasets from one of three sources."""

import contextlib
import functools
import io
import urllib.request
from pathlib import Path

import tensorflow as tf

from aigc_keras.datasets import preparation
from aigc_keras.files import sha256
from aigc_keras.guards import extra

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_SIZES = {"train": 60_000, "test": 10_000}


@functools.cache
def fashion_mnist(split):
    builder, _ = _builder()
    folder, count = Path(builder.data_dir), FASHION_MNIST_SIZES[split]
    try:
        data = builder.as_dataset(split=split, batch_size=-1)
    except (
        tf.errors.DataLossError,  # truncated, or a checksum inside the records does not match
        tf.errors.InvalidArgumentError,  # not a picture
        tf.errors.FailedPreconditionError,  # fewer records than announced
        tf.errors.NotFoundError,
    ) as error:
        preparation.refuse(folder, f"{_records(folder, split)} is truncated or altered", error)
    if len(data["image"]) != count:
        found = f"{_records(folder, split)} has {len(data['image'])}, not {count} images"
        preparation.refuse(folder, found)
    return data["image"].numpy(), data["label"].numpy().astype("int32")


def _records(folder, split):
    return ", ".join(map(str, folder.glob(f"*-{split}.*"))) or f"The {split} file in {folder}"


@functools.cache
def _builder():
    """(tfds' builder of verified, prepared data; which source it came from), prepared if needed."""
    with extra("data"):
        import tensorflow_datasets as tfds
        from google.protobuf.json_format import ParseError

    version = str(tfds.builder_cls("fashion_mnist").VERSION)
    folder = preparation.data_folder("fashion_mnist", version)
    source = preparation.prepare(folder, _build_fashion_mnist)
    if (folder / "sha256.json").exists():
        preparation.verify(folder)
    try:
        builder = tfds.builder("fashion_mnist", data_dir=folder.parent.parent, try_gcs=False)
    except (ParseError, ValueError) as error:  # prepared by tfds alone, so not checked above
        damaged = f"{folder / 'dataset_info.json'} is truncated or altered"
        preparation.refuse(folder, damaged, error)
    source = source or "already prepared by tensorflow-datasets"
    print(f"fashion_mnist: {source}")
    return builder, source


def source_used():
    """For `describe`, once this process has asked for the data."""
    return f"Source used: {_builder()[1]}" if _builder.cache_info().currsize else ""


def _build_fashion_mnist(temporary):
    """Have tfds prepare Fashion-MNIST inside `temporary`; return (its folder, the source)."""
    import absl.logging
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = tfds.builder("fashion_mnist", data_dir=temporary, try_gcs=False)

    def attempt(fetch, manual):
        fetch(manual, builder.url_infos)
        _check_files(manual, builder.url_infos)
        return manual

    source, manual = preparation.first_source(
        *("fashion_mnist", temporary, _SOURCES, attempt),
        package="dataset-fashion-mnist",
        network="a network",
        instead='load("digits")',
    )
    config = tfds.download.DownloadConfig(
        manual_dir=manual, try_download_gcs=False, force_checksums_validation=True
    )
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity("error")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(
                download_dir=temporary / "downloads", download_config=config
            )
    finally:
        absl.logging.set_verbosity(verbosity)
    return Path(builder.data_dir), f"prepared by tensorflow-datasets from {source}, verified"


def _from_debian(manual, url_infos, folder=None):
    """Copy Debian's files, each with the gzip header that upstream's file has.

    Debian holds the same deflate stream, but without the file's name and with another time stamp.
    """
    for info in url_infos.values():
        path = (folder or DEBIAN_FOLDER) / info.filename
        seconds = 1504176606 if info.filename.startswith("train") else 1504176627
        header = b"\x1f\x8b\x08\x08" + seconds.to_bytes(4, "little") + b"\x00\x03"
        name = info.filename.removesuffix(".gz").encode() + b"\x00"
        (manual / info.filename).write_bytes(header + name + path.read_bytes()[10:])


def _from_apt(manual, url_infos):
    preparation.unpack_debian("dataset-fashion-mnist", manual)
    _from_debian(manual, url_infos, Path(manual, *DEBIAN_FOLDER.parts[1:]))


def _from_network(manual, url_infos):
    # tfds' own download waits without end when nothing answers.
    for url, info in url_infos.items():
        with urllib.request.urlopen(url, timeout=10) as answer:
            (manual / info.filename).write_bytes(answer.read())


_SOURCES = {
    f"Debian's package dataset-fashion-mnist in {DEBIAN_FOLDER}": _from_debian,
    "`apt-get download dataset-fashion-mnist`": _from_apt,
    "the network": _from_network,
}


def _check_files(folder, url_infos):
    """Refuse by name what has not the size and SHA-256 that tfds has registered."""
    for info in url_infos.values():
        path = folder / info.filename
        if path.stat().st_size != info.size:
            raise ValueError(
                f"{info.filename} is truncated or altered: {path.stat().st_size:,} bytes with "
                f"upstream's header, not {int(info.size):,}"
            )
        if sha256(path) != info.checksum:
            raise ValueError(f"{info.filename} is altered: its SHA-256 is not {info.checksum}")
