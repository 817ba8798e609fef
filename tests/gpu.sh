#!/usr/bin/env bash
# Everything that only a GPU can show, from prebuilt binaries, on a machine with a GPU and without Rust; under 8 minutes.
#
#   tests/gpu.sh FOLDER_OF_BINARIES [FOLDER_WITH_MNIST]
#
# The folder holds `vgan-cuda` and `test-parity`: `cargo build --release` and `cargo test --release --test parity
# --no-run`, built where nvcc is found, copied under these names. compute-sanitizer is used where it is on the path. Logs,
# the benchmark and the table go into $OUT, or into ./gpu-results where that is not set. Exit code 0: nothing failed.
set -uo pipefail
[[ $# -ge 1 && -d $1 ]] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
bin=$(cd "$1" && pwd)
data=${2:-}
out=${OUT:-gpu-results}
mkdir -p "$out/logs"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
vgan=$bin/vgan-cuda
parity=$bin/test-parity
for file in "$vgan" "$parity"; do
    [[ -x $file ]] || { echo "expected an executable at $file: see the head of $0" >&2; exit 2; }
done

table=$out/gpu.md
failed=0
row() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" | tee -a "$table"; }

# check NAME LIMIT COMMAND…: runs the command, keeps its log, writes its row. The last line that it writes into
# $work/note, if any, stands in the row.
check() {
    local name=$1 limit=$2 start=$SECONDS verdict code
    shift 2
    local log=$out/logs/${name//[^a-z0-9]/-}.log
    rm -f "$work/note"
    limit=$limit timeout "$limit" bash -c 'set -euo pipefail; "$@"' check "$@" >"$log" 2>&1
    code=$?
    verdict=passed
    if [[ $code -eq 77 ]]; then verdict=skipped
    elif [[ $code -eq 124 ]]; then verdict="FAILED: over $limit s"
    elif [[ $code -ne 0 ]]; then verdict="FAILED: exit code $code"
    fi
    [[ $verdict == FAILED* ]] && failed=$((failed + 1))
    row "$name" "$verdict" "$((SECONDS - start)) s" "$(tail -n 1 "$work/note" 2>/dev/null)"
}

# The test says SKIPPED and passes where it finds no GPU: here that is a failure.
parity_on_gpu() {
    "$parity" --nocapture --test-threads 1 a_gpu_ 2>&1 | tee "$work/parity"
    if grep SKIPPED "$work/parity"; then return 1; fi
    grep 'test result: ok. 2 passed' "$work/parity"
    echo "f32 against the CPU in f64, and twice the same bits" >"$work/note"
}

gradients() {
    "$vgan" gradcheck --device cuda | tee "$work/gradients"
    tail -n 1 "$work/gradients" >"$work/note"
}

# The bytes of all weights, moments, statistics and the state of a run's last checkpoint.
last_checkpoint() { find "$1" -name '*.safetensors' | sort | tail -n 1; }

determinism() {
    local run first second
    for run in first second; do
        "$vgan" train quick --data glyphs --device cuda --steps 1000 --snap 1000 --outdir "$work/$run"
    done
    first=$(last_checkpoint "$work/first")
    second=$(last_checkpoint "$work/second")
    [[ -n $first ]] || { echo "no checkpoint was found"; return 1; }
    cmp "$first" "$second"
    sha256sum "$first" | cut -c 1-16 | sed 's/^/twice SHA-256 /; s/$/…/' >"$work/note"
}

sanitizer() {
    command -v compute-sanitizer || { echo "compute-sanitizer is not on the path" | tee "$work/note"; return 77; }
    compute-sanitizer --tool "$1" --error-exitcode 9 "${@:2}" "$parity" --test-threads 1 a_gpu_agrees | tee "$work/found"
    grep 'ERROR SUMMARY\|RACECHECK SUMMARY' "$work/found" | tail -n 1 | sed 's/=* *//' >"$work/note"
}

bench() {
    "$vgan" bench --device cuda --budget 100 | tee "$out/bench.txt"
    "$vgan" bench --device cuda --budget 20 --json >"$out/bench.jsonl"
    sed -n '2,3p' "$out/bench.txt" | tr -s ' ' | paste -sd ';' >"$work/note"
}

epochs() {
    [[ -d $data ]] || { echo "no folder with MNIST was given" | tee "$work/note"; return 77; }
    local start=$SECONDS
    "$vgan" train vgan-mnist --data "$data" --device cuda --epochs 25 --tick 100 --outdir "$work/epochs"
    echo "25 epochs in $((SECONDS - start)) s" >"$work/note"
    find "$work/epochs" -name 'fakes*.png' | sort | tail -n 1 | xargs -I{} cp {} "$out/vgan-mnist.png"
    find "$work/epochs" -name stats.jsonl -exec cp {} "$out/vgan-mnist.jsonl" \;
}

# A run begun on one device goes on on the other; the numbers must stay finite, and the length must be right.
resume_across() {
    local from to folder run
    while read -r from to folder; do
        "$vgan" train quick --data glyphs --device "$from" --steps 60 --snap 60 --outdir "$work/$folder"
        run=$(find "$work/$folder" -mindepth 1 -maxdepth 1 -type d | head -n 1)
        "$vgan" resume "$run" --steps 120 --device "$to"
        tail -n 1 "$run/stats.jsonl" | grep '"step":120,'
    done <<<$'cuda cpu from-gpu\ncpu cuda from-cpu'
    echo "GPU to CPU, and CPU to GPU" >"$work/note"
}

export -f parity_on_gpu gradients last_checkpoint determinism sanitizer bench epochs resume_across
export bin data out work vgan parity
{
    echo "# On a GPU"
    echo
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "nvidia-smi found no GPU"
    "$vgan" --version
    date -u +%F
    echo
    echo "| check | result | time | note |"
    echo "|---|---|---|---|"
} | tee "$table"
check "parity" 60 parity_on_gpu
check "gradients" 90 gradients
check "determinism over 1000 steps" 60 determinism
check "resume across devices" 60 resume_across
check "memcheck" 60 sanitizer memcheck
check "racecheck" 60 sanitizer racecheck --racecheck-report all
check "initcheck" 60 sanitizer initcheck
check "synccheck" 60 sanitizer synccheck
check "bench" 90 bench
check "25 epochs of vgan-mnist" 150 epochs
echo
if [[ $failed -eq 0 ]]; then echo "nothing failed"; else echo "checks that failed: $failed; see $out/logs"; fi
[[ $failed -eq 0 ]]
