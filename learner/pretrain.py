"""Trains a starter model from scratch, or on from a finished one: `python -m learner.pretrain --out FOLDER --run runs/NAME`.

Two stages. First copying, unless a finished model goes on: random tokens, repeated, teach the heads to look back and copy, which
decides whether anything after it works. Then decisions: packed families of tools, invented and real ones
(`learner.synth.packing`), with the loss only on what the policy writes. The learning rate holds, then falls to zero over the last
`--decay` steps (warm-up, stable, decay), so a run can be prolonged from any checkpoint. Muon moves the matrices, AdamW the rest.

With `--processes N` each of N processes takes every N-th family and the gradients are averaged: on a few cores one thread each is
about twice as fast as two threads in one process.

The finished model is the mean of the weights along the last `--average` steps or so: a step of a few families moves them about
more than it moves them on, and the mean stands still. Its loss on `--held-out` batches about tools and words that are kept from
training is logged beside the loss of the steps: where the one falls and the other does not, the training learns its tools by heart.

`--keep 0.5` ends with the mean of the model that the run went on from and of what it made of it: less of what was known is lost
(averaged weights, arXiv 2203.05482).

A run is resumed by the same command with the same `--run` folder: data, optimiser and step continue where the checkpoint left
off. Each training has a folder of its own. `loss.jsonl` in it has loss and speed, `loss.png` the loss as a picture.
"""

import argparse
import copy
import math
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader, IterableDataset

from learner.beginning import BEGUN, begin
from learner.branched import Branches
from learner.loss_curve import LossLog, draw_loss
from learner.pretrainer import Pretrainer, on_device
from learner.row_files import read_rows
from learner.starter import SIZES, build_model
from learner.synth.borrowed import Borrowed
from learner.synth.everyday import everyday_rows, everyday_talks
from learner.synth.lexicon import Side
from learner.synth.packing import IGNORED, Batch, Layout, packed_batches
from runtime.prompt import Renderer


class _Batches(IterableDataset):
    def __init__(self, tokenizer_folder: Path, files: Sequence[Path], side: Side = "train", **where: Any) -> None:
        """Args: where: as `packed_batches` takes it."""
        self._tokenizer_folder, self._files, self._where = tokenizer_folder, files, where
        self._side: Side = side

    def __iter__(self) -> Iterator[Batch]:
        renderer = Renderer.load(self._tokenizer_folder)
        rows = [*everyday_rows(), *(row for file in self._files for row in read_rows(file))]
        yield from packed_batches(renderer, borrowed=Borrowed.of(rows, self._side, everyday_talks()), **self._where)


