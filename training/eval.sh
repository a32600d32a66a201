#!/usr/bin/env bash
# Test and evaluate epochs FIRST, FIRST + STEP, ... LAST of a run; results are in the cache of each epoch.
#   training/eval.sh CONFIG FIRST STEP LAST [arguments of test.py] [-- arguments of eval.py]
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
config=$1 epochs=$(seq "$2" "$3" "$4")
shift 4
test=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do test+=("$1"); shift; done
[ $# -gt 0 ] && shift
python=${PYTHON:-python}
here=$(dirname "$0")
for epoch in $epochs; do
  echo "epoch $epoch"
  answer=$("$python" "$here/test.py" "$config" --test-epoch "$epoch" --json "${test[@]}")
  cache=$("$python" -c 'import json, sys; print(json.loads(sys.argv[1])["cache"])' "$answer")
  "$python" "$here/eval.py" "$cache" --out "$cache" "$@"
done
