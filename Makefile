# One line per target; every target sets up what it needs by itself.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test check kills bench lab-up lab-down format servers clean

demo: $(READY) ; $(PY) -m lab.demo
test: $(READY) servers ; $(PY) -m pytest -n 4 --dist loadscope $(ARGS)
check: $(READY) ; $(PY) tools/check.py
kills: $(READY) servers ; $(PY) -m tests.kills $(ARGS)
bench: $(READY) servers ; $(PY) -m benchmarks.all $(ARGS)
lab-up: $(READY) servers ; $(PY) -m lab up
lab-down: $(READY) ; $(PY) -m lab down
format: $(READY) ; $(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix-only -q .
# exit code 3: cannot install here; the lab tests then skip and say why
servers: ; python3 -m lab.packages || test $$? -eq 3
clean: ; rm -rf $(VENV) .demo .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.lock requirements-build.lock pyproject.toml ; bash tools/setup.sh $(VENV) && touch $@
