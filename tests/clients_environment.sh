#!/usr/bin/env bash
# Makes .venv-clients, one environment for each client library that the tests point at a server: they pin versions of what
# hone uses itself. Safe to run again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/.."
FOLDER=.venv-clients

source tests/environment.sh

environment langchain "langchain-openai==1.7.4" "openai==3.57.0"
environment litellm "litellm==1.110.2"
