#!/usr/bin/env bash
# Makes .venv-agentdojo, the environment of AgentDojo, which brings the clients of five model providers along. Safe to run
# again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/.."
FOLDER=.venv-agentdojo
REQUIREMENTS=("agentdojo==0.1.35")
STAMP="$FOLDER/.hone-$(printf '%s' "${REQUIREMENTS[*]}" | cksum | cut -d' ' -f1)"

if [ -f "$STAMP" ]; then
    exit
fi
"${PYTHON:-python3}" -m venv --clear "$FOLDER"
"$FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check "${REQUIREMENTS[@]}"
touch "$STAMP"
