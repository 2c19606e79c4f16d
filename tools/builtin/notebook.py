"""Tasks and notes, kept in one SQLite file.

Each change is one transaction, so a crash leaves the file as it was before or after it, and several processes may
share it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.builtin.declaration import Builtin
from tools.outcome import failure, refusal
from tools.spec import SideEffect
from tools.tenancy import DEFAULT, caller

_TABLES = """
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, due TEXT, created_at TEXT NOT NULL, completed_at TEXT
);
CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, created_at TEXT NOT NULL);
"""
_STATUS = {"open": "completed_at IS NULL", "done": "completed_at IS NOT NULL", "all": "1"}
MAX_LISTED = 50
WAIT_S = 5.0
"""How long a change waits for another process's to end."""


class Notebook:
    """The one owner of the file, which is made at the first change or look."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now

    def add_task(self, title: str, due: str | None = None) -> dict[str, Any]:
        if not title.strip():
            raise refusal("the title is empty; say what is to be done")
        with self._change() as connection:
            cursor = connection.execute(
                "INSERT INTO tasks (title, due, created_at) VALUES (?, ?, ?)", (title.strip(), due, self._stamp())
            )
            return _task(connection.execute("SELECT * FROM tasks WHERE id = ?", (cursor.lastrowid,)).fetchone())

    def list_tasks(self, status: str = "open") -> dict[str, Any]:
        where = _STATUS[status]
        with self._change() as connection:
            total = connection.execute(f"SELECT count(*) FROM tasks WHERE {where}").fetchone()[0]
            rows = connection.execute(
                f"SELECT * FROM tasks WHERE {where} ORDER BY due IS NULL, due, id LIMIT ?", (MAX_LISTED,)
            ).fetchall()
        return {"tasks": [_task(row) for row in rows], "total": total}

    def complete_task(self, task_id: int) -> dict[str, Any]:
        with self._change() as connection:
            connection.execute(
                "UPDATE tasks SET completed_at = coalesce(completed_at, ?) WHERE id = ?", (self._stamp(), task_id)
            )
            row = connection.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
        if row is None:
            raise refusal(f"there is no task {task_id}; list the tasks to see their numbers")
        return _task(row)

    def add_note(self, text: str) -> dict[str, Any]:
        if not text.strip():
            raise refusal("the note is empty; say what to write down")
        with self._change() as connection:
            cursor = connection.execute(
                "INSERT INTO notes (text, created_at) VALUES (?, ?)", (text.strip(), self._stamp())
            )
            return {"note_id": cursor.lastrowid, "text": text.strip()}

    def find_notes(self, query: str = "") -> dict[str, Any]:
        with self._change() as connection:
            rows = connection.execute(
                "SELECT id, text FROM notes WHERE instr(lower(text), lower(?)) ORDER BY id DESC LIMIT ?",
                (query.strip(), MAX_LISTED),
            ).fetchall()
        return {"notes": [{"note_id": row["id"], "text": row["text"]} for row in rows]}

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own: threads share nothing but the file."""
        try:
            path = self._file()
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
                connection.row_factory = sqlite3.Row
                connection.executescript(_TABLES)
                with connection:
                    yield connection
        except (sqlite3.DatabaseError, OSError) as e:
            raise failure(f"the notebook {self._path.name} cannot be used: {e}") from e

    def _file(self) -> Path:
        """Each tenant has one of its own."""
        who = caller()
        if who is None or who.tenant == DEFAULT:
            return self._path
        return self._path.with_stem(f"{self._path.stem}-{who.tenant}")

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="seconds")


def _task(row: sqlite3.Row) -> dict[str, Any]:
    task = {"task_id": row["id"], "title": row["title"], "status": "done" if row["completed_at"] else "open"}
    return task | ({"due": row["due"]} if row["due"] else {})


def notebook_tools(notebook: Notebook) -> tuple[Builtin, ...]:
    return (
        Builtin(
            name="add_task",
            description="Add a task to the to-do list.",
            function=notebook.add_task,
            properties={
                "title": {"type": "string", "description": "What is to be done", "minLength": 1, "maxLength": 200},
                "due": {"type": "string", "format": "date", "description": "Due date, YYYY-MM-DD"},
            },
            required=("title",),
            side_effect=SideEffect.WRITE,
        ),
        Builtin(
            name="list_tasks",
            description="List the tasks of the to-do list.",
            function=notebook.list_tasks,
            properties={"status": {"type": "string", "enum": list(_STATUS), "description": "Which tasks"}},
            required=("status",),
        ),
        Builtin(
            name="complete_task",
            description="Mark a task of the to-do list as done.",
            function=notebook.complete_task,
            properties={
                "task_id": {"type": "integer", "description": "Number of the task", "minimum": 1, "maximum": 2**53}
            },
            required=("task_id",),
            side_effect=SideEffect.IDEMPOTENT,
        ),
        Builtin(
            name="add_note",
            description="Write down a note.",
            function=notebook.add_note,
            properties={
                "text": {"type": "string", "description": "What to write down", "minLength": 1, "maxLength": 4000}
            },
            required=("text",),
            side_effect=SideEffect.WRITE,
        ),
        Builtin(
            name="find_notes",
            description="Find the notes that contain a text.",
            function=notebook.find_notes,
            properties={"query": {"type": "string", "description": "Text to look for", "maxLength": 200}},
            required=("query",),
        ),
    )
