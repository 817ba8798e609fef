#!/usr/bin/env bash
# Everything that only a GPU can show, from prebuilt binaries, on a machine with a GPU and without Rust; within 8 minutes.
#
#   tests/gpu.sh FOLDER_OF_BINARIES [FOLDER_WITH_MNIST]
#
# The folder holds `vgan-cuda`, `test-parity` and `test-tensor_cores`: `cargo build --release` and `cargo test --release
# --test parity --test tensor_cores --no-run`, built where nvcc is found, copied under these names. compute-sanitizer is
# used where it is on the path. Logs, the benchmarks and the table go into $OUT, or into ./gpu-results where that is not
# set; $SECONDS_IN_ALL is another limit than 480. What has no time left is skipped. Exit code 0: nothing failed.
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
tensor=$bin/test-tensor_cores
for file in "$vgan" "$parity" "$tensor"; do
    [[ -x $file ]] || { echo "expected an executable at $file: see the head of $0" >&2; exit 2; }
done
commit=$(git -C "$(dirname "$0")" rev-parse --short HEAD 2>/dev/null)

table=$out/gpu.md
in_all=${SECONDS_IN_ALL:-480}
failed=0 not_done=0
row() { printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" | tee -a "$table"; }

# check NAME LIMIT COMMAND…: runs the command, keeps its log, writes its row. The last line that it writes into
# $work/note, if any, stands in the row. Exit code 77 means skipped. It gets LIMIT seconds, or what is left of all.
check() {
    local name=$1 limit=$2 start=$SECONDS left=$((in_all - SECONDS)) cut=no verdict code
    shift 2
    local log=$out/logs/${name//[^a-z0-9]/-}.log
    rm -f "$work/note"
    ((left < limit)) && limit=$left cut=yes
    if ((limit < 1)); then
        code=124
    else
        timeout --kill-after 5 "$limit" bash -c 'set -euo pipefail; "$@"' check "$@" >"$log" 2>&1
        code=$?
    fi
    case $code in
        0) verdict=passed ;;
        77) verdict=skipped ;;
        124 | 137)
            verdict="FAILED: over $limit s"
            [[ $cut == yes ]] && verdict="skipped: the $in_all s were over"
            ;;
        *) verdict="FAILED: exit code $code" ;;
    esac
    case $verdict in
        FAILED*) failed=$((failed + 1)) ;;
        skipped*) not_done=$((not_done + 1)) ;;
    esac
    row "$name" "$verdict" "$((SECONDS - start)) s" "$(tail -n 1 "$work/note" 2>/dev/null)"
}

# on_gpu TEST COUNT NOTE: the COUNT tests of a binary that use a GPU. They say SKIPPED and pass where they find none: here
# that is a failure.
on_gpu() {
    "$1" --nocapture --test-threads 1 a_gpu_ 2>&1 | tee "$work/tests"
    if grep SKIPPED "$work/tests"; then return 1; fi
    grep "test result: ok. $2 passed" "$work/tests"
    echo "$3" >"$work/note"
}

gradients() {
    "$vgan" gradcheck --device cuda | tee "$work/gradients"
    tail -n 1 "$work/gradients" >"$work/note"
}

# The folder of a run's last checkpoint: model.safetensors has weights and statistics, optim.safetensors the moments.
last_checkpoint() { find "$1" -name model.safetensors | sort | tail -n 1 | xargs -r dirname; }

determinism() {
    local run first second file
    for run in first second; do
        "$vgan" train quick --data glyphs --device cuda --steps 1000 --snap 1000 --outdir "$work/$run"
    done
    first=$(last_checkpoint "$work/first")
    second=$(last_checkpoint "$work/second")
    [[ -n $first && -n $second ]] || { echo "no checkpoint was found"; return 1; }
    for file in model optim; do
        cmp "$first/$file.safetensors" "$second/$file.safetensors"
    done
    sha256sum "$first/model.safetensors" | cut -c 1-16 | sed 's/^/twice the model of SHA-256 /; s/$/…/' >"$work/note"
}

