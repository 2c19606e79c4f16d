"""What `VllmPolicy` does with several servers and with their faults, on hand-written servers.

That a real server understands it is shown by the contract suite.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from transformers import AutoTokenizer

from runtime.errors import AdapterRejected, PolicyError, PolicyUnavailable, PromptTooLong, UnknownAdapter, UnknownModel
from runtime.policy.base import SamplingParams
from runtime.policy.vllm import _PROBE, VllmPolicy
from tests.tiny_model import build_adapter

GREEDY = SamplingParams(max_tokens=2)
NAMES = ("a", "b")


class Server:
    """One vLLM server, as far as the policy knows it."""

    def __init__(self) -> None:
        self.url = ""
        self.adapters: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.down = False
        self.fails_with: tuple[int, str] | None = None
        """Status and message of each answer to loading or completing."""
        self.takes_adapters = True
        self.reads_as: list[int] | None = None
        """Tokens of any text; None: it has no such route."""

    async def answer(self, request: web.Request) -> web.Response:
        if self.down:
            assert request.transport is not None
            request.transport.abort()
        path = request.path
        if path == "/v1/models":
            cards = [{"id": name, "root": root, "parent": "base"} for name, root in self.adapters.items()]
            return web.json_response(
                {"data": [{"id": "base", "root": "base", "parent": None, "max_model_len": 16}, *cards]}
            )
        body = json.loads(await request.text())
        if path == "/tokenize":
            missing = self.reads_as is None
            return _error(404, "Not Found") if missing else web.json_response({"tokens": self.reads_as})
        if path.endswith("lora_adapter") and not self.takes_adapters:
            return web.json_response({"detail": "Not Found"}, status=404)
        if path == "/v1/unload_lora_adapter":
            del self.adapters[body["lora_name"]]
            return web.Response(text="Success")
        if self.fails_with is not None:
            return _error(*self.fails_with)
        if path == "/v1/load_lora_adapter":
            self.adapters[body["lora_name"]] = body["lora_path"]
            return web.Response(text="Success")
        return self._complete(body)

    def _complete(self, body: dict[str, Any]) -> web.Response:
        self.requests.append(body)
        if body["model"] != "base" and body["model"] not in self.adapters:
            return _error(404, f"The model `{body['model']}` does not exist.")
        ids = [7] * body["max_tokens"]
        choice: dict[str, Any] = {"text": "x", "token_ids": ids, "finish_reason": "length"}
        choice["logprobs"] = {"token_logprobs": [-0.25] * len(ids)}
        choice["prompt_logprobs"] = [None] + [{str(token): {"logprob": -token / 10}} for token in body["prompt"][1:]]
        return web.json_response({"choices": [choice]})


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, Server]]:
    async with contextlib.AsyncExitStack() as stack:
        made = {name: Server() for name in NAMES}
        for server in made.values():
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", server.answer)
            server.url = str((await stack.enter_async_context(TestServer(app))).make_url("")).rstrip("/")
        yield made


@pytest.fixture
async def policy(servers: dict[str, Server]) -> AsyncIterator[VllmPolicy]:
    made = VllmPolicy(urls(servers), "base", context_length=16)
    yield made
    await made.close()


def urls(servers: dict[str, Server]) -> list[str]:
    return [server.url for server in servers.values()]


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_adapter(tmp_path_factory.mktemp("adapters") / "a", tiny_model)


async def test_requests_go_round_the_replicas(policy: VllmPolicy, servers: dict[str, Server]) -> None:
    for _ in range(6):
        await policy.sample([1, 2], GREEDY)
    assert [len(servers[url].requests) for url in NAMES] == [3, 3]


async def test_a_replica_that_is_down_is_passed_over(policy: VllmPolicy, servers: dict[str, Server]) -> None:
    servers["a"].down = True
    for _ in range(3):
        assert (await policy.sample([1, 2], GREEDY)).token_ids == (7, 7)
    servers["b"].down = True
    with pytest.raises(PolicyUnavailable, match="start it"):
        await policy.sample([1, 2], GREEDY)


async def test_a_replica_without_the_adapter_is_passed_over(
    policy: VllmPolicy, servers: dict[str, Server], adapter: Path
) -> None:
    await policy.load_adapter("one", adapter)
    servers["a"].adapters.clear()
    for _ in range(3):
        assert (await policy.sample([1, 2], GREEDY, adapter="one")).adapter == "one"
    assert await policy.adapters() == frozenset()
    servers["b"].adapters.clear()
    with pytest.raises(UnknownAdapter, match="one"):
        await policy.sample([1, 2], GREEDY, adapter="one")


async def test_an_adapter_that_one_replica_refuses_is_on_none(
    policy: VllmPolicy, servers: dict[str, Server], adapter: Path
) -> None:
    servers["b"].fails_with = (500, "Call to add_lora method failed")
    with pytest.raises(AdapterRejected, match="add_lora"):
        await policy.load_adapter("one", adapter)
    assert [server.adapters for server in servers.values()] == [{}, {}]


async def test_a_replica_that_came_back_gets_the_adapter_again(
    policy: VllmPolicy, servers: dict[str, Server], adapter: Path
) -> None:
    await policy.load_adapter("one", adapter)
    servers["b"].adapters.clear()
    await policy.load_adapter("one", adapter)
    assert [set(server.adapters) for server in servers.values()] == [{"one"}, {"one"}]


async def test_a_name_never_stands_for_other_weights(
    policy: VllmPolicy, adapter: Path, tiny_model: Path, tmp_path: Path
) -> None:
    await policy.load_adapter("one", adapter)
    await policy.unload_adapter("one")
    with pytest.raises(AdapterRejected, match="never reused"):
        await policy.load_adapter("one", build_adapter(tmp_path / "other", tiny_model, seed=9))
    await policy.load_adapter("one", adapter)


async def test_a_server_that_takes_no_adapters_says_how_to_start_it(
    policy: VllmPolicy, servers: dict[str, Server], adapter: Path
) -> None:
    for server in servers.values():
        server.takes_adapters = False
    with pytest.raises(PolicyUnavailable, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        await policy.load_adapter("one", adapter)


async def test_a_loading_server_that_fails_for_now_is_no_fault_of_the_adapter(
    policy: VllmPolicy, servers: dict[str, Server], adapter: Path
) -> None:
    servers["a"].fails_with = (503, "starting")
    with pytest.raises(PolicyUnavailable, match="starting"):
        await policy.load_adapter("one", adapter)
    assert servers["b"].adapters == {}


async def test_an_adapter_of_another_base_is_refused_before_any_server_hears_of_it(
    servers: dict[str, Server], tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, Qwen2ForCausalLM

    config: Any = AutoConfig.from_pretrained(tiny_model)
    config.intermediate_size = 64
    Qwen2ForCausalLM(config).save_pretrained(str(tmp_path / "narrower"))
    foreign = build_adapter(tmp_path / "foreign", tmp_path / "narrower")
    policy = VllmPolicy(urls(servers), "base", context_length=16, base=tiny_model)
    with pytest.raises(AdapterRejected, match="another base"):
        await policy.load_adapter("one", foreign)
    assert [server.adapters for server in servers.values()] == [{}, {}]
    await policy.close()


async def test_a_refused_request_is_not_sent_to_the_next_replica(
    policy: VllmPolicy, servers: dict[str, Server]
) -> None:
    for server in servers.values():
        server.fails_with = (400, "Token id 99 is out of vocabulary")
    with pytest.raises(PolicyError, match="out of vocabulary") as caught:
        await policy.sample([99], GREEDY)
    assert type(caught.value) is PolicyError


async def test_the_context_bounds_the_answer_and_the_prompt(policy: VllmPolicy, servers: dict[str, Server]) -> None:
    completion = await policy.sample([1] * 13, SamplingParams(max_tokens=100))
    assert len(completion.token_ids) == 3
    with pytest.raises(PromptTooLong, match="16"):
        await policy.sample([1] * 16, GREEDY)
    with pytest.raises(PromptTooLong):
        await policy.score([1] * 8, [1] * 8)


async def test_scores_are_those_of_the_completion_alone(policy: VllmPolicy) -> None:
    assert await policy.score([1, 2], [3, 4]) == pytest.approx((-0.3, -0.4))


async def test_the_models_own_sampling_habits_are_switched_off(policy: VllmPolicy, servers: dict[str, Server]) -> None:
    await policy.sample([1], SamplingParams(max_tokens=1, temperature=0.7, top_p=0.9, seed=5))
    sent = next(server.requests for server in servers.values() if server.requests)[0]
    assert (sent["top_k"], sent["repetition_penalty"], sent["min_p"]) == (0, 1.0, 0.0)
    assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.7, 0.9, 5)


async def test_closing_twice_is_harmless_and_then_there_is_no_answer(policy: VllmPolicy) -> None:
    await policy.close()
    await policy.close()
    with pytest.raises(PolicyUnavailable):
        await policy.sample([1], GREEDY)


async def test_a_server_of_another_model_is_refused_at_the_start(servers: dict[str, Server], tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ours = tokenizer.encode(_PROBE, add_special_tokens=False)
    assert tokenizer.decode(ours) == _PROBE
    for last, fits in ((ours, True), (None, True), ([*ours[:-1], 1], False)):
        servers["a"].reads_as, servers["b"].reads_as = ours, last
        if fits:
            await (await asyncio.to_thread(VllmPolicy.load, urls(servers), base=tiny_model)).close()
            continue
        with pytest.raises(UnknownModel, match="HONE_MODEL") as refused:
            await asyncio.to_thread(VllmPolicy.load, urls(servers), base=tiny_model)
        assert servers["b"].url in str(refused.value)


def test_a_server_that_is_not_there_is_named_at_once() -> None:
    with pytest.raises(PolicyUnavailable, match=r"127\.0\.0\.1:9"):
        VllmPolicy.load("http://127.0.0.1:9")
