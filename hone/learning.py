"""`hone learn`: from recorded turns to a better adapter, or to a reason why not."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hone.cycle import judge, run_cycle
from hone.home import Home, load_policy, load_renderer, open_home
from hone.output import JsonOption, console, write_json
from learner.curriculum_rows import evaluation_rows as curriculum_evaluation_rows
from learner.daemon import CycleReport, Outcome, run_forever
from learner.row_files import read_rows
from learner.rows import Row
from learner.settings import LearnerSettings
from learner.synth.rows import generate_rows
from runtime.errors import BadSettings
from runtime.settings import Settings
from tools.retrieval import open_retriever
from tools.tenancy import acting

EVALUATION_FILE = "evaluation.jsonl"
GENERATED_ROWS = 200


def learn(
    once: Annotated[bool, typer.Option("--once", help="One cycle, then end.")] = False,
    evaluation: Annotated[Path | None, typer.Option(help="Rows on tools that are never trained on.")] = None,
    window: Annotated[float, typer.Option(help="Seconds in which a user may still object to a call.")] = 600.0,
    model: Annotated[str | None, typer.Option(help="Folder of the base model.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where state lives.")] = None,
    json: JsonOption = None,
) -> None:
    """Verify recorded turns, train on them, and promote the adapter if it is proven better."""
    settings = LearnerSettings()
    with open_home(model=model, home=home) as here, acting(None):  # of all tenants: they share the policy
        check_base(here.settings)
        rows = evaluation_rows(here, evaluation, settings)

        def tell(report: CycleReport) -> None:
            if json:
                write_json(report.model_dump(mode="json", exclude={"before": {"rows"}, "after": {"rows"}}), json)
            show(report)

        async def cycle(known_batch: str | None = None) -> CycleReport:
            return await _cycle(here, rows, settings, window, known_batch)

        if once:
            tell(asyncio.run(cycle()))
        else:
            asyncio.run(run_forever(cycle, interval_s=settings.interval_s, on_report=tell, on_error=tell_error))


def check_base(settings: Settings) -> None:
    """What a candidate is made for is told by the files of its base, so they must be at hand before anything is trained.

    Raises: BadSettings: the model is a name on a hub, or a folder without weights.
    """
    if not any(Path(settings.model).glob("*.safetensors")):
        raise BadSettings(
            f"model={settings.model!r} is no folder with *.safetensors, which learning needs: download a model of a hub "
            "(hf download NAME --local-dir models/base) and give the folder to the server and to hone learn "
            "(HONE_MODEL or --model)"
        )


async def _cycle(
    here: Home, rows: list[Row], settings: LearnerSettings, window: float, known_batch: str | None
) -> CycleReport:
    swept = judge(here, window_s=window)
    console.print(f"{swept.spans} decisions in {swept.threads} threads: {dict(swept.outcomes)}")
    policy = load_policy(here.settings)
    renderer, retriever = load_renderer(here.settings), open_retriever(here.settings.retrieval)
    try:
        return await run_cycle(here, policy, renderer, retriever, rows, settings=settings, known_batch=known_batch)
    finally:
        await policy.close()


def evaluation_rows(here: Home, given: Path | None, settings: LearnerSettings) -> list[Row]:
    """The operator's rows; else the cases of never-train tools, beside generated ones on tools that no one registered, which are
    enough to see that nothing got worse."""
    own = here.settings.home / EVALUATION_FILE
    if given is not None or own.exists():
        return list(read_rows(given or own))
    own_tools = curriculum_evaluation_rows(here.catalogue.list(), settings.curriculum, settings.seed)
    return [*own_tools, *generate_rows(2, "eval", GENERATED_ROWS)]


def tell_error(error: Exception) -> None:
    """A cycle that broke: said and survived, since what broke it may be gone at the next."""
    console.print(f"[red]this cycle failed[/]: {error or type(error).__name__}; the next one comes all the same")


def show(report: CycleReport) -> None:
    style = "green" if report.outcome is Outcome.PROMOTED else "yellow"
    console.print(f"[{style}]{report.outcome.value}[/]: {report.reason} ({report.seconds:.0f} s)")
    if report.before and report.after and report.before.overall and report.after.overall:
        before, after = report.before.overall.reward.mean, report.after.overall.reward.mean
        console.print(f"reward on never-train tools {before:.3f} → {after:.3f} (n = {report.after.overall.n})")
    if report.published:
        console.print(f"{report.published.name} sha256 {report.published.sha256[:12]} at {report.published.path}")
