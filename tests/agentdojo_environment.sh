#!/usr/bin/env bash
# Makes .venv-agentdojo, the environment of AgentDojo's suites, without the clients of model providers that it asks for
# (tests/injections/dojo_server.py does without them). Safe to run again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/.."
FOLDER=.venv-agentdojo
AGENTDOJO="agentdojo==0.1.35"
NEEDED=("pydantic[email]>=2.14,<3" "pyyaml>=6.0.3,<7" "docstring-parser>=0.18,<0.19" "deepdiff>=9.1,<10" "rich>=15,<16"
    "tenacity>=9.1,<10" "python-dotenv>=1.2,<2")
STAMP="$FOLDER/.hone-$(printf '%s' "$AGENTDOJO ${NEEDED[*]}" | cksum | cut -d' ' -f1)"

if [ -f "$STAMP" ]; then
    exit 0
fi
"${PYTHON:-python3}" -m venv --clear "$FOLDER"
"$FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check "${NEEDED[@]}"
"$FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$AGENTDOJO"
touch "$STAMP"
