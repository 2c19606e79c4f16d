"""What a definition says of itself."""

from tests.tools.tool_specs import tool


def test_a_changed_copy_has_another_digest_and_an_unchanged_one_the_same() -> None:
    spec = tool()
    before = spec.sha256
    assert spec.model_copy(update={"description": "Find trains."}).sha256 != before
    assert spec.model_copy().sha256 == spec.shared().sha256 == tool().sha256 == before


def test_a_digest_that_was_asked_for_is_no_part_of_the_definition() -> None:
    asked, other = tool(), tool()
    assert asked.sha256
    assert asked == other
    assert asked.model_dump() == other.model_dump()
