# Two commands: `make chat` shows it working, `make test` shows that it works.
# What they run stands in the README and in CONTRIBUTING.md too.

PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/pip --disable-pip-version-check install -q

.PHONY: chat test soak oldest wine bench lock scripts

chat: .venv/chat
	$(BIN)/flask --app examples/chat/app run

test: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -n 4 --dist loadscope

soak: .venv/test
	$(BIN)/pytest --soak --timeout 3600

# The tests that need nothing of Linux, with the Python of Windows.
wine: .venv/bin/pip
	tests/install wine64
	$(BIN)/python tests/elsewhere/wine.py .venv/wine

# With the oldest versions of what the package needs, and of what Flask needs.
oldest: .venv/test
	$(PYTHON) -m venv --clear .venv/oldest
	.venv/oldest/bin/python tests/support/oldest.py
	.venv/oldest/bin/pytest -n 4 --dist loadscope $(addprefix tests/,app brokers client \
	  delivery doctor event handoff ipc sqlalchemy testing)

# Beside the servers that can be had: half an hour.
bench: .venv/test
	tests/install gcc golang-go libnginx-mod-nchan pushpin redis-server
	$(PIP) pyuwsgi==2.0.30.post1
	$(BIN)/python bench/run.py --write

.venv/bin/pip:
	$(PYTHON) -c "import ensurepip" || tests/install python3-venv
	$(PYTHON) -m venv .venv

.venv/chat: .venv/bin/pip pyproject.toml
	$(PIP) -e .
	touch $@

.venv/test: .venv/bin/pip pyproject.toml requirements.txt tests/install tests/clients/package.json
	tests/install apache2-bin caddy curl haproxy libfaketime nginx openssl redis-tools \
	  chromium-headless-shell firefox-esr fonts-dejavu-core tini webkit2gtk-driver xvfb mariadb-server \
	  postgresql prometheus & debian=$$!; \
	$(PIP) -r requirements.txt -e . && \
	PATH=$(CURDIR)/$(BIN):$$PATH npm --prefix tests/clients install --no-package-lock --no-audit --no-fund --ignore-scripts; \
	others=$$?; wait $$debian && exit $$others
	touch $@

# What is served to browsers, of what is read.
scripts: .venv/test
	$(BIN)/node tests/clients/minify.mjs src/flask_push/static/min

# What the tests run with, to the version: made in an environment of its own.
lock:
	$(PYTHON) -m venv --clear .venv/lock
	.venv/lock/bin/pip install -q --upgrade pip
	.venv/lock/bin/pip install -q --group tests --group lint --group docs
	.venv/lock/bin/pip freeze > requirements.txt
