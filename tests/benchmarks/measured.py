"""Long measurements, row by row: a row is written as soon as it stands."""

import json
import sys

from aigc_keras.files import replaced


def measure(jobs, unit, amount, facts, path, trial=False):
    """Measure what `path` does not have yet, row by row; a trial: seed 0 only, writes nothing.

    Args:
        jobs: (what a row is, function that measures it), the most wanted first.
        unit, amount: of each training, as "seconds", 20; a file that has another is refused.
    """
    report = {"machine": facts, unit: amount, "rows": []}
    if path.exists() and not trial:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report[unit] != amount:
            raise ValueError(
                f"{unit.upper()}: got {amount:g}, accepted is {report[unit]:g}, as {path.name} "
                "has; remove it to measure anew."
            )
    for key, job in jobs:
        known = any(key.items() <= row.items() for row in report["rows"])
        if known or (trial and key["seed"]):
            continue
        row = key | job()
        print(row, file=sys.stderr, flush=True)
        report["rows"].append(row)
        if not trial:
            with replaced(path) as partial:
                text = json.dumps(report, indent=1, ensure_ascii=False)
                partial.write_text(text + "\n", encoding="utf-8")
