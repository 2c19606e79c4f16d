"""The `hone` command: composition only, one module for each group of commands."""

import sys

import typer
from sqlalchemy.exc import SQLAlchemyError

from hone import (
    adapters,
    approvals,
    audit_command,
    data,
    demo_command,
    eval_command,
    keys_command,
    learning,
    secrets_command,
    serving,
    settings_command,
    system_prompt_command,
    threads,
    tools_command,
    traces,
)
from hone.output import problems
from learner.errors import LearnerError
from runtime.errors import RuntimeFault
from tools.errors import ToolError

app = typer.Typer(
    name="hone",
    help="An agent runtime that gets better at using tools.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("serve")(serving.serve)
app.command("learn")(learning.learn)
app.command("demo")(demo_command.demo)
app.add_typer(tools_command.app, name="tools")
app.command("settings")(settings_command.settings)
app.command("audit")(audit_command.audit)
app.add_typer(keys_command.app, name="keys")
app.add_typer(secrets_command.app, name="secrets")
app.add_typer(system_prompt_command.app, name="system-prompt")
app.add_typer(traces.app, name="traces")
app.add_typer(threads.app, name="threads")
app.add_typer(approvals.app, name="approvals")
app.add_typer(adapters.app, name="adapters")
app.add_typer(data.app, name="data")
app.add_typer(eval_command.app, name="eval")


def main() -> None:
    """Exit code 0: done; 1: failed, with the reason and the remedy on standard error; 2: wrong usage."""
    try:
        app()
    except (RuntimeFault, ToolError, LearnerError, SQLAlchemyError, OSError, ValueError) as e:
        problems.print(f"hone: {e}", style="red", markup=False, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
