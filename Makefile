# `make demo` and `make test` set up by themselves; PYTHON chooses the interpreter .venv is made with.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
READY := .venv/.ready

.PHONY: demo test lint typecheck clean

demo: $(READY)
	@$(BIN)/python examples/digits.py

test: $(READY)
	@$(BIN)/python -m pytest --numprocesses logical --dist loadfile -r fEs

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# The installed package is checked, from a folder that holds nothing else: only there do models/ and callbacks/
# have the names they are imported by.
typecheck: $(READY)
	@rm -rf build/typecheck && mkdir -p build/typecheck
	@$(BIN)/python -m build --no-isolation --outdir build/typecheck/dist > build/typecheck/log 2>&1 \
		|| { cat build/typecheck/log; exit 1; }
	@$(PIP) install --no-deps --target build/typecheck/site build/typecheck/dist/*.whl
	@cd build/typecheck/site && ../../../$(BIN)/python -m mypy --config-file ../../../pyproject.toml -p torchbp

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv
	@echo "Installing torchbp and what it needs (a minute or more the first time)"
	@$(PIP) install --no-warn-conflicts --constraint constraints.txt --editable '.[dev]'
	@echo "Installing TorchQuantum"
	@$(PIP) install --no-deps --constraint constraints.txt torchquantum
	@touch $@
