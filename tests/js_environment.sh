#!/usr/bin/env bash
# Installs what tests/js needs, as its package-lock.json says. Safe to run again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/js"
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "The tests with OpenAI's JavaScript client need node 20 or later and npm: install them and run this again." >&2
    exit 1
fi
STAMP="node_modules/.hone-$(cksum < package-lock.json | cut -d' ' -f1)"
if [ -f "$STAMP" ]; then
    exit 0
fi
npm ci --silent --no-audit --no-fund
touch "$STAMP"
