# Each target sets up .venv first if needed. More arguments: make demo ARGS="--data FOLDER"
.PHONY: demo test lint docs bench setup

demo: setup ; @.venv/bin/diff2i2p demo $(ARGS)
test: setup ; @.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)
lint: setup ; @.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
docs: setup ; @tools/docs.sh
bench: setup ; @.venv/bin/diff2i2p bench $(ARGS)
setup: ; @tools/setup.sh
