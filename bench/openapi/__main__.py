"""`python -m bench.openapi FILES`: every operation of each description imported and called; prints counts."""

import asyncio
import sys
from pathlib import Path

from bench.openapi.check import Report, check
from hone.output import console, show_table
from tools.importers.openapi import load_document


def main(paths: list[str]) -> int:
    """0: every call arrived as it was sent; 1: one did not; 2: no file was named."""
    if not paths:
        console.print("usage: python -m bench.openapi FILES")
        return 2
    reports = [asyncio.run(check(load_document(Path(path)))) for path in paths]
    rows = [[Path(r.source).name, r.tools, len(r.skipped), r.calls, r.right, len(r.unsampled)] for r in reports]
    show_table("OpenAPI import and call", ("description", "tools", "skipped", "calls", "right", "no value fits"), rows)
    for report in reports:
        _explain(report)
    return 1 if any(report.faults for report in reports) else 0


def _explain(report: Report) -> None:
    for part in report.skipped:
        console.print(f"skipped {part.name}: {part.reason} at {part.place}", markup=False)
    for text in report.unsampled:
        console.print(f"no value fits {text}", markup=False)
    for text in report.faults:
        console.print(text, markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
