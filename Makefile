# Setting up is plain `python3 -m venv` and pip. torch comes first, alone: where an index offers a CPU build under that version, it is taken,
# and nothing after it pulls another.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
ARGS   ?=
# environments are made side by side
MAKEFLAGS += --jobs=2

.PHONY: setup demo test check serve learn bench faults clean vllm browser mcp agentdojo clients js peers

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learn,dev]'
	touch $(STAMP)

vllm: setup
	bash tests/vllm_environment.sh

browser: setup
	bash tests/browser_environment.sh

mcp: setup
	bash tests/mcp_environment.sh

agentdojo: setup
	bash tests/agentdojo_environment.sh

clients: setup
	bash tests/clients_environment.sh

js:
	bash tests/js_environment.sh

# for `python -m bench.serving` alone
peers: setup
	bash bench/peers_environment.sh

demo: setup
	$(BIN)/hone demo $(ARGS)

serve: setup
	$(BIN)/hone serve $(ARGS)

learn: setup
	$(BIN)/hone learn --once $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check vllm browser mcp agentdojo clients js
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

bench: setup
	$(BIN)/python -m bench $(or $(ARGS),embedded)

# HONE_KILLS=15, HONE_INJECTIONS=24, HONE_TENANT_OPERATIONS=300, HONE_FUZZED_CASES=2500 and HONE_TURNS=200 are what `make test` does
faults: setup agentdojo
	HONE_KILLS=$${HONE_KILLS:-1000} HONE_INJECTIONS=$${HONE_INJECTIONS:-all} HONE_TENANT_OPERATIONS=$${HONE_TENANT_OPERATIONS:-100000} HONE_FUZZED_CASES=$${HONE_FUZZED_CASES:-50000} HONE_TURNS=$${HONE_TURNS:-10000} \
	$(BIN)/python -m pytest -s tests/faults tests/injections tests/runtime/test_tenants.py $(ARGS)

clean:
	rm -rf $(VENV) .venv-vllm .venv-mcp .venv-agentdojo .venv-clients .venv-peers tests/js/node_modules
