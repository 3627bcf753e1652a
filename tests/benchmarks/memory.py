"""How much memory this process has, for `bench.py` and `torch_models.py`."""

import re
import resource
import sys
from pathlib import Path

STEPS = 10  # of training before its peak is read

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident():
    """Bytes that are in memory now; where there is no /proc, the most there have been."""
    if REFERENCES.exists():
        REFERENCES.write_text("5")  # `peak` is to forget what was before
    return _status("VmRSS")


def peak():
    """The most bytes there have been in memory at a time since `resident` was called."""
    return _status("VmHWM")


def _status(name):
    # Not ru_maxrss where it can be helped: a child's begins with that of its parent.
    if STATUS.exists():
        return 1024 * int(re.search(rf"{name}:\s*(\d+) kB", STATUS.read_text())[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
