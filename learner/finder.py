"""Learns the projection by which tools are found: `python -m learner.finder rows.jsonl.gz ... [--out FILE]`.

Each row whose right tools are known is a request and its tools, among all tools of all rows. The loss is the cross-entropy of
the right tool among the tools to learn on, by the request's best sentence (as `tools.retrieval` scores them). A fifth of the
tools, by a hash of their names, is kept out: rows that need one of these are not learnt from, these tools are no rivals either,
and `python -m bench.retrieval` says how well they are found.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from learner.row_files import read_rows
from learner.rows import Row
from runtime.prompt import Message, called_tools, recent_words
from tools.embedding import MiniLm
from tools.projection import FINDER, save_projection
from tools.retrieval import Retriever, describe, pieces_of

PARTS = 5
EPOCHS = 4
RATE, DECAY, TEMPERATURE = 1e-3, 3e-2, 0.05
BATCH = 128


@dataclass(frozen=True)
class Request:
    """A row as a turn of the runtime would begin with it."""

    source: str
    text: str
    right: frozenset[str]
    """Names of the tools that the row calls or asks values for."""
    definitions: dict[str, str]
    """Of the row's tools, by name, as JSON: equal definitions are one tool."""
    called: tuple[str, ...]
    """Tools used earlier, the latest first."""


def read_requests(files: Iterable[Path]) -> tuple[list[Request], dict[str, dict[str, Any]]]:
    """The requests, and all definitions, by their JSON."""
    found: list[Request] = []
    definitions: dict[str, dict[str, Any]] = {}
    for row in (row for file in files for row in read_rows(file)):
        own = {tool["function"]["name"]: json.dumps(tool["function"], sort_keys=True) for tool in row.tools}
        definitions |= {own[tool["function"]["name"]]: tool["function"] for tool in row.tools}
        begun = _begun(row)
        right = frozenset(_right(row)) & own.keys()
        if right:
            source = row.data_source.partition("/")[0]
            found.append(Request(source, recent_words(begun), right, own, tuple(called_tools(begun))))
    return found, definitions


def one_for_each_name(definitions: dict[str, dict[str, Any]]) -> list[str]:
    """Keys of the definitions that stand for their names: of equal names the first."""
    return sorted({definition["name"]: key for key, definition in reversed(definitions.items())}.values())


def is_kept_out(name: str) -> bool:
    """Whether a tool is not learnt on."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % PARTS == 0


def learn(files: Sequence[Path], *, epochs: int = EPOCHS, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices for requests and tools, (D, D) each."""
    requests, definitions = read_requests(files)
    functions = [definitions[key] for key in one_for_each_name(definitions)]
    names = [function["name"] for function in functions]
    embedder = MiniLm()
    retriever = Retriever(embedder)
    tools_ND = torch.tensor(
        retriever.vectors(
            [describe(f["name"], f.get("description") or "", f.get("parameters") or {}) for f in functions]
        )
    )
    shown_N = torch.tensor([not is_kept_out(name) for name in names])
    place = {name: i for i, name in enumerate(names)}
    learnt_on = [request for request in requests if not any(map(is_kept_out, request.right))]
    asked = [pieces_of(request.text) for request in learnt_on]
    texts = sorted({piece for pieces, _ in asked for piece in pieces}, key=len)
    vectors_TD = torch.tensor(np.concatenate([embedder.embed(texts[at : at + 64]) for at in range(0, len(texts), 64)]))
    at = {text: i for i, text in enumerate(texts)}
    pairs = [(r, place[name]) for r, request in enumerate(learnt_on) for name in sorted(request.right)]
    print(f"{len(pairs)} pairs of {len(learnt_on)} requests; {int(shown_N.sum())} of {len(names)} tools")

    torch.manual_seed(seed)
    width = tools_ND.shape[1]
    requests_DD, tools_DD = (torch.zeros(width, width, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.AdamW([requests_DD, tools_DD], lr=RATE, weight_decay=DECAY)
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(pairs)).split(BATCH):
            some = [pairs[i] for i in batch.tolist()]
            rows = [
                (b, at[piece], weight) for b, (r, _) in enumerate(some) for piece, weight in zip(*asked[r], strict=True)
            ]
            owner, row, weight = (torch.tensor(column) for column in zip(*rows, strict=True))
            turned_PD = normalize(vectors_TD[row] + vectors_TD[row] @ requests_DD, dim=1)
            turned_ND = normalize(tools_ND + tools_ND @ tools_DD, dim=1)
            scores_PN = turned_PD @ turned_ND.T * weight.float()[:, None]
            best_BN = torch.full((len(some), len(names)), -1e4).index_reduce(
                0, owner, scores_PN, "amax", include_self=False
            )
            rivals_BN = shown_N.repeat(len(some), 1)
            for b, (r, right) in enumerate(some):  # the other right tools of a request are no rivals
                rivals_BN[b, [place[name] for name in learnt_on[r].right if place[name] != right]] = False
            right_B = torch.tensor([right for _, right in some])
            loss = cross_entropy((best_BN / TEMPERATURE).masked_fill(~rivals_BN, -1e9), right_B)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(some)
        print(f"epoch {epoch + 1}: loss {total / len(pairs):.3f}", flush=True)
    return requests_DD.detach(), tools_DD.detach()


def _begun(row: Row) -> Sequence[Message]:
    """Up to the user's last message: tools are found once in a turn, before whatever is called in it."""
    last = max(i for i, message in enumerate(row.prompt) if message["role"] == "user")
    return row.prompt[: last + 1]


def _right(row: Row) -> set[str]:
    if row.truth.decision == "execute":
        return {call.name for call in row.truth.tool_calls}
    return {missing["tool"] for missing in row.truth.missing if "tool" in missing}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m learner.finder", description="Learns how tools are found.")
    parser.add_argument("rows", nargs="+", type=Path, help=".jsonl.gz files of dataset rows")
    parser.add_argument("--out", type=Path, default=FINDER)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    requests_DD, tools_DD = learn(given.rows, epochs=given.epochs, seed=given.seed)
    save_projection(given.out, requests_DD.numpy(), tools_DD.numpy())
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
