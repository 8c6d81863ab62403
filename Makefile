# Each target does all of its own set-up: a virtual environment in .venv, made from this project's own files.
# Needed beforehand: Python 3.11 or later, a Rust toolchain (1.88 or later), and a C compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 60
PROCESSES ?= 4
FUZZ_BUILD ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/enarx-deploy/fuzz
RUST := $(shell find pipeline/sallyport/src -name '*.rs') pipeline/sallyport/Cargo.toml pipeline/sallyport/Cargo.lock

.PHONY: demo test test-rust test-python test-free-threaded free-threaded lint format bench fuzz fuzz-sallyport clean help

help:  ## Say what can be made.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 27

demo: $(VENV)/demo  ## From a template to an attested TLS service, and a client's view of it.
	$(BIN)/python docs/demo.py

test: test-rust test-python  ## All tests: Rust, then Python in PROCESSES (4).

test-rust:
	cargo test --quiet --manifest-path pipeline/sallyport/Cargo.toml --no-default-features

# Four at a time on a small machine can starve a test. What failed is run once more, alone, by name, and has to pass there.
test-python: $(VENV)/test
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations 20 || { \
	  status=$$?; [ $$status = 1 ] || exit $$status; \
	  printf '\nOnce more, alone, what failed beside others. What passes now is still a defect: of the test, or of what it tests.\n'; \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 5 -v; }

lint: $(VENV)/test  ## Format, lint and types, changing nothing.
	cargo fmt --manifest-path pipeline/sallyport/Cargo.toml --check
	cargo clippy --quiet --manifest-path pipeline/sallyport/Cargo.toml --no-default-features --all-targets -- -D warnings
	cargo fmt --manifest-path pipeline/sallyport/fuzz/Cargo.toml --check
	RUSTFLAGS="--cfg fuzzing" cargo clippy --quiet --manifest-path pipeline/sallyport/fuzz/Cargo.toml --target-dir $(FUZZ_BUILD)/lint -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/test  ## Bring the sources into form.
	cargo fmt --manifest-path pipeline/sallyport/Cargo.toml
	cargo fmt --manifest-path pipeline/sallyport/fuzz/Cargo.toml
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/test  ## Measure on this machine, side by side with others.
	$(BIN)/python -m benches

free-threaded:  ## Build a Python without the interpreter's lock, which takes minutes, once. `bench` then measures on it too.
	benches/free-threaded

test-free-threaded:  ## The attestation library's tests on such a Python. No dcap-qvl is made for it.
	"$$(benches/free-threaded)" -W error -m pytest -q -o pythonpath=". pipeline plugins" \
	  --ignore tests/attestation/test_differential.py tests/attestation

fuzz: $(VENV)/test  ## Fuzz every parser for SECONDS each (60), or those named in TARGETS.
	$(BIN)/python -m fuzz $(TARGETS) --seconds $(SECONDS)

fuzz-sallyport:  ## Fuzz both halves of the sallyport for SECONDS each (60). Needs nightly Rust and cargo-fuzz.
	cd pipeline/sallyport && for target in $$(cargo +nightly fuzz list); do \
	  mkdir -p $(FUZZ_BUILD)/corpus/$$target; \
	  cargo +nightly fuzz run --target-dir $(FUZZ_BUILD)/target $$target $(FUZZ_BUILD)/corpus/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(SECONDS) -rss_limit_mb=1500 -timeout=20 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

$(VENV)/python: 
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'enarx-deploy needs Python 3.11 or later; say which with: make PYTHON=python3.12 ...' >&2; exit 1; }
	@command -v cargo >/dev/null || { echo 'enarx-deploy needs a Rust toolchain (cargo is not on PATH): https://rustup.rs' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@touch $@

$(VENV)/demo: $(VENV)/python pyproject.toml $(RUST)
	$(BIN)/pip install --quiet --editable '.[c]'
	@touch $@

$(VENV)/test: $(VENV)/demo
	$(BIN)/pip install --quiet --group test --group lint
	@touch $@

clean:  ## Remove what was made.
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache pipeline/sallyport/target
	find . -name __pycache__ -prune -exec rm -rf {} +
	find pipeline -name '*.so' -delete
