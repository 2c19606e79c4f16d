"""Rows in every form that is read, and each kind of bad row counted and named."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from learner.errors import BadRows
from learner.measured_rows import Remark, prepare
from learner.row_files import RowFiles, read_files, read_rows, write_rows
from learner.row_forms import Fault
from tests.learner.case_rows import TOOLS, WEATHER, mixed_rows, tool
from tools.retrieval import open_retriever

CALL = {"name": "weather", "arguments": {"city": "Oslo"}}


def record(row_id: str = "a", *, truth: Any = None, **others: Any) -> dict[str, Any]:
    return {
        "data_source": "test/x",
        "prompt": [{"role": "user", "content": "weather in Oslo"}],
        "tools": list(TOOLS),
        "reward_model": {"style": "rule", "ground_truth": truth or {"decision": "execute", "tool_calls": [CALL]}},
        "extra_info": {"id": row_id},
        **others,
    }


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = mixed_rows(10)
    for name in ("a.jsonl", "a.jsonl.gz"):
        write_rows(tmp_path / name, rows)
        assert list(read_rows(tmp_path / name)) == rows


@pytest.mark.parametrize(
    ("label", "decision"),
    [
        ('[{"name": "weather", "arguments": {"city": "Oslo"}}]', "execute"),
        ('<TOOLCALL>[{"name": "weather", "arguments": {"city": "Oslo"}}]</TOOLCALL>', "execute"),
        ([CALL], "execute"),
        ('{"decision": "refuse", "category": "unsafe"}', "refuse"),
        ("To look that up, could you tell me the city?", "clarify"),
        ("Please provide the city.", "clarify"),
        ("I'm sorry, I can't do that. Is there anything else?", "refuse"),
        ("That is beyond what the tools can do.", "refuse"),
    ],
)
def test_the_plain_form_is_read(tmp_path: Path, label: Any, decision: str) -> None:
    (row,) = read_files([written(tmp_path / "a.jsonl", record(truth=label))]).rows
    assert row.truth.decision == decision
    is_sentence = isinstance(label, str) and label[0] not in "[{<"
    assert row.extra_info.get("inferred", False) is is_sentence
    if decision == "execute":
        assert row.truth.tool_calls[0].arguments == {"city": "Oslo"}


def test_parquet_of_structs_and_of_texts_gives_the_same_rows(tmp_path: Path) -> None:
    refuse = record("b", truth={"decision": "refuse", "category": "unsafe"}, tools=[WEATHER])
    execute = record("a", tools=[WEATHER])
    expected = read_files([written(tmp_path / "a.jsonl", execute, refuse)]).rows
    parquet.write_table(arrow.Table.from_pylist([execute, refuse]), tmp_path / "structs.parquet")
    texts = [
        {**r, **{k: json.dumps(r[k]) for k in ("prompt", "tools", "reward_model", "extra_info")}}
        for r in (execute, refuse)
    ]
    parquet.write_table(arrow.Table.from_pylist(texts), tmp_path / "texts.parquet")
    assert read_files([tmp_path / "texts.parquet"]).rows == expected
    structs = read_files([tmp_path / "structs.parquet"])
    assert (structs.rows, structs.unfit) == (expected, ())


def test_bare_calls_of_earlier_messages_get_openais_shape(tmp_path: Path) -> None:
    prompt = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "weather", "content": "rain"},
    ]
    (row,) = read_files([written(tmp_path / "a.jsonl", record(prompt=prompt))]).rows
    assert row.prompt[1]["tool_calls"] == [{"type": "function", "function": CALL}]


@pytest.mark.parametrize(
    ("line", "fault", "said"),
    [
        ("{not json", Fault.NOT_JSON, "no JSON"),
        ('{"a": NaN}', Fault.NOT_JSON, "NaN"),
        ("[]", Fault.NOT_A_ROW, "list"),
        (record("bad", prompt=[]), Fault.NOT_A_ROW, "no messages"),
        (record("bad", prompt=[{"content": "x"}]), Fault.NOT_A_ROW, "role"),
        (record("bad", prompt=[{"role": "user", "content": 5}]), Fault.NOT_A_ROW, "content"),
        (record("bad", tools=[{"type": "function", "function": {}}]), Fault.BAD_SCHEMA, "name"),
        (record("bad", tools=[tool("weather", city={"type": "text"})]), Fault.BAD_SCHEMA, "city"),
        (record("bad", tools=[WEATHER, WEATHER]), Fault.BAD_SCHEMA, "two tools"),
        (record("bad", tools=[tool("ask_user"), WEATHER]), Fault.BAD_SCHEMA, "reserved"),
        (record("bad", tools=[]), Fault.BAD_LABEL, "'weather', which is not among the tools: none"),
        (record("bad", truth={"decision": "execute", "tool_calls": []}), Fault.BAD_LABEL, "no call"),
        (record("bad", truth={"decision": "dance"}), Fault.NOT_A_ROW, "decision"),
        (record("bad", truth=5), Fault.BAD_LABEL, "neither"),
        (record("good"), Fault.SAME_ID, "earlier"),
    ],
)
def test_each_kind_of_bad_row_is_named_and_the_others_are_read(
    tmp_path: Path, line: Any, fault: Fault, said: str
) -> None:
    path = written(tmp_path / "a.jsonl", record("good"), line, "", record("last"))
    found = read_files([path])
    assert [row.extra_info["id"] for row in found.rows] == ["good", "last"]
    (unfit,) = found.unfit
    assert (unfit.fault, unfit.place) == (fault, f"{path}:2")
    assert said in unfit.detail
    if fault is not Fault.SAME_ID:
        with pytest.raises(BadRows, match=":2: not a dataset row"):
            list(read_rows(path))


@pytest.mark.parametrize("name", ["none.jsonl", "broken.jsonl.gz", "broken.parquet"])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no such thing")
    with pytest.raises(BadRows, match=name):
        read_files([tmp_path / name])


def test_a_compressed_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(record(str(i))) + "\n" for i in range(200)).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(BadRows, match=r"cut\.jsonl\.gz"):
        read_files([tmp_path / "cut.jsonl.gz"])


def test_what_is_odd_about_measured_rows_is_remarked(tmp_path: Path) -> None:
    many = [tool(f"count_{word}", n={"type": "integer"}) for word in map(str, range(100))]
    lines = [
        record("bare", tools=[], truth={"decision": "refuse"}),
        record("missing", truth={"decision": "refuse"}),
        record("hundred", tools=[*many, WEATHER]),
        record("hidden", tools=[*many, tool("zzz")], truth=[{"name": "zzz", "arguments": {}}]),
        record("said", truth="Which city?"),
        record("text", truth=[{"name": "weather", "arguments": {"city": "Oslo", "days": "2"}}]),
        record("breaks", truth=[{"name": "weather", "arguments": {"days": 2}}]),
        record("doubtful", extra_info={"id": "doubtful", "flags": ["known:#1"]}),
    ]
    del lines[1]["tools"]
    rows = prepare(
        read_files([written(tmp_path / "a.jsonl", *lines)]), retriever=open_retriever("words"), shown_tools=6
    )
    assert not rows.unfit
    assert len(rows.rows) == len(lines)
    assert rows.remarks == {
        Remark.NO_TOOLS: ("bare", "missing"),
        Remark.INFERRED_LABEL: ("said",),
        Remark.COERCED_LABEL: ("text",),
        Remark.LABEL_BREAKS_SCHEMA: ("breaks",),
        Remark.FLAGGED: ("doubtful",),
        Remark.SHORTLISTED: ("hundred", "hidden"),
        Remark.RIGHT_TOOL_NOT_SHOWN: ("hidden",),
    }
    shown = {row.extra_info["id"]: [t["function"]["name"] for t in row.tools] for row in rows.rows}
    assert len(shown["hundred"]) == 6
    assert shown["hundred"][0] == "weather"


def test_a_sample_is_drawn_per_source_and_by_its_seed() -> None:
    rows = tuple(r.model_copy(update={"data_source": f"s/{i % 2}"}) for i, r in enumerate(mixed_rows(40)))
    drawn = [prepare(RowFiles(rows, ()), sample=5, seed=seed, retriever=None).rows for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(row.data_source for row in drawn[0]) == ["s/0"] * 5 + ["s/1"] * 5
