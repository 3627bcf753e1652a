"""Where the files lie that come with the library."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# In the repository the folder stands beside the package, in a wheel inside it.
DATA = next(folder for folder in (_PACKAGE / "data", _PACKAGE.parent / "data") if folder.is_dir())
