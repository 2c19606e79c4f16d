"""Every kind of operation, imported and called on a real server that is made from the same description."""

from pathlib import Path

import pytest

from bench.openapi.check import check
from tools.importers.openapi import load_document

SPECS = Path(__file__).parent / "specs"


@pytest.mark.parametrize(
    ("name", "tools", "skipped"),
    [
        ("harbour-3.0.yaml", 11, {"papers.scan"}),
        ("orchard-3.1.yaml", 4, set()),
        ("kiosk-2.0.json", 4, {"sendRaw", "feed"}),
    ],
)
async def test_every_argument_of_every_operation_arrives_where_it_belongs(
    name: str, tools: int, skipped: set[str]
) -> None:
    report = await check(load_document(SPECS / name))
    assert report.faults == []
    assert report.unsampled == []
    assert (report.tools, report.calls, report.right) == (tools, 2 * tools, 2 * tools)
    assert {part.name for part in report.skipped} == skipped
    assert all(part.place and part.place.startswith("/paths/") for part in report.skipped)
