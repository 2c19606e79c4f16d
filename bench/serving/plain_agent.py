# pyright: reportMissingImports=false, reportUnknownMemberType=false
"""A LangGraph agent as one would put it behind FastAPI in an afternoon: `create_agent`, one tool, threads kept in SQLite.

    .venv-peers/langgraph/bin/python bench/serving/plain_agent.py STUB_URL FOLDER

Runs in an environment of its own and knows nothing of hone. Writes its port on the first line.
"""

import asyncio
import socket
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


def calculate(expression: str) -> str:
    """The value of an arithmetic expression."""
    left, right = expression.split("*")
    return str(int(left) * int(right))


def app(stub: str, folder: Path) -> FastAPI:
    @asynccontextmanager
    async def lifespan(served: FastAPI):
        async with AsyncSqliteSaver.from_conn_string(str(folder / "threads.db")) as saver:
            model = ChatOpenAI(model="stub", base_url=f"{stub}/v1", api_key="none", stream_usage=False)
            served.state.agent = create_agent(model, tools=[calculate], checkpointer=saver)
            yield

    served = FastAPI(lifespan=lifespan)

    @served.post("/v1/chat/completions")
    async def chat(body: dict[str, Any]) -> dict[str, Any]:
        thread = {"configurable": {"thread_id": uuid.uuid4().hex}}
        state = await served.state.agent.ainvoke({"messages": body["messages"]}, thread)
        message = {"role": "assistant", "content": state["messages"][-1].content}
        return {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    return served


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it on sockets of its own alone
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app(sys.argv[1], Path(sys.argv[2])), log_level="error")
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
