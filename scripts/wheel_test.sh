#!/usr/bin/env bash
# The wheel, built from the repository and installed in an empty environment elsewhere with its
# `train` and `judge` extras, runs score, classify, doctor, annotate and demo.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$PWD/.venv/bin/python"
constraints="$PWD/constraints.txt"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip --disable-pip-version-check wheel -q --no-deps -w "$work" .
"$python" -m venv "$work/env"
pip=("$work/env/bin/python" -m pip --disable-pip-version-check install -q -c "$constraints")
"${pip[@]}" "$(grep '^torch==' "$constraints")"
"${pip[@]}" "$(echo "$work"/safegrpo-*.whl)[train,judge]"

cd "$work"
safegrpo="$work/env/bin/safegrpo"
cat > rows.jsonl <<'ROWS'
{"response": "<visual_safe>safe</visual_safe><text_safe>safe</text_safe><combined_safe>unsafe</combined_safe></think><answer>Sorry, I cannot help.</answer>", "visual": "safe", "text": "safe", "combined": "unsafe", "answer": null}
ROWS
for rules in paper strict; do
  "$safegrpo" score rows.jsonl --rules "$rules" | grep -q '"reward": 1.0'
done
echo '{"answer": "I cannot help with that."}' | "$safegrpo" classify - | grep -q '"refusal"'
"$safegrpo" doctor --for demo
"$safegrpo" doctor --for judge
echo '{"id": "1", "images": [], "prompt": "What is the time?"}' > pairs.jsonl
"$safegrpo" annotate pairs.jsonl -o rated --judge-url http://localhost:1/v1 --judge-model none \
  --dry-run | grep -q '"calls": 1'
"$safegrpo" study --list > rows.txt && grep -q '^published' rows.txt
"$safegrpo" demo --output demo --set grpo.max_steps=2
test -s demo/summary.json && test -s demo/report.html
echo "wheel-test: passed"
