"""`hone traces`: what the agent did, and what the world proved of it."""

from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.output import JsonOption, show_table, write_json
from runtime.decision import dump_decision
from runtime.traces.schema import Trace

app = typer.Typer(help="Look at recorded turns.", no_args_is_help=True)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


@app.command("list")
def list_traces(
    thread: Annotated[str | None, typer.Option(help="Only this thread.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """The newest turns."""
    with open_home(home=home) as here:
        found = here.traces.list(thread_id=thread, limit=limit)
        verdicts = {s.id: here.traces.verdict(s.id) for t in found for s in t.spans}
    if json:
        write_json({"traces": [t.model_dump(mode="json") for t in found]}, json)
        return
    rows = []
    for trace in found:
        for span in trace.spans:
            verdict = verdicts[span.id]
            proof = f"{verdict.outcome.value} ({verdict.reason})" if verdict else ""
            rows.append(
                [trace.created_at.strftime("%H:%M:%S"), span.id, _asked(trace), span.decision.kind.value, proof]
            )
    show_table("Turns", ("time", "span", "request", "decision", "verdict"), rows)


@app.command()
def show(trace_id: str, home: HomeOption = None, json: JsonOption = None) -> None:
    """One turn in full."""
    with open_home(home=home) as here:
        trace = here.traces.get(trace_id)
    if json:
        write_json(trace.model_dump(mode="json"), json)
        return
    rows = [[span.index, dump_decision(span.decision), [o.content for o in span.outcomes]] for span in trace.spans]
    show_table(f"{trace.id} on {trace.adapter or 'the base'}: {_asked(trace)}", ("step", "decision", "results"), rows)


def _asked(trace: Trace) -> str:
    messages = trace.spans[0].messages if trace.spans else ()
    said = [m["content"] for m in messages if m.get("role") == "user"]
    return str(said[-1])[:60] if said else ""
