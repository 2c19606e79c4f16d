"""What the linter and the curriculum make of the tools in files of dataset rows.

    python -m bench.definitions rows.jsonl.gz ...

Prints the number of findings of each rule, and of the cases that follow from the definitions.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from learner.row_files import read_rows
from tools.curriculum import curriculum
from tools.lint import Rule, lint_all
from tools.spec import ClientBackend, ToolSpec

COMPANY = 100
"""Tools that may stand beside each, the next ones by name."""
MOST_WITH_CASES = 200
"""Tools that cases are made for, at equal distances by name."""


def main(files: Iterable[str]) -> None:
    specs = list(_tools(files).values())
    print(f"{len(specs)} tools")
    _lint(specs)
    _cases(sorted(specs, key=lambda spec: spec.name))


def _tools(files: Iterable[str]) -> dict[str, ToolSpec]:
    """By name; of several tools of one name the first."""
    found: dict[str, ToolSpec] = {}
    for file in files:
        for row in read_rows(Path(file)):
            for tool in row.tools:
                spec = _spec(tool["function"])
                found.setdefault(spec.name, spec)
    return found


def _spec(function: dict[str, Any]) -> ToolSpec:
    name = re.sub(r"^(?=\d)", "_", re.sub(r"[^a-zA-Z0-9_-]", "_", function["name"]))[:64]
    parameters = {"type": "object", **(function.get("parameters") or {})}
    return ToolSpec(
        name=name, description=function.get("description") or "", parameters=parameters, backend=ClientBackend()
    )


def _lint(specs: list[ToolSpec]) -> None:
    began = time.monotonic()
    findings = lint_all(specs)
    seconds = time.monotonic() - began
    print(f"{len(findings)} findings on {len({f.tool for f in findings})} tools in {seconds:.1f} s")
    counts = Counter(finding.rule for finding in findings)
    for rule in Rule:
        print(f"  {rule.value:24} {counts[rule]}")


def _cases(specs: list[ToolSpec]) -> None:
    began = time.monotonic()
    counts: Counter[str] = Counter()
    without = 0
    places = range(0, len(specs), -(-len(specs) // MOST_WITH_CASES)) if specs else ()
    for place in places:
        cases = curriculum(specs[place], specs[place + 1 : place + 1 + COMPANY])
        counts.update(case.kind.value for case in cases)
        without += not cases
    seconds = time.monotonic() - began
    print(f"cases of {len(places)} tools in {seconds:.1f} s: {dict(counts)}; {without} tools give none")


if __name__ == "__main__":
    main(sys.argv[1:])
