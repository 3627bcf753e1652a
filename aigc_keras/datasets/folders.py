"""A folder of the user's own images, with or without classes and splits."""

import functools
import os
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from aigc_keras.images import decoding, to_rgb

_SPLIT = re.compile(  # Training, test_set, val2017, trainA, seg_test
    r"(?:(?:seg|data|dataset|images?)[\W_]+)?(train|test|val)(?:ing|id|idation)?"
    r"[\W_]*(?:dataset|set|data|images?|\d*|[ab])",
    re.IGNORECASE,
)
# Pictures, but not for Pillow alone: named as unreadable, not left out in silence.
_OTHER_PICTURES = {".heic", ".heif", ".hif", ".avif", ".jxl", ".svg", ".xcf", ".exr"}
_OTHER_PICTURES |= {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"}  # cameras


def _split_of(name):
    """Which split a sub-folder of this name is: "train", "test", "validation" or None."""
    match = _SPLIT.fullmatch(name)
    return match and {"val": "validation"}.get(match[1].lower(), match[1].lower())


def folder_files(folder, split):
    """((path, time, bytes) of each image file, class names, labels) of a folder's split, see load.

    Classes are the sub-folders, or those inside the sub-folders that are splits.
    """
    found = _image_files(folder)
    tops = {parts[0] if len(parts) > 1 else "." for parts in found}
    kinds = {}
    for top in sorted(tops):
        kinds.setdefault(_split_of(top) or "class", []).append(top)
    inner = {_split_of(part) for parts in found for part in parts[1:-1]} - {None}
    clear = all(len(same) == 1 for same in kinds.values()) and "class" not in kinds
    if len(inner) > 1 or not (clear or set(kinds) <= {"class"}):
        raise ValueError(
            f"name: the folder {str(folder)!r} holds pictures in {', '.join(sorted(tops))}, where "
            "train and test cannot be told apart; accepted are a folder with a sub-folder for each "
            "class, or with one each for train, test and validation and no other pictures; name "
            "the folder that is meant, or rename what is a class"
        )
    if "validation" in kinds:
        kinds.setdefault("test", kinds["validation"])
    if set(kinds) <= {"class"}:
        splits = {"train": found}
    else:
        splits = {
            kind: {parts[1:]: file for parts, file in found.items() if parts[0] == tops[0]}
            for kind, tops in kinds.items()
        }
    if split not in splits:
        raise ValueError(
            f"split: got {split!r}, but the folder {str(folder)!r} has no sub-folder {split!r} "
            "with pictures"
        )

    def label(parts):
        return parts[0] if len(parts) > 1 else ""

    classes = sorted({label(parts) for files in splits.values() for parts in files})
    labels = tuple(classes.index(label(parts)) for parts in splits[split])
    return tuple(splits[split].values()), tuple(classes), labels


def _image_files(folder):
    """{parts of the path below `folder`: (path, time, bytes)}, sorted; hidden files are left out.

    A link to a folder is followed, unless that one is read already, or holds the link.
    """
    Image.init()
    endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    endings |= _OTHER_PICTURES

    def refuse(error):
        raise ValueError(f"name: the folder {str(folder)!r} cannot be read: {error}") from error

    seen, found, waiting = set(), {}, [folder]
    for start in waiting:  # the folder itself first, so that links into it give nothing new
        real = Path(os.path.realpath(start))
        circle = start != folder and Path(os.path.realpath(start.parent)).is_relative_to(real)
        if circle or real in seen:
            continue
        for top, folders, files in os.walk(start, onerror=refuse):
            seen.add(Path(os.path.realpath(top)))
            inner = [Path(top, each) for each in sorted(folders) if each[0] != "."]
            waiting += [path for path in inner if path.is_symlink()]
            folders[:] = [path.name for path in inner if Path(os.path.realpath(path)) not in seen]
            for path in (Path(top, each) for each in files if each[0] != "."):
                if path.suffix.lower() in endings and (path.is_file() or not path.exists()):
                    status = os.stat(path, follow_symlinks=path.exists())  # a link to nothing, too
                    parts = path.relative_to(folder).parts
                    found[parts] = (path, status.st_mtime_ns, status.st_size)
                elif path.is_symlink() and not path.exists():  # it may have been a class
                    warnings.warn(f"{path} is a link to nothing and was left out", stacklevel=5)
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=4)
def folder_images(folder, files, labels, size):
    """`files` carries times and lengths so that a changed folder is read again."""
    images, kept, broken = [], [], []
    for (path, _, _), label in zip(files, labels, strict=True):
        try:
            with decoding(path), Image.open(path) as image:
                image = to_rgb(image, size)
        except ValueError as error:
            broken.append(f"{path.relative_to(folder)} ({error.__cause__})")
            continue
        images.append(np.asarray(ImageOps.fit(image, (size, size), Image.BILINEAR)))
        kept.append(label)
    if broken:
        more = f" and {len(broken) - 10} more" if len(broken) > 10 else ""
        warnings.warn(
            f"{len(broken)} of {len(files)} files in {folder} cannot be read and were skipped: "
            f"{', '.join(broken[:10])}{more}",
            stacklevel=4,
        )
    if not images:
        raise ValueError(f"name: the folder {str(folder)!r} holds no readable image")
    return np.stack(images), np.array(kept, "int32")
