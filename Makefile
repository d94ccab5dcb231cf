# Every target brings what it needs: a virtual environment in .venv, and on Debian, as root, the
# system's packages too. Nothing must be activated. `make -C /path/to/guardian demo` works as well.

PREPARE := bash .ci/prepare
PYTHON_BIN := .venv/bin/python
# More words for pytest: make test ARGS="tests/unit -x"
ARGS :=
# Tests wait for servers and programs more than they compute. Each worker takes a stretch of them,
# so that what a file shares is made once, and whoever has done theirs takes from who has not.
WORKERS := 3
# make bench: GB; rounds by the clock; BIG=1 adds 15 GB, which takes half a day and 80 GB of room.
SIZES := 0.1,1.5
ROUNDS := 3
BIG :=
comma := ,

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check audit bench format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo:  ## The whole tour on a PostgreSQL of its own, with nothing to configure
	@$(PREPARE) packages demo
	@$(PREPARE) venv demo
	@.venv/bin/guardian demo --once

test:  ## All tests, against real PostgreSQL 15, 16 and 18, gpg and S3
	@$(PREPARE) packages test
	@$(PREPARE) venv dev
	@$(PREPARE) asserts
	TMPDIR="$$($(PREPARE) tmp)" $(PYTHON_BIN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

coverage:  ## The same with coverage, which takes half as long again
	@$(MAKE) --no-print-directory test ARGS="--cov --cov-report=term $(ARGS)"

check:  ## Lint, formatting, types, security, the floors of the house, and the length of files
	@$(PREPARE) venv dev
	$(PYTHON_BIN) -m ruff check .
	$(PYTHON_BIN) -m ruff format --check .
	$(PYTHON_BIN) -m mypy
	$(PYTHON_BIN) -m bandit --quiet --configfile pyproject.toml --recursive guardian 2>/dev/null
	.venv/bin/lint-imports
	@find guardian -name '*.py' -exec awk 'FNR == 451 { print FILENAME ": more than 450 lines, \
	split it"; bad = 1 } END { exit bad }' {} +

audit:  ## What is known against the versions that are installed, and bandit
	@$(PREPARE) venv dev
	$(PYTHON_BIN) -m bandit --quiet --configfile pyproject.toml --recursive guardian 2>/dev/null
	$(PYTHON_BIN) .ci/audit

bench:  ## Backups, restores, the watch side by side with what else there is (an hour, 8 GB)
	@$(PREPARE) packages test
	@$(PREPARE) venv dev
	@$(PREPARE) peers
	$(PYTHON_BIN) -m bench --sizes $(SIZES)$(if $(BIG),$(comma)15) --rounds $(ROUNDS) $(ARGS)

format:  ## Put the code into its form
	@$(PREPARE) venv dev
	$(PYTHON_BIN) -m ruff check --fix-only .
	$(PYTHON_BIN) -m ruff format .

clean:  ## Remove all that these targets have made
	rm -rf .venv .demo .bench build dist htmlcov .coverage .coverage.* *.egg-info \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find guardian tests bench -name __pycache__ -prune -exec rm -rf {} +
