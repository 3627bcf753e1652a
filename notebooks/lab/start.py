"""Open JupyterLab on the chapters, with the course's settings: arguments are passed on to it."""

import os
import sys
from pathlib import Path

LAB = Path(__file__).resolve().parent
FIRST = LAB.parent / "01_gan.ipynb"

os.environ["JUPYTER_CONFIG_PATH"] = str(LAB)
command = [sys.executable, "-m", "jupyterlab", str(FIRST), *sys.argv[1:]]
if hasattr(os, "getuid") and os.getuid() == 0:
    command.append("--allow-root")  # in a container there is nobody else
os.execv(sys.executable, command)
