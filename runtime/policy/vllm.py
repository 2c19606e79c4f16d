"""`VllmPolicy`: the policy protocol on one or more vLLM servers, over HTTP.

The servers must be started with `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`, must see the adapters'
directories under the same paths as this process, and belong on a private network: whoever reaches them may load any
path. Requests go round the replicas; an adapter is loaded on all of them or on none. An adapter is never loaded in
place and its name never comes to stand for other weights, since vLLM keys its prefix cache by the name. vLLM itself
serves an adapter of another base without complaint, so whether the files fit is settled here, before it is told.

aiohttp carries the requests: what httpx2's pool does for one of them grows with the number of connections, and there is one for
each turn that waits for the model.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import httpx2

from runtime.errors import AdapterRejected, PolicyError, PolicyUnavailable, PromptTooLong, UnknownAdapter, UnknownModel
from runtime.policy.adapter_files import AdapterFiles, NameRegister, read_adapter
from runtime.policy.base import Completion, SamplingParams
from runtime.policy.base_files import linear_layers, local_folder
from runtime.policy.manifest import digest_model

CONNECT_TIMEOUT_S = 5.0
KEPT_IDLE_S = 4.0
"""A connection is kept for the next request for less time than vLLM keeps it (5 s): one that it closes just then costs a turn."""

T = TypeVar("T")

_PLAIN_SAMPLING: Mapping[str, Any] = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Sent with each request: a server otherwise takes these from the model's generation settings."""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    text: str

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        return json.loads(self.text)


