"""nbgrader's settings in `make lab`, where students press Validate."""

from pathlib import Path

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(Path(__file__).parent)
c.Execute.timeout = 60  # seconds for a cell, as when a class is graded
