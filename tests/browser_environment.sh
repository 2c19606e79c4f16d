#!/usr/bin/env bash
# A Chromium for the browser tests: the machine's own, else Debian's package where this user may install it.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "The browser tests need Chromium and found none: install it (Debian: sudo apt-get install chromium) and run this again." >&2
exit 1
