"""How much work a chapter does: `fast` proves it runs, `lesson` teaches, `full` takes a night."""

import os

NAMES = ("fast", "lesson", "full")


def name():
    """The profile in force: the environment variable `AIGC_PROFILE`, by default `"lesson"`."""
    value = os.environ.get("AIGC_PROFILE", "lesson")
    if value not in NAMES:
        raise ValueError(f"AIGC_PROFILE is {value!r}; accepted are {', '.join(NAMES)}.")
    return value


def pick(fast, lesson, full):
    """The argument that belongs to the profile in force."""
    return {"fast": fast, "lesson": lesson, "full": full}[name()]
