"""How much work a chapter does: `fast` proves it runs, `lesson` teaches."""

import json
import os

from aigc_keras.files import DATA

MEASUREMENTS = DATA / "chapters.json"
NAMES = ("fast", "lesson")


def name():
    """The profile in force: the environment variable `AIGC_PROFILE`, by default `"lesson"`."""
    value = os.environ.get("AIGC_PROFILE", "lesson")
    if value not in NAMES:
        raise ValueError(f"AIGC_PROFILE is {value!r}; accepted are {', '.join(NAMES)}.")
    return value


def pick(fast, lesson):
    """The argument that belongs to the profile in force."""
    return {"fast": fast, "lesson": lesson}[name()]


def announce(chapter):
    """Print the profile in force, and what the lesson profile of this chapter has cost."""
    print(f"Profile: {name()} (of {', '.join(NAMES)}; set AIGC_PROFILE before you start).")
    print(cost(chapter))


def cost(chapter):
    """What this chapter's last build took, in a sentence; its builder puts the new figures in."""
    measured = json.loads(MEASUREMENTS.read_text()) if MEASUREMENTS.exists() else {}
    if chapter not in measured:
        return "Measured in the lesson profile on ? cores: ? min, ? GiB."
    lesson = measured[chapter]
    return (
        f"Measured in the lesson profile on {lesson['cores']} cores: "
        f"{lesson['seconds'] / 60:.0f} min, {lesson['peak_memory_gib']:.0f} GiB."
    )
