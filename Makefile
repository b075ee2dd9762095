# One line per target; every target sets up what it needs by itself.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
CORE := $(addprefix tests/orchestrator/test_,$(addsuffix .py,astray core_branches core_shares leases settle_again change recover_devices recover_people store_faults)) tests/faults/test_database.py tests/billing_bridge/test_append.py tests/billing_bridge/test_append_head.py tests/model/test_conformance.py
# every process of a run would compile the whole program again, which takes 0.7 s
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check coverage sim sim-mutants kills bench lab-up lab-down format servers clean

demo: $(READY) ; $(PY) -m lab.demo
test: $(READY) servers ; $(PY) -m tests.whole $(ARGS)
check: $(READY) ; $(PY) tools/check.py
# SEED=s tells one seed's story, SEEDS=n plays n of them
sim: $(READY) ; $(PY) -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)
sim-mutants: $(READY) ; $(PY) -m tests.simulation.mutants $(ARGS)
# every branch of what decides, drives and bills, or it fails; about four minutes on two cores
coverage: $(READY) servers ; $(PY) -m pytest -n 4 --dist loadscope --no-loadscope-reorder --cov --cov-config=tools/coverage.ini $(CORE)
kills: $(READY) servers ; $(PY) -m tests.kills $(ARGS)
bench: $(READY) servers ; $(PY) -m benchmarks.all $(ARGS)
lab-up: $(READY) servers ; $(PY) -m lab up
lab-down: $(READY) ; $(PY) -m lab down
format: $(READY) ; $(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix-only -q .
# exit code 3: cannot install here; the lab tests then skip and say why
servers: ; python3 -m lab.packages || test $$? -eq 3
clean: ; rm -rf $(VENV) .demo .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.lock requirements-build.lock pyproject.toml ; bash tools/setup.sh $(VENV) && touch $@
