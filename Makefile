# Two commands: `make chat` shows it working, `make test` shows that it works.
# What they run stands in the README and in CONTRIBUTING.md too.

PYTHON ?= python3
BIN = .venv/bin

.PHONY: chat test docs bench lock

chat: .venv/chat
	$(BIN)/flask --app examples/chat/app run

test: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest
	$(BIN)/sphinx-build -qW docs docs/_build

.venv/bin/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --upgrade pip

.venv/chat: .venv/bin/pip pyproject.toml
	$(BIN)/pip install -q -e .
	touch $@