# sanitizer TOOL TEST FILTER [FLAGS…]: a test under a tool of compute-sanitizer.
sanitizer() {
    command -v compute-sanitizer || { echo "compute-sanitizer is not on the path" | tee "$work/note"; return 77; }
    compute-sanitizer --tool "$1" --error-exitcode 9 "${@:4}" "$2" --nocapture --test-threads 1 "$3" 2>&1 | tee "$work/found"
    if grep SKIPPED "$work/found"; then return 1; fi
    grep 'ERROR SUMMARY\|RACECHECK SUMMARY' "$work/found" | tail -n 1 | sed 's/=* *//' >"$work/note"
}

# bench DTYPE: the table and, more coarsely, the JSON; the ceilings stand in the row.
bench() {
    "$vgan" bench --device cuda --dtype "$1" --budget 60 | tee "$out/bench-$1.txt"
    "$vgan" bench --device cuda --dtype "$1" --budget 20 --json >"$out/bench-$1.jsonl"
    grep -E '^(copy|fma|mma) ' "$out/bench-$1.txt" | tr -s ' ' | paste -sd ';' >"$work/note"
}

# epochs DTYPE: the article's run, by the clock on the wall, with its snapshots.
epochs() {
    [[ -d $data ]] || { echo "no folder with MNIST was given" | tee "$work/note"; return 77; }
    local start=${EPOCHREALTIME/[.,]/} tenths
    "$vgan" train vgan-mnist --data "$data" --device cuda --dtype "$1" --epochs 25 --tick 100 --outdir "$work/epochs-$1"
    tenths=$(((${EPOCHREALTIME/[.,]/} - start) / 100000))
    echo "25 epochs in $((tenths / 10)).$((tenths % 10)) s" >"$work/note"
    find "$work/epochs-$1" -name 'fakes[0-9]*.png' | sort | tail -n 1 | xargs -I{} cp {} "$out/vgan-mnist-$1.png"
    find "$work/epochs-$1" -name stats.jsonl -exec cp {} "$out/vgan-mnist-$1.jsonl" \;
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

export -f on_gpu gradients last_checkpoint determinism sanitizer bench epochs resume_across
export bin data out work vgan
{
    echo "# On a GPU"
    echo
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "nvidia-smi found no GPU"
    "$vgan" --version
    [[ -n $commit ]] && echo "commit $commit"
    date -u +%F
    echo
    echo "| check | result | time | note |"
    echo "|---|---|---|---|"
} | tee "$table"
check "parity" 60 on_gpu "$parity" 2 "f32 against the CPU in f64, and twice the same bits"
check "parity on tensor cores" 60 on_gpu "$tensor" 3 "tf32 and bf16 against the CPU in f64, and twice the same bits"
check "gradients" 90 gradients
check "determinism over 1000 steps" 60 determinism
check "resume across devices" 60 resume_across
for dtype in f32 tf32 bf16; do
    check "bench in $dtype" 60 bench "$dtype"
done
check "25 epochs of vgan-mnist in f32" 150 epochs f32
for tool in memcheck racecheck initcheck synccheck; do
    flags=()
    [[ $tool == racecheck ]] && flags=(--racecheck-report all)
    check "$tool" 60 sanitizer "$tool" "$parity" a_gpu_agrees "${flags[@]}"
    check "$tool on tensor cores" 60 sanitizer "$tool" "$tensor" a_gpu_gives "${flags[@]}"
done
for dtype in tf32 bf16; do
    check "25 epochs of vgan-mnist in $dtype" 90 epochs "$dtype"
done
echo
[[ $not_done -eq 0 ]] || echo "checks that were skipped: $not_done"
if [[ $failed -eq 0 ]]; then echo "nothing failed"; else echo "checks that failed: $failed; see $out/logs"; fi
[[ $failed -eq 0 ]]
