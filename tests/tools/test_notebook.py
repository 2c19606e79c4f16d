from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.builtin.notebook import MAX_LISTED, Notebook
from tools.outcome import CallFault
from tools.spec import CallStatus


def now() -> datetime:
    return datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "deep" / "home" / "notebook.sqlite", now)


def test_a_task_is_added_listed_and_completed(notebook: Notebook) -> None:
    assert notebook.add_task(" Buy milk ") == {"task_id": 1, "title": "Buy milk", "status": "open"}
    assert notebook.complete_task(1) == {"task_id": 1, "title": "Buy milk", "status": "done"}
    assert notebook.list_tasks("open") == {"tasks": [], "total": 0}
    assert notebook.list_tasks("done")["total"] == notebook.list_tasks("all")["total"] == 1


def test_open_tasks_come_in_the_order_of_their_dates(notebook: Notebook) -> None:
    notebook.add_task("someday")
    notebook.add_task("later", "2026-12-01")
    notebook.add_task("soon", "2026-05-02")
    assert [task["title"] for task in notebook.list_tasks()["tasks"]] == ["soon", "later", "someday"]


def test_completing_twice_is_completing_once(notebook: Notebook) -> None:
    notebook.add_task("x")
    assert notebook.complete_task(1) == notebook.complete_task(1)


def test_notes_are_found_by_their_text_newest_first(notebook: Notebook) -> None:
    for text in ("Wifi: blue-door", "Dentist on 3 June", "wifi at work: green"):
        notebook.add_note(text)
    assert [note["note_id"] for note in notebook.find_notes("WIFI")["notes"]] == [3, 1]
    assert len(notebook.find_notes()["notes"]) == 3
    assert notebook.find_notes("100%")["notes"] == []


def test_text_is_data_and_never_sql(notebook: Notebook) -> None:
    title = "'); DROP TABLE tasks; --"
    notebook.add_task(title)
    assert notebook.list_tasks()["tasks"][0]["title"] == title


def test_a_long_list_is_cut_and_counted(notebook: Notebook) -> None:
    for number in range(MAX_LISTED + 3):
        notebook.add_task(f"task {number}")
    listed = notebook.list_tasks()
    assert (len(listed["tasks"]), listed["total"]) == (MAX_LISTED, MAX_LISTED + 3)


def test_what_is_empty_or_unknown_is_refused(notebook: Notebook) -> None:
    for attempt in (lambda: notebook.add_task("  "), lambda: notebook.add_note(""), lambda: notebook.complete_task(7)):
        with pytest.raises(CallFault) as caught:
            attempt()
        assert caught.value.status is CallStatus.REJECTED


def test_what_was_written_outlives_the_process(notebook: Notebook, tmp_path: Path) -> None:
    notebook.add_task("x")
    again = Notebook(tmp_path / "deep" / "home" / "notebook.sqlite", now)
    assert again.list_tasks()["total"] == 1


def test_writers_side_by_side_lose_nothing(notebook: Notebook) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = [task["task_id"] for task in pool.map(lambda number: notebook.add_task(f"task {number}"), range(20))]
    assert sorted(ids) == list(range(1, 21))


def test_a_damaged_file_is_a_failure_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "notebook.sqlite"
    path.write_bytes(b"this is no database, it only looks for one" * 100)
    with pytest.raises(CallFault, match=r"notebook\.sqlite cannot be used") as caught:
        Notebook(path, now).list_tasks()
    assert caught.value.status is CallStatus.FAILED
    assert path.read_bytes().startswith(b"this is no database")
