"""One learning cycle from the command line's side: verdicts first, then the learner, with a bar for each stage."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hone.home import Home
from hone.output import console
from learner.curriculum_rows import training_rows
from learner.daemon import CycleReport, Learner, Stage, run_once
from learner.replay import replay_rows
from learner.rows import Row
from learner.settings import LearnerSettings
from runtime.database import utc_now
from runtime.policy.base import Policy
from runtime.prompt import Renderer
from runtime.verify.rules import RefuseRule, read_rules
from runtime.verify.sweep import SweepReport, sweep
from tools.retrieval import Retriever

RULES_FILE = "refuse_rules.json"
"""In HONE_HOME: what the operator never serves; see `runtime.verify.rules`."""


def judge(here: Home, *, window_s: float, final: bool = False) -> SweepReport:
    """Verdicts on all recorded turns."""
    return sweep(here.traces, now=utc_now(), window_s=window_s, final=final, rules=refuse_rules(here))


def refuse_rules(here: Home) -> tuple[RefuseRule, ...]:
    """Raises: BadSettings: naming the entry at fault."""
    rules_file = here.settings.home / RULES_FILE
    return read_rules(rules_file) if rules_file.exists() else ()


@contextmanager
def bars() -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield progress


async def run_cycle(
    here: Home,
    policy: Policy,
    renderer: Renderer,
    retriever: Retriever,
    evaluation_rows: Sequence[Row],
    *,
    settings: LearnerSettings,
    known_batch: str | None = None,
) -> CycleReport:
    registered = here.catalogue.list()
    learner = Learner(
        store=here.traces,
        deployment=here.deployment,
        policy=policy,
        renderer=renderer,
        base=Path(here.settings.model),
        home=here.settings.home,
        retriever=retriever,
        evaluation_rows=evaluation_rows,
        never_train=frozenset(spec.name for spec in registered if spec.never_train),
        extra_rows=[
            *replay_rows(settings.replay, settings.seed),
            *training_rows(registered, settings.curriculum, settings.seed),
        ],
        rules=refuse_rules(here),
        settings=settings,
    )
    with bars() as progress:
        tasks: dict[Stage, int] = {}

        def show(stage: Stage, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = int(progress.add_task(stage.value, total=total))
            progress.update(tasks[stage], completed=done, total=total)  # pyright: ignore[reportArgumentType]

        return await run_once(learner, progress=show, known_batch=known_batch)
