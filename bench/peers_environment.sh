#!/usr/bin/env bash
# Makes .venv-peers, an environment for each server that hone is measured beside (python -m bench.serving): they pin versions of what
# hone uses itself. Safe to run again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/.."
FOLDER=.venv-peers

source tests/environment.sh

# litellm's proxy lies in its own wheel; its extra "proxy" asks for sister packages (database, enterprise) that not every index has
LITELLM="litellm==1.110.2"
environment litellm "$LITELLM"
PROXY="$FOLDER/litellm/.hone-proxy"
if [ ! -f "$PROXY" ]; then
    "$FOLDER/litellm/bin/python" - > "$PROXY.requirements" <<'PYTHON'
from importlib.metadata import requires

from packaging.requirements import Requirement

for requirement in map(Requirement, requires("litellm")):
    wanted = requirement.marker is not None and requirement.marker.evaluate({"extra": "proxy"})
    if wanted and not requirement.marker.evaluate({"extra": ""}) and not requirement.name.startswith("litellm-"):
        requirement.marker = None
        print(requirement)
PYTHON
    "$FOLDER/litellm/bin/python" -m pip install --quiet --disable-pip-version-check "$LITELLM" -r "$PROXY.requirements"
    touch "$PROXY"
fi
environment langgraph "langchain>=1.2,<2" "langchain-openai==1.7.4" "langgraph>=1.2,<2" "langgraph-checkpoint-sqlite>=3.1,<4" \
    "fastapi>=0.165,<1" "uvicorn[standard]>=0.54,<1"