class _Client:
    """The connections to all servers; belongs to the event loop of its first request."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def request(self, method: str, server: str, path: str, body: Mapping[str, Any] | None) -> _Response:
        """Raises: PolicyUnavailable: no answer."""
        try:
            async with self._open().request(method, server + path, json=body) as response:
                return _Response(response.status, await response.text())
        except (aiohttp.ClientError, OSError) as e:  # of which TimeoutError is one
            raise PolicyUnavailable(_no_answer(server, e)) from e

    async def close(self) -> None:
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise aiohttp.ClientError("the policy was closed")
        if self._session is None:
            # as many connections as turns; no race between addresses, whose losers uvloop is left with
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_IDLE_S, happy_eyeballs_delay=None)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session


class VllmServer:
    """One vLLM server."""

    def __init__(self, url: str, model: str, client: _Client) -> None:
        self.url = url.rstrip("/")
        self._model = model
        self._client = client

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None) -> Completion:
        body: dict[str, Any] = {
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p if params.temperature > 0 else 1.0,
            "seed": params.seed,
            "logprobs": 0,
        }
        if params.grammar is not None:
            body["structured_outputs"] = {"grammar": params.grammar}
        choice = await self._complete(prompt_ids, adapter, body)
        return Completion(
            text=choice["text"],
            token_ids=tuple(choice["token_ids"]),
            logprobs=tuple(choice["logprobs"]["token_logprobs"]),
            finish_reason="length" if choice["finish_reason"] == "length" else "stop",
            adapter=adapter,
        )

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]:
        """As in the protocol, on this server."""
        tokens = [*prompt_ids, *completion_ids]
        choice = await self._complete(tokens, adapter, {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0})
        entries = choice["prompt_logprobs"][len(prompt_ids) :]
        return tuple(entry[str(token)]["logprob"] for token, entry in zip(completion_ids, entries, strict=True))

    async def load(self, name: str, path: Path) -> bool:
        """Loads an adapter; False: it was there already."""
        resident = await self.resident()
        if name in resident:
            if resident[name] != str(path):
                raise AdapterRejected(
                    f"{self.url} has an adapter {name!r} from {resident[name]!r}: publish this one under a new name"
                )
            return False
        response = await self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        if response.is_success:
            return True
        self._check_can_load(response)
        raise AdapterRejected(f"{self.url} refused adapter {str(path)!r}: {_message(response)}")

    async def unload(self, name: str) -> None:
        """An adapter that is not there is left alone."""
        response = await self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if not response.is_success and name in await self.resident():
            self._check_can_load(response)
            raise PolicyUnavailable(f"{self.url} keeps adapter {name!r}: {_message(response)}")

    async def resident(self) -> dict[str, str]:
        """Name of each adapter on the server → its path."""
        response = await self._send("GET", "/v1/models")
        if not response.is_success:
            raise PolicyUnavailable(f"{self.url} cannot list its models: {_message(response)}")
        return {card["id"]: card["root"] for card in response.json()["data"] if card.get("parent")}

    async def _complete(self, tokens: Sequence[int], adapter: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        request = {"model": adapter or self._model, "prompt": list(tokens), "return_token_ids": True}
        response = await self._send("POST", "/v1/completions", {**_PLAIN_SAMPLING, **request, **body})
        if response.is_success:
            return response.json()["choices"][0]
        if response.status == 404 and adapter is not None:
            raise UnknownAdapter(f"adapter {adapter!r} is not on {self.url}: load it first")
        if response.status == 404:
            raise UnknownModel(f"{self.url} does not serve {self._model!r}: {_message(response)}")
        if response.status < 500:
            raise PolicyError(f"{self.url} does not take the request: {_message(response)}")
        raise PolicyUnavailable(f"{self.url} failed: {_message(response)}")

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> _Response:
        return await self._client.request(method, self.url, path, body)

    def _check_can_load(self, response: _Response) -> None:
        """Tells a server that has no such route, or is going down, from one that judged the adapter."""
        if response.status in (404, 405) and "error" not in response.text:
            raise PolicyUnavailable(
                f"{self.url} takes no adapters while it runs: start it with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
            )
        if response.status in (502, 503, 504):
            raise PolicyUnavailable(f"{self.url} failed: {_message(response)}")


class VllmPolicy:
    """One base model on one or more servers. Use it from one event loop."""

    def __init__(
        self,
        base_url: str | Sequence[str],
        model: str,
        *,
        context_length: int,
        base: Path | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        """Knows all that it needs and asks no server; see `load`.

        Args:
            base_url: of each replica, without `/v1`.
            model: name under which the servers serve the base.
            base: folder of the base model here, that adapters are held against; None: only their own files are checked.
            timeout_s: how long a server may be silent.
        """
        urls = [base_url] if isinstance(base_url, str) else list(base_url)
        if not urls:
            raise ValueError("no vLLM server: give at least one base URL")
        self._client = _Client(timeout_s)
        self._servers = tuple(VllmServer(url, model, self._client) for url in urls)
        self._model = model
        self._context_length = context_length
        self._base = base
        self._base_sha256: str | None = None
        self._layers: Mapping[str, tuple[int, int]] | None = None
        self._register = NameRegister()
        self._turn = 0

    @classmethod
    def load(
        cls,
        base_url: str | Sequence[str],
        *,
        model: str | None = None,
        base: str | Path | None = None,
        timeout_s: float = 600.0,
    ) -> "VllmPolicy":
        """Asks the servers what they serve. Blocks: for start-up, outside of an event loop's work.

        Args:
            model: name under which they serve the base; None: what the first one names.
            base: folder or hub name of the base model; None: what the servers say, if it is a folder here.

        Raises:
            PolicyUnavailable: a server cannot be reached.
            UnknownModel: a server does not serve the model, or reads text as other tokens than `base`.
        """
        cards: list[dict[str, Any]] = []
        timeout = httpx2.Timeout(30.0, connect=CONNECT_TIMEOUT_S)
        with httpx2.Client(timeout=timeout, trust_env=False) as client:
            for url in [base_url] if isinstance(base_url, str) else base_url:
                cards.append(_describe(client, url.rstrip("/"), cards[0]["id"] if cards else model))
                if base is not None:
                    _check_tokens(client, url.rstrip("/"), cards[-1]["id"], str(base))
        return cls(
            base_url,
            cards[0]["id"],
            context_length=min(int(card["max_model_len"]) for card in cards),
            base=local_folder(str(base or cards[0]["root"])),
            timeout_s=timeout_s,
        )

    @property
    def model(self) -> str:
        return self._model

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def replicas(self) -> Sequence[VllmServer]:
        """The servers, each of which must prove what it serves."""
        return self._servers

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        _require_tokens(prompt_ids)
        room = self._context_length - len(prompt_ids)
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {len(prompt_ids)} tokens and {self._model!r} takes {self._context_length}, "
                "the answer included: shorten the conversation or show fewer tools"
            )
        if params.max_tokens < 1:
            raise PolicyError(f"max_tokens is {params.max_tokens}: give at least 1")
        params = replace(params, max_tokens=min(params.max_tokens, room))
        return await self._try_each(lambda server: server.sample(prompt_ids, params, adapter=adapter))

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]:
        _require_tokens(prompt_ids)
        _require_tokens(completion_ids)
        count = len(prompt_ids) + len(completion_ids)
        if count >= self._context_length:  # the server wants room for a token of its own
            raise PromptTooLong(
                f"prompt and completion have {count} tokens and {self._model!r} takes {self._context_length - 1}"
            )
        return await self._try_each(lambda server: server.score(prompt_ids, completion_ids, adapter=adapter))

    async def load_adapter(self, name: str, path: Path) -> None:
        path = path.resolve()
        files = await asyncio.to_thread(self._read, path)
        self._register.check(name, files)
        results = await asyncio.gather(*(server.load(name, path) for server in self._servers), return_exceptions=True)
        faults = [result for result in results if isinstance(result, BaseException)]
        if faults:
            loaded = [server for server, result in zip(self._servers, results, strict=True) if result is True]
            await asyncio.gather(*(server.unload(name) for server in loaded), return_exceptions=True)
            raise next((fault for fault in faults if isinstance(fault, AdapterRejected)), faults[0])
        self._register.add(name, files)

    async def unload_adapter(self, name: str) -> None:
        await asyncio.gather(*(server.unload(name) for server in self._servers))

    async def adapters(self) -> frozenset[str]:
        """Those on every replica that answers."""
        results = await asyncio.gather(*(server.resident() for server in self._servers), return_exceptions=True)
        answers = [frozenset(result) for result in results if not isinstance(result, BaseException)]
        if not answers:
            raise next(result for result in results if isinstance(result, BaseException))
        return frozenset.intersection(*answers)

    async def close(self) -> None:
        await self._client.close()

    async def _try_each(self, call: Callable[[VllmServer], Awaitable[T]]) -> T:
        """Asks the replica whose turn it is; the others when it is down, or was restarted and lacks the adapter."""
        self._turn = (self._turn + 1) % len(self._servers)
        *others, last = self._servers[self._turn :] + self._servers[: self._turn]
        for server in others:
            try:
                return await call(server)
            except (PolicyUnavailable, UnknownAdapter):
                continue
        return await call(last)

    def _read(self, path: Path) -> AdapterFiles:
        if self._base is None:
            return read_adapter(path)
        if self._layers is None or self._base_sha256 is None:
            self._layers, self._base_sha256 = linear_layers(self._base), digest_model(self._base)
        files = read_adapter(path, base_sha256=self._base_sha256)
        files.check_fits(self._layers, self._model)
        return files


def _describe(client: httpx2.Client, url: str, model: str | None) -> dict[str, Any]:
    """The card of the base model on a server."""
    try:
        response = client.get(url + "/v1/models")
    except httpx2.HTTPError as e:
        raise PolicyUnavailable(_no_answer(url, e)) from e
    if not response.is_success:
        raise PolicyUnavailable(
            f"{url} cannot list its models: {_message(_Response(response.status_code, response.text))}"
        )
    bases = [card for card in response.json()["data"] if not card.get("parent")]
    for card in bases:
        if model is None or card["id"] == model:
            return card
    served = ", ".join(card["id"] for card in bases) or "nothing"
    raise UnknownModel(f"{url} serves {served}, not {model!r}: name one that it serves")


_PROBE = 'Wo liegt Ålesund? {"name":"find_flights","arguments":{"day":"2026-05-03"}}\n'
"""Text that tokenizers of different models cut differently."""


def _check_tokens(client: httpx2.Client, url: str, model: str, base: str) -> None:
    """Prompts go out as tokens of the base: a server of another model would read other words in them, and say nothing.

    Raises: UnknownModel: the two differ on a probe. A server that does not say how it reads text is taken at its word.
    """
    from transformers import AutoTokenizer

    try:
        response = client.post(url + "/tokenize", json={"model": model, "prompt": _PROBE, "add_special_tokens": False})
    except httpx2.HTTPError as e:
        raise PolicyUnavailable(_no_answer(url, e)) from e
    if not response.is_success:
        return
    ours = AutoTokenizer.from_pretrained(base).encode(_PROBE, add_special_tokens=False)
    if response.json()["tokens"] != ours:
        raise UnknownModel(
            f"{url} serves {model!r}, which reads text as other tokens than the base {base!r}, that prompts are rendered "
            "with: set HONE_MODEL (--model) to the model that the server serves"
        )


def _require_tokens(token_ids: Sequence[int]) -> None:
    if not token_ids:
        raise PolicyError("there are no tokens: give at least one")


def _no_answer(url: str, error: Exception) -> str:
    problem = str(error) or type(error).__name__
    return f"no answer from the vLLM server at {url} ({problem}): start it, or correct the URL"


def _message(response: _Response) -> str:
    """What a server said was wrong."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status}"
