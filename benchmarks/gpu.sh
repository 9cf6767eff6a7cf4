#!/usr/bin/env bash
# All that wants a GPU, for when there is one for a quarter of an hour: at most eight minutes, no network, one folder of
# results, each part in a time limit of its own, so that one failure does not cost the rest.
#
#     benchmarks/gpu.sh MODEL GLUE RESULTS            # all-MiniLM-L6-v2, a folder with sst2/, where results go
#     benchmarks/gpu.sh --device cpu --smoke …        # does it run? in under a minute, without the tests
#     benchmarks/gpu.sh --only "forward speed" …      # these parts alone
#
# PYTHON names the interpreter (default: python3). Exits with 1 where a part failed; the others have run nevertheless.
set -uo pipefail

DEVICE=cuda SMOKE= ONLY=
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --device) DEVICE="$2"; shift 2 ;;
    --smoke) SMOKE=--smoke; shift ;;
    --only) ONLY="$2"; shift 2 ;;
    *) echo "gpu.sh: $1 is unknown: take --device, --smoke or --only" >&2; exit 2 ;;
  esac
done
if [[ $# -ne 3 ]]; then
  echo "gpu.sh: give a model, a folder with sst2/ and a folder for results" >&2
  exit 2
fi
PYTHON="${PYTHON:-python3}"
HERE="$(cd "$(dirname "$0")/.." && pwd)"
MODEL="$(realpath "$1")" GLUE="$(realpath "$2")"
mkdir -p "$3"
OUT="$(realpath "$3")"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1 NO_COLOR=1
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}"
FACTCLI_CACHE="$(mktemp -d)"
export FACTCLI_CACHE
trap 'rm -rf "$FACTCLI_CACHE"' EXIT
FAILED=

# part NAME SECONDS COMMAND…: its output goes to RESULTS/gpu.log, its last lines to the screen
part() {
  local name="$1" limit="$2" started=$SECONDS rc=0
  shift 2
  if [[ -n "$ONLY" && " $ONLY " != *" $name "* ]]; then return; fi
  echo "== $name: $*" >>"$OUT/gpu.log"
  (cd "$HERE" && timeout --kill-after=10 "$limit" "$@") >"$FACTCLI_CACHE/part.log" 2>&1 || rc=$?
  cat "$FACTCLI_CACHE/part.log" >>"$OUT/gpu.log"
  echo "== $name: exit status $rc after $((SECONDS - started)) s" | tee -a "$OUT/gpu.log"
  if [[ $rc -ne 0 ]]; then
    FAILED="$FAILED $name"
    tail -n 25 "$FACTCLI_CACHE/part.log"
  fi
}

: >"$OUT/gpu.log"
TRAINING=("$PYTHON" benchmarks/gpu_training.py)
OPTIONS=("$MODEL" --data-dir "$GLUE" --device "$DEVICE" --results "$OUT" $SMOKE)
if [[ -z "$SMOKE" ]]; then
  FACTCLI_TEST_DEVICE="$DEVICE" part tests 95 "$PYTHON" -m pytest tests/devices -m gpu -n 8 -p no:cacheprovider
  part forward 135 "$PYTHON" benchmarks/gpu_forward.py --device "$DEVICE" --seconds 110 --results "$OUT"
  part conversions 50 "${TRAINING[@]}" conversions "${OPTIONS[@]}"
  part training 130 "${TRAINING[@]}" training "${OPTIONS[@]}"
  part speed 70 "$PYTHON" benchmarks/training_speed.py --steps 30
else
  part forward 60 "$PYTHON" benchmarks/gpu_forward.py --device "$DEVICE" --smoke --results "$OUT"
  part training 60 "${TRAINING[@]}" training "${OPTIONS[@]}"
  part conversions 60 "${TRAINING[@]}" conversions "${OPTIONS[@]}"
  part speed 60 "$PYTHON" benchmarks/training_speed.py --smoke
fi
if [[ -n "$FAILED" ]]; then
  echo "failed:$FAILED"
  exit 1
fi
