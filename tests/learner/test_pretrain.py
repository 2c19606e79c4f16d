"""Pretraining: what becomes of a run that is killed or goes astray, and what is written at its end."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from learner.beginning import BEGUN, begin
from learner.growing import grown
from learner.pretrain import export, layouts, load_checkpoint, parse_arguments
from learner.pretrainer import averaging
from learner.starter import SIZES, build_model
from runtime.prompt import Renderer

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import os
import time
from torch.multiprocessing.spawn import spawn
from learner.pretrain import end_with_parent

def child(rank):
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    spawn(child, nprocs=1)
"""


def test_a_killed_parent_takes_its_processes_with_it(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert _ends_within(child, 10)


def _ends_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if _is_zombie(pid):
            return True
        time.sleep(0.05)
    return False


def _is_zombie(pid: int) -> bool:
    """Ended, but not yet collected by whoever adopted it."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_run_that_was_cut_off_goes_on_to_the_same_model(tmp_path: Path) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    pretrain(straight)
    pretrain(cut, cut_at=2)
    pretrain(cut)
    assert logged(cut) == logged(straight)
    weights = [(run / "out" / "model.safetensors").read_bytes() for run in (straight, cut)]
    assert weights[0] == weights[1]
    assert (cut / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_began_elsewhere_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"of an earlier version")
    with pytest.raises(FileNotFoundError, match="name another --run"):
        begin(tmp_path, size="starter", seed=1, init=ROOT / "models" / "starter")
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def _finish(folder: Path, monkeypatch: pytest.MonkeyPatch, otherwise: dict[str, int]) -> Any:
    """A tiny model, but for what is otherwise, as a training leaves it in a folder."""
    renderer = Renderer.load(ROOT / "models" / "starter")
    with monkeypatch.context() as for_now:
        for_now.setitem(SIZES, "tiny", SIZES["tiny"] | otherwise)
        model = build_model("tiny", renderer.tokenizer)
    export(model, renderer, folder)
    return model


@pytest.mark.parametrize(
    "smaller",
    [
        {"intermediate_size": 96},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3, "intermediate_size": 96},
    ],
    ids=["narrower", "a layer fewer", "one layer", "both"],
)
def test_a_larger_model_begins_with_what_the_smaller_one_computes(
    smaller: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = _finish(tmp_path / "small", monkeypatch, smaller).eval()
    run = tmp_path / "run"
    run.mkdir()
    begin(run, size="tiny", seed=1, init=tmp_path / "small")

    large = build_model("tiny", Renderer.load(run / "tokenizer").tokenizer).eval()
    large.load_state_dict(load_file(run / BEGUN), strict=False)
    small.load_state_dict(load_file(tmp_path / "small" / "model.safetensors"), strict=False)
    ids = torch.randint(0, 4000, (2, 24))
    with torch.no_grad():
        assert torch.allclose(large(ids).logits, small(ids).logits, atol=1e-4)
    for layer in large.model.layers:
        read = layer.mlp.gate_proj.weight.std(dim=1)
        assert (read > 0.01).all()  # what reads nothing would learn nothing


def test_new_layers_come_evenly_between_the_others_and_write_nothing_yet() -> None:
    def layers(count: int) -> dict[str, torch.Tensor]:
        parts = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
        return {f"model.layers.{n}.{part}.weight": torch.full((1, 1), n + 1.0) for n in range(count) for part in parts}

    found = grown(layers(8), layers(12))
    reads = [int(found[f"model.layers.{n}.self_attn.q_proj.weight"]) for n in range(12)]
    assert reads == [1, 2, 2, 3, 4, 4, 5, 5, 6, 7, 7, 8]
    for part in ("self_attn.o_proj", "mlp.down_proj"):
        writes = [int(found[f"model.layers.{n}.{part}.weight"]) for n in range(12)]
        assert writes == [1, 2, 0, 3, 4, 0, 5, 0, 6, 7, 0, 8]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"num_hidden_layers": 5}, r"has model\.layers\.4\..* no place for"),
        ({"hidden_size": 64}, r"in the model to go on from and .* in the --size that is asked for"),
    ],
    ids=["more layers", "thinner"],
)
def test_a_model_that_cannot_grow_to_the_size_is_named_and_nothing_is_written(
    other: dict[str, int], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finish(tmp_path / "other", monkeypatch, other)
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(ValueError, match=message):
        begin(run, size="tiny", seed=1, init=tmp_path / "other")
    assert not list(run.iterdir())


@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"init": ROOT / "models"}, {"init": None}, {"size": "starter"}],
    ids=["seed", "init", "nothing", "size"],
)
def test_a_folder_that_holds_another_training_is_refused(
    other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finish(tmp_path / "small", monkeypatch, {})
    asked: dict[str, Any] = {"size": "tiny", "seed": 1, "init": tmp_path / "small"}
    run = tmp_path / "run"
    run.mkdir()
    begin(run, **asked)
    begun = (run / BEGUN).read_bytes()
    begin(run, **asked)
    with pytest.raises(ValueError, match="name another --run"):
        begin(run, **asked | other)
    assert (run / BEGUN).read_bytes() == begun


@pytest.mark.parametrize(("size", "most"), [("starter", 25), ("starter-plus", 60)])
def test_a_model_of_each_size_is_no_larger_than_is_checked_in(size: str, most: int) -> None:
    with torch.device("meta"):
        model = build_model(size, Renderer.load(ROOT / "models" / "starter").tokenizer)
    assert 2 * model.num_parameters() <= most * 1_000_000  # bytes in bfloat16


def test_a_run_of_a_version_without_a_mean_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save({"model": {}, "optimizers": [], "step": 1, "family": 0}, tmp_path / "checkpoint.pt")
    untouched: Any = None
    with pytest.raises(ValueError, match="name another --run"):
        load_checkpoint(tmp_path, untouched)


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_no_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = subprocess.run([*command(run), "--lr", "1e30"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "smaller --lr" in ended.stderr
    assert not (run / "out").exists()
    assert not (run / "checkpoint.pt").exists()


def test_a_finished_model_keeps_as_much_of_the_one_before_as_is_said(tmp_path: Path) -> None:
    begin(tmp_path, size="starter", seed=1, init=ROOT / "models" / "starter")
    renderer = Renderer.load(tmp_path / "tokenizer")
    torch.manual_seed(0)
    trained = build_model("starter", renderer.tokenizer)
    for keep in (0.0, 0.5, 1.0):
        export(trained, renderer, tmp_path / str(keep), begun=tmp_path / BEGUN, keep=keep)
    before = load_file(tmp_path / BEGUN)
    after, half, same = (load_file(tmp_path / share / "model.safetensors") for share in ("0.0", "0.5", "1.0"))
    for name, weight in before.items():
        assert torch.equal(same[name], weight.to(torch.bfloat16))
        assert torch.equal(after[name], trained.state_dict()[name].to(torch.bfloat16))
        torch.testing.assert_close(half[name].float(), (weight.float() + after[name].float()) / 2, atol=1e-3, rtol=1e-2)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 12))
def test_the_mean_is_of_all_steps_up_to_a_number_and_then_forgets_slowly(weights: list[float], steps: int) -> None:
    layer: Any = torch.nn.Linear(1, 1, bias=False)
    mean, expected = averaging(layer, steps), 0.0
    for place, weight in enumerate(weights):
        torch.nn.init.constant_(layer.weight, weight)
        mean.update_parameters(layer)
        expected += (weight - expected) / min(place + 1, steps)
    found: Any = mean.module
    assert found.weight.item() == pytest.approx(expected, abs=1e-4)
    if steps == 1:
        assert found.weight.item() == layer.weight.item()


def test_the_finished_model_is_the_mean_along_the_training_and_not_its_last_step(tmp_path: Path) -> None:
    pretrain(tmp_path, more=("--average", "3", "--lr", "0.01"))
    last = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    finished = load_file(tmp_path / "out" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(finished[name], last["mean"][f"module.{name}"].to(torch.bfloat16))
    assert not torch.equal(finished[name], last["model"][name].to(torch.bfloat16))


def test_the_loss_on_what_is_kept_from_training_is_logged_at_each_save_and_drawn(tmp_path: Path) -> None:
    pretrain(tmp_path, more=("--held-out", "1", "--lr", "1e-9"))
    entries = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    told = {entry["step"]: entry["held_out_loss"] for entry in entries if "held_out_loss" in entry}
    assert list(told) == [2, 4]
    assert 0 < told[2] < 1
    assert told[4] == pytest.approx(told[2], abs=1e-4)  # a model that hardly moves is measured on the same rows again
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "given",
    [["--keep", "0.3"], ["--init", "models/starter", "--keep", "3"], ["--average", "0"], ["--held-out", "-1"]],
    ids=" ".join,
)
def test_a_mean_that_cannot_be_taken_is_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(["--out", "somewhere", *given])
    assert " ".join(given[-2:]) in capsys.readouterr().err


def test_batches_are_of_the_kinds_asked_for_in_turn() -> None:
    sizes = {"prefix": 240, "slot": 288, "slots": 2, "wide_prefix": 432, "long_slot": 880, "max_tools": 5}
    short, wide, long = layouts(argparse.Namespace(**sizes, batches=["short", "wide", "long"]))
    assert (short.length, wide.length, long.length) == (240 + 2 * 288, 432 + 288, 240 + 880)
    assert (short.tools, wide.tools, long.tools) == ((1, 5), (4, 5), (1, 5))
    assert [short.long, wide.long, long.long] == [False, False, True]


@pytest.mark.parametrize(
    ("given", "remedy"),
    [(["--max-tools", "3"], "leave them out of --batches"), (["--max-tools", "0"], "give 1 or more")],
)
def test_fewer_tools_than_batches_show_are_refused(
    given: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(["--out", "somewhere", *given])
    said = capsys.readouterr().err
    assert " ".join(given) in said
    assert remedy in said


def test_fewer_tools_will_do_without_wide_batches() -> None:
    given = parse_arguments(["--out", "somewhere", "--max-tools", "3", "--batches", "short", "long"])
    assert [layout.tools for layout in layouts(given)] == [(1, 3), (1, 3)]


def command(run: Path) -> list[str]:
    """Four steps on from the checked-in starter, the second of a long conversation."""
    sizes = "--init models/starter --batch 1 --slots 1 --batches short long --threads 1 --no-compile"
    steps = "--steps 4 --warmup 1 --decay 4 --save-every 2 --log-every 1 --held-out 0"
    folders = ["--run", str(run), "--out", str(run / "out")]
    return [sys.executable, "-m", "learner.pretrain", *folders, *sizes.split(), *steps.split()]


def pretrain(run: Path, *, cut_at: int | None = None, more: Sequence[str] = ()) -> None:
    """`cut_at`: killed a step after that many were saved."""
    with subprocess.Popen([*command(run), *more], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if cut_at is not None and f'"step": {cut_at + 1},' in line:
                process.kill()
    assert (process.returncode == 0) == (cut_at is None)


def logged(run: Path) -> dict[int, float]:
    """Step → loss."""
    entries = [json.loads(line) for line in (run / "loss.jsonl").read_text().splitlines()]
    return {entry["step"]: entry["loss"] for entry in entries}
