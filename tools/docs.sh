#!/usr/bin/env bash
# Builds build/docs with warnings as errors, in the .venv of tools/setup.sh. Installs the extra `docs` if needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PYTHON=.venv/bin/python

if ! "$PYTHON" -c 'import sphinx, myst_parser, furo' 2>/dev/null; then
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "docs: Sphinx needs Python 3.11 or later, .venv has $("$PYTHON" --version)" >&2
    echo "      use another one: PYTHON=python3.12 make docs" >&2
    exit 1
  }
  echo "docs: installing the extra docs"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
    --no-build-isolation --editable '.[docs]'
fi
rm -rf build/docs
"$PYTHON" -m sphinx --fail-on-warning --keep-going -q -b html -d build/doctrees docs build/docs
echo "docs: build/docs/index.html"
