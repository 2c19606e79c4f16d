#!/usr/bin/env bash
# Makes .venv-mcp, one environment for each MCP server that others wrote and the tests start: they pin what they like,
# older generations of the protocol's SDK among it. Safe to run again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/.."
FOLDER=.venv-mcp

source tests/environment.sh

environment time "mcp-server-time==2026.10.19" "mcp>=2.3,<3" tzdata
environment git "mcp-server-git==2026.10.19" "mcp>=2.3,<3"
# the SDK of the handshake era; the server was written for it
environment sqlite "mcp-server-sqlite==2025.4.25" "mcp==1.30.0"
environment fastmcp "fastmcp==4.2.3"
