"""`EmbeddedPolicy`: the policy protocol on a model in this process.

It checks what callers hand in, passes it to the worker, and shapes what comes back. It renders and parses nothing.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from runtime.errors import PolicyError, PromptTooLong, UnknownModel
from runtime.policy.adapter_files import AdapterFiles, NameRegister, read_adapter
from runtime.policy.base import Completion, PolicyLoad, SamplingParams
from runtime.policy.base_files import local_folder
from runtime.policy.embedded.constraint import Grammars
from runtime.policy.embedded.decoder import decode_together
from runtime.policy.embedded.residency import ResidentAdapters
from runtime.policy.embedded.rows import Row, Sampled
from runtime.policy.embedded.scoring import score
from runtime.policy.embedded.worker import Task, Worker
from runtime.policy.manifest import digest_model

T = TypeVar("T")


class EmbeddedPolicy:
    """A causal LM in this process, with several adapters resident. May be made, and used, from any thread or loop."""

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str, max_adapters: int = 8, threads: int | None = None
    ) -> None:
        """Takes over a model that is loaded already: from now on the worker alone may call it.

        Args:
            name: of the base; a folder, or a hub name that was downloaded, for adapters' manifests to be held against.
            threads: CPU threads of the model; None leaves torch's own choice.
        """
        model.eval()
        self._name = name
        self._tokenizer = tokenizer
        self._context_length = int(model.config.get_text_config().max_position_embeddings)
        self._vocabulary = int(model.get_input_embeddings().num_embeddings)
        self._stop_ids = _stop_ids(model, tokenizer)
        self._grammars = Grammars(tokenizer, vocabulary=self._vocabulary, stop_ids=self._stop_ids)
        self._base_sha256: str | None = None
        self._register = NameRegister()
        self._adapters = ResidentAdapters(model, model=name, limit=max_adapters, stop_ids=self._stop_ids)
        self._worker = Worker(self._adapters, threads=threads)

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        max_adapters: int = 8,
        threads: int | None = None,
        dtype: Literal["float32", "bfloat16"] | None = None,
    ) -> "EmbeddedPolicy":
        """Loads a model, onto a GPU when there is one.

        Args:
            model: folder or hub name of any causal LM.
            dtype: None: float32 on a CPU, bfloat16 on a GPU.

        Raises:
            UnknownModel: there is none at that path or name, or it cannot be read.
        """
        name = str(model)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        number = dtype or ("float32" if device.type == "cpu" else "bfloat16")
        if not sys.stderr.isatty():
            disable_progress_bar()  # a bar among the lines of a log is noise
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            loaded: Any = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, number))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
            raise UnknownModel(
                f"no causal LM can be loaded from {name!r} ({_first_line(e)}): "
                "give a folder that holds a Hugging Face causal LM, or a hub name that can be reached"
            ) from e
        return cls(loaded.to(device), tokenizer, name=name, max_adapters=max_adapters, threads=threads)

    @property
    def model(self) -> str:
        return self._name

    @property
    def context_length(self) -> int:
        return self._context_length

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        if params.grammar is None:
            row = self._row(prompt_ids, params, adapter)
        else:  # compiling takes a while
            row = await asyncio.to_thread(self._row, prompt_ids, params, adapter)
        return self._completion(await self._wait(row), adapter)

    async def sample_together(
        self, prompts: Sequence[Sequence[int]], params: Sequence[SamplingParams], *, adapter: str | None = None
    ) -> list[Completion]:
        """As in `BatchPolicy`. Requests of others wait until it is done."""

        def rows() -> list[Row]:
            return [self._row(ids, chosen, adapter) for ids, chosen in zip(prompts, params, strict=True)]

        waiting = await asyncio.to_thread(rows)
        if not waiting:
            return []
        sampled = await self._do(lambda: decode_together(self._adapters.decoder(adapter), waiting))
        return [self._completion(one, adapter) for one in sampled]

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]:
        prompt, completion = self._check(prompt_ids), self._check(completion_ids)
        if len(prompt) + len(completion) > self._context_length:
            raise PromptTooLong(
                f"prompt and completion have {len(prompt) + len(completion)} tokens "
                f"and {self._name!r} takes {self._context_length}"
            )
        return await self._do(lambda: score(self._adapters.activate(adapter), prompt, completion))

    async def load_adapter(self, name: str, path: Path) -> None:
        files = await asyncio.to_thread(self._read, path)
        self._register.check(name, files)
        await self._do(lambda: self._adapters.load(name, files))
        self._register.add(name, files)

    async def unload_adapter(self, name: str) -> None:
        await asyncio.wrap_future(self._worker.unload(name))

    async def adapters(self) -> frozenset[str]:
        return await self._do(lambda: self._worker.names)

    def workload(self) -> PolicyLoad:
        return self._worker.workload()

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.stop)

    def _row(self, prompt_ids: Sequence[int], params: SamplingParams, adapter: str | None) -> Row:
        prompt = self._check(prompt_ids)
        room = self._context_length - len(prompt)
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {len(prompt)} tokens and {self._name!r} takes {self._context_length}, "
                "the answer included: shorten the conversation or show fewer tools"
            )
        if params.max_tokens < 1:
            raise PolicyError(f"max_tokens is {params.max_tokens}: give at least 1")
        constraint = self._grammars.start(params.grammar) if params.grammar else None
        return Row(prompt, params, adapter, limit=min(params.max_tokens, room), constraint=constraint)

    def _completion(self, sampled: Sampled, adapter: str | None) -> Completion:
        token_ids, logprobs, phases = sampled
        return Completion(
            text=self._tokenizer.decode(token_ids, skip_special_tokens=True),
            token_ids=token_ids,
            logprobs=logprobs,
            finish_reason="stop" if token_ids[-1] in self._stop_ids else "length",
            adapter=adapter,
            phases=phases,
        )

    async def _wait(self, row: Row) -> Sampled:
        # A cancelled wait cancels the row's future, by which the worker sees that nobody wants the answer.
        return await asyncio.wrap_future(self._worker.submit(row))

    async def _do(self, run: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._worker.submit(Task(run)))

    def _check(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        if not token_ids:
            raise PolicyError("there are no tokens: give at least one")
        for token in token_ids:
            if not 0 <= token < self._vocabulary:
                raise PolicyError(f"token {token} is not among the {self._vocabulary} that {self._name!r} knows")
        return tuple(token_ids)

    def _read(self, path: Path) -> AdapterFiles:
        if self._base_sha256 is None:
            folder = local_folder(self._name)
            self._base_sha256 = digest_model(folder) if folder is not None else None
        return read_adapter(path, base_sha256=self._base_sha256)


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a turn, by the tokenizer and by the model's own generation settings."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    listed = declared if isinstance(declared, list) else [declared]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