def copy_batch(
    generator: torch.Generator, rows: int, length: int, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random tokens whose second half repeats the first; the loss is on the second half. [B, T] each: ids, positions, targets."""
    half = length // 2
    first = torch.randint(300, vocabulary - 2, (rows, half), generator=generator)
    ids = torch.cat([first, first], 1)
    targets = torch.full_like(ids, IGNORED)
    targets[:, half - 1 : -1] = ids[:, half:]
    return ids, torch.arange(length).expand(rows, -1).contiguous(), targets


def share_of_lr(step: int, arguments: argparse.Namespace) -> float:
    warm = min(1.0, (step + 1) / arguments.warmup)
    return warm * min(1.0, max(0.0, (arguments.steps - step) / max(1, arguments.decay)))


def save_checkpoint(run: Path, trainer: Pretrainer, step: int, family: int) -> None:
    state = {
        "model": trainer.model.state_dict(),
        "mean": trainer.mean.state_dict(),
        "optimizers": [o.state_dict() for o in trainer.optimizers],
        "step": step,
        "family": family,
    }
    temporary = run / "checkpoint.tmp"
    torch.save(state, temporary)
    temporary.replace(run / "checkpoint.pt")


def load_checkpoint(run: Path, trainer: Pretrainer) -> tuple[int, int]:
    path = run / "checkpoint.pt"
    if not path.exists():
        return 0, 0
    state = torch.load(path, weights_only=True)
    if "mean" not in state:
        raise ValueError(f"{path} is of a version that kept no mean of the weights: name another --run")
    trainer.model.load_state_dict(state["model"])
    trainer.mean.load_state_dict(state["mean"])
    for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["family"]


def export(model: Any, renderer: Renderer, out: Path, *, begun: Path | None = None, keep: float = 0.0) -> None:
    """Writes the folder that serving loads: bfloat16 safetensors, tokenizer, chat template.

    Args: keep: the share in it of the weights that the run began with, in the file `begun`.
    """
    finished = copy.deepcopy(model).to(torch.bfloat16)
    if begun and keep:
        before = load_file(begun)
        with torch.no_grad():
            for name, weight in finished.named_parameters():
                weight.copy_((1 - keep) * weight.float() + keep * before[name].float())
    finished.save_pretrained(out)
    renderer.tokenizer.save_pretrained(out)


def train(arguments: argparse.Namespace) -> None:
    """The whole run, in as many processes as asked for."""
    arguments.run.mkdir(parents=True, exist_ok=True)
    begin(arguments.run, size=arguments.size, seed=arguments.seed, init=arguments.init)
    if arguments.processes == 1:
        _train_in_process(0, arguments)
        return
    (arguments.run / "rendezvous").unlink(missing_ok=True)
    spawn(_train_in_process, (arguments,), nprocs=arguments.processes)


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, killed or not; otherwise it would train on unseen."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _train_in_process(rank: int, arguments: argparse.Namespace) -> None:
    if arguments.processes > 1:
        end_with_parent()
        rendezvous = f"file://{(arguments.run / 'rendezvous').resolve()}"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=arguments.processes)
    torch.manual_seed(arguments.seed)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    renderer = Renderer.load(arguments.run / "tokenizer")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_model(arguments.size, renderer.tokenizer)
    model.load_state_dict(load_file(arguments.run / BEGUN), strict=False)
    trainer = Pretrainer(model.to(device), arguments)
    step, family = load_checkpoint(arguments.run, trainer)
    if rank == 0:
        print(f"{sum(p.numel() for p in trainer.model.parameters()):,} parameters, from step {step}", flush=True)
    step = _copy_stage(trainer, arguments, step)
    _decision_stage(trainer, renderer, arguments, step, family, rank)
    if rank == 0:
        export(trainer.mean.module, renderer, arguments.out, begun=arguments.run / BEGUN, keep=arguments.keep)
        print(f"written to {arguments.out}", flush=True)
    if dist.is_initialized():
        dist.destroy_process_group()


def _copy_stage(trainer: Pretrainer, arguments: argparse.Namespace, step: int) -> int:
    while step < (0 if arguments.init else arguments.copy_steps):
        generator = torch.Generator().manual_seed(arguments.seed * 1_000_003 + step)
        ids, positions, targets = (
            t.to(trainer.device) for t in copy_batch(generator, 64, 96, trainer.model.config.vocab_size)
        )
        branches = Branches.of(torch.zeros_like(ids), prefix=ids.shape[1], slot=0)
        loss = trainer.step(ids, positions, branches, targets, share_of_lr(step, arguments))
        if step % 20 == 0:
            print(f"copy {step} loss {loss.item():.3f}", flush=True)
        step += 1
    return step


def _decision_stage(
    trainer: Pretrainer, renderer: Renderer, arguments: argparse.Namespace, step: int, family: int, rank: int
) -> None:
    processes = arguments.processes
    dataset = _Batches(
        arguments.run / "tokenizer",
        arguments.rows,
        seed=arguments.seed,
        start=family + rank,
        stride=processes,
        first=step,
        size=arguments.batch,
        layouts=layouts(arguments),
    )
    held_out = _held_out(arguments) if rank == 0 else []
    loader = DataLoader(dataset, batch_size=None, num_workers=1, prefetch_factor=4)
    log = LossLog(arguments.run / "loss.jsonl" if rank == 0 else None, arguments.log_every, processes)
    for batch in loader:
        if step >= arguments.steps:
            break
        loss = trainer.step(*on_device(batch, trainer.device), share_of_lr(step, arguments)).item()
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"The loss of step {step + 1} is {loss}. Go on from the last checkpoint with a smaller --lr, or with "
                "--no-bf16 or --no-compile, which may hide a fault of the compiler."
            )
        step, considered, family = step + 1, batch.following - rank - family, batch.following - rank
        log.add(step, loss, int((batch.branches >= 0).sum()), arguments.batch, considered // processes)
        if rank == 0 and step % arguments.save_every == 0:
            save_checkpoint(arguments.run, trainer, step, family)
            export(trainer.mean.module, renderer, arguments.run / "latest")
            if held_out:
                log.add_held_out(step, trainer.held_out_loss(held_out))
            draw_loss(arguments.run / "loss.jsonl", arguments.run / "loss.png")
    if rank == 0:
        save_checkpoint(arguments.run, trainer, step, family)
        draw_loss(arguments.run / "loss.jsonl", arguments.run / "loss.png")


def _held_out(arguments: argparse.Namespace) -> list[Batch]:
    """About what is kept for evaluation; the same ones for every training of one shape with the same --rows."""
    if not arguments.held_out:
        return []
    where: dict[str, Any] = {"seed": 0, "start": 0, "first": 0, "size": arguments.batch, "layouts": layouts(arguments)}
    return list(islice(_Batches(arguments.run / "tokenizer", arguments.rows, "eval", **where), arguments.held_out))


FEWEST_IN_WIDE = 4
"""Tools that a family of a wide batch shows at least."""


def layouts(arguments: argparse.Namespace) -> tuple[Layout, ...]:
    """Of the batches, in turn."""
    known = {
        "short": Layout(arguments.prefix, arguments.slot, arguments.slots, (1, arguments.max_tools)),
        "wide": Layout(arguments.wide_prefix, arguments.slot, 1, (FEWEST_IN_WIDE, arguments.max_tools)),
        "long": Layout(arguments.prefix, arguments.long_slot, 1, (1, arguments.max_tools), long=True),
    }
    return tuple(known[kind] for kind in arguments.batches)


def parse_arguments(given_words: Sequence[str] | None = None) -> argparse.Namespace:
    """Args: given_words: default: those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--run", type=Path, default=Path("runs/pretrain"), help="checkpoints, tokenizer and loss log")
    parser.add_argument("--init", type=Path, help="go on from this finished model, with its tokenizer")
    parser.add_argument(
        "--keep",
        type=float,
        default=0.0,
        help="share of --init's weights in the finished model: what both know stays, what only one learnt is weighed (0 to 1)",
    )
    parser.add_argument(
        "--rows",
        type=Path,
        nargs="*",
        default=[],
        help="rows to borrow tools and requests from, besides those of everyday life",
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="starter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=9000, help="optimiser steps in all, copying included")
    parser.add_argument("--copy-steps", type=int, default=250)
    parser.add_argument("--decay", type=int, default=1500, help="last steps, over which the rate falls to zero")
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument(
        "--average",
        type=int,
        default=300,
        help="steps along which the finished model is the mean; 1: as the last left it",
    )
    parser.add_argument("--batch", type=int, default=8, help="packed sequences a step and process")
    parser.add_argument("--prefix", type=int, default=240, help="tokens of a packed sequence for the tools")
    parser.add_argument("--slot", type=int, default=288, help="tokens of a slot for situations")
    parser.add_argument("--slots", type=int, default=2, help="slots of a packed sequence")
    parser.add_argument("--long-slot", type=int, default=880, help="tokens of the one slot for long conversations")
    parser.add_argument("--wide-prefix", type=int, default=384, help="tokens for the tools of wide batches")
    parser.add_argument(
        "--batches",
        nargs="+",
        choices=("short", "wide", "long"),
        default=["short", "wide", "short", "long"],
        help="of what kind they are, in turn: of a few tools, of many, of long conversations",
    )
    parser.add_argument("--max-tools", type=int, default=6)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--processes", type=int, default=1, help="each with its share of the families")
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--held-out", type=int, default=4, help="batches to measure at each save; 0: none")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args(given_words)
    if not 0 <= given.keep <= 1:
        parser.error(f"--keep {given.keep}: give a share from 0 to 1")
    if given.held_out < 0:
        parser.error(f"--held-out {given.held_out}: give a number of batches, or 0 for none")
    if given.average < 1:
        parser.error(f"--average {given.average}: give 1 step or more")
    if given.max_tools < 1:
        parser.error(f"--max-tools {given.max_tools}: give 1 or more")
    if "wide" in given.batches and given.max_tools < FEWEST_IN_WIDE:
        parser.error(
            f"--max-tools {given.max_tools}: wide batches show at least {FEWEST_IN_WIDE} tools; leave them out of --batches"
        )
    if given.keep and not given.init:
        parser.error(f"--keep {given.keep} keeps a share of a model that --init names: give that too")
    return given


if __name__ == "__main__":
    train(parse_arguments())
