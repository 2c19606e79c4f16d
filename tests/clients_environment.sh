#!/usr/bin/env bash
# Makes .venv-clients, one environment for each client library that the tests point at a server: they pin versions of what
# hone uses itself. Safe to run again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/.."
FOLDER=.venv-clients

# environment NAME REQUIREMENT...
environment() {
    local name="$1"
    shift
    local place="$FOLDER/$name"
    local stamp="$place/.hone-$(printf '%s' "$*" | cksum | cut -d' ' -f1)"
    if [ -f "$stamp" ]; then
        return
    fi
    "${PYTHON:-python3}" -m venv --clear "$place"
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    touch "$stamp"
}

environment langchain "langchain-openai==1.7.4" "openai==3.57.0"
environment litellm "litellm==1.110.2"
