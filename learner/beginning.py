"""What pretraining begins with: a tokenizer and weights, those of a finished model or new ones.

Either way each frequent word is a token, whose embedding begins by what the word means (`learner.vocabulary`). A finished model
may have fewer layers than the size that is asked for, or fewer neurons in each: it grows, and computes what it computed
before (`learner.growing`).
"""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from learner.growing import grown
from learner.starter import build_model, train_tokenizer
from learner.synth.scenarios import invent_family
from learner.vocabulary import begun_embeddings, frequent_words, with_words
from runtime.decision import write_decision
from runtime.prompt import Renderer

BEGUN = "begun.safetensors"
"""In a run's folder: the weights that it began with."""
_EMBEDDINGS = "model.embed_tokens.weight"


def begin(run: Path, *, size: str, seed: int, init: Path | None) -> None:
    """Writes `tokenizer/` and the weights into the run's folder, unless they are there.

    Args: init: a finished model to go on from.

    Raises:
        FileNotFoundError: the run has a checkpoint and did not begin here.
        ValueError: the run began otherwise; or the finished model is of another shape, and not for the number or the width of its
            layers alone.
    """
    asked = {"size": size, "seed": str(seed), "init": str(init.resolve()) if init else "nothing"}
    if (run / BEGUN).exists():
        _require_same(run, asked)
        return
    if (run / "checkpoint.pt").exists():
        raise FileNotFoundError(
            f"{run} has a checkpoint and no {BEGUN}, which an earlier version did not write: name another --run"
        )
    before = Renderer.load(init).tokenizer if init else train_tokenizer(tokenizer_texts(seed))
    tokenizer = with_words(before, frequent_words())
    torch.manual_seed(seed)
    model = build_model(size, tokenizer)
    weights = load_file(init / "model.safetensors") if init else dict(model.state_dict())
    tokens, known = tokenizer.get_vocab(), (before if init else tokenizer).get_vocab()
    if tokens != known or not init:
        weights[_EMBEDDINGS] = begun_embeddings(known, weights[_EMBEDDINGS].float(), tokens)
    weights = grown(weights, model.state_dict())
    model.load_state_dict(weights, strict=False)
    tokenizer.save_pretrained(run / "tokenizer")
    model.config.save_pretrained(run / "tokenizer")  # by which a tokenizer is loaded as it will be served
    temporary = run / "begun.tmp"
    save_file({name: weight.contiguous() for name, weight in model.named_parameters()}, temporary, metadata=asked)
    temporary.replace(run / BEGUN)


def _require_same(run: Path, asked: Mapping[str, str]) -> None:
    with safe_open(run / BEGUN, "pt") as begun:
        was = begun.metadata() or {}
    for name, given in asked.items():
        if was.get(name, given) != given:
            raise ValueError(
                f"{run} holds a training that began with --{name} {was[name]}, and {given} is asked for: name another --run, or "
                "give what it began with to go on"
            )


def tokenizer_texts(seed: int, families: int = 8000) -> Iterator[str]:
    """The tokenizer learns from the mixture that the model will read."""
    for index in range(families):
        family = invent_family(random.Random(f"{seed}/tokenizer/{index}"), "train", situations=4)
        for tool in family.schemas:
            function = tool["function"]
            yield f"{function['name']} {function['description']} {json.dumps(function['parameters'])}"
        for situation in family.situations:
            yield from (m["content"] for m in situation.messages)
            yield write_decision(situation.decision)
