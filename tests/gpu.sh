#!/usr/bin/env bash
# Everything that only a GPU can show, from prebuilt binaries, on a machine with a GPU and without Rust; within 8 minutes.
#
#   tests/gpu.sh FOLDER_OF_BINARIES [FOLDER_WITH_MNIST]
#
# The folder holds `vgan-cuda` and `test-kernels`: `cargo build --release` and `cargo test --release --test kernels
# --no-run`, built where nvcc is found, copied under these names. compute-sanitizer is
# used where it is on the path. Logs, the benchmarks and the table go into $OUT, or into ./gpu-results where that is not
# set; $SECONDS_IN_ALL is another limit than 480. The limits of the checks add up to more than that, each being far above
# what its check should take: the first are those that matter most, and what then has no time left is skipped.
#
# SHORT=1 takes few steps and few operations: a trial of this script on tests/driver, where no figure is a GPU's. A test runs it
# so (tests/kernels/on_the_standin.rs).
#
# Exit code 0: all was done, and nothing failed. 1: something failed. 2: wrong arguments. 3: nothing failed, but something
# was skipped, for want of time, of MNIST or of compute-sanitizer: the table is not complete.
set -uo pipefail
[[ $# -ge 1 && -d $1 ]] || { sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2; }
bin=$(cd "$1" && pwd)
data=${2:-}
out=${OUT:-gpu-results}
mkdir -p "$out/logs"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
vgan=$bin/vgan-cuda
kernels=$bin/test-kernels
for file in "$vgan" "$kernels"; do
    [[ -x $file ]] || { echo "expected an executable at $file: see the head of $0" >&2; exit 2; }
done
commit=$(git -C "$(dirname "$0")" rev-parse --short HEAD 2>/dev/null)

# The nets of most checks: a few thousand weights.
narrow="quick --batch 8 --set generator.channels=8,4 --set generator.hidden=16 --set generator.latent=6"
narrow+=" --set discriminator.channels=4,8 --set discriminator.hidden=16"
# steps, epochs and what else is shorter in a trial.
if [[ -n ${SHORT:-} ]]; then
    quick=$narrow steps=6 objective_steps=4 resume_at=2 epochs=1 article=$narrow
    # Of objectives two, and no rate of tensor cores, which takes a minute on the stand-in.
    bench_flags="--filter clip" gradient_flags="--filter clip --filter scaled_add --filter linear" objectives=2 dtypes=f32
    whole="vgan, KL mean, sampled z"
else
    quick=quick steps=1000 objective_steps=20 resume_at=60 epochs=25 article=vgan-mnist
    bench_flags= gradient_flags= objectives=100 dtypes="f32 tf32 bf16"
    whole="vgan, KL mean, sampled z
vgan of residual blocks
vgan, spectral norm
vgan, minibatch discrimination
vgan, feature matching
ebgan with bottleneck, repelling
vgan, mode-regularised
Dragan, sampled z"
fi

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
        FAILED*)
            failed=$((failed + 1))
            # What part of it got done is in the log.
            rm -f "$work/note"
            ;;
        skipped*) not_done=$((not_done + 1)) ;;
    esac
    row "$name" "$verdict" "$((SECONDS - start)) s" "$(tail -n 1 "$work/note" 2>/dev/null)"
}

# on_gpu TEST COUNT NOTE: the COUNT tests of a binary that use a GPU. They say SKIPPED and pass where they find none: here
# that is a failure.
on_gpu() {
    "$kernels" --nocapture --test-threads 1 "$1::a_gpu_" 2>&1 | tee "$work/tests"
    if grep SKIPPED "$work/tests"; then return 1; fi
    grep "test result: ok. $2 passed" "$work/tests"
    echo "$3" >"$work/note"
}

# gradients FLAGS…: the table of some derivatives; its last line stands in the row.
gradients() {
    "$vgan" gradcheck --device cuda "$@" | tee "$work/gradients"
    tail -n 1 "$work/gradients" >"$work/note"
}

# Each difference of a whole loss builds two trainers: this takes a model of each kind.
whole_gradients() {
    local filters=()
    while read -r name; do filters+=(--filter "$name"); done <<<"$whole"
    gradients --only losses "${filters[@]}"
}

# The folder of a run's last checkpoint: model.safetensors has weights and statistics, optim.safetensors the moments.
last_checkpoint() { find "$1" -name model.safetensors | sort | tail -n 1 | xargs -r dirname; }

# trains_twice NAME STEPS FLAGS…: two runs of so many steps, whose last checkpoints must be the same byte by byte.
trains_twice() {
    local outdir first second file
    for outdir in "$work/first-$1" "$work/second-$1"; do
        "$vgan" train "${@:3}" --data glyphs --device cuda --steps "$2" --snap "$2" --outdir "$outdir"
    done
    first=$(last_checkpoint "$work/first-$1")
    second=$(last_checkpoint "$work/second-$1")
    [[ -n $first && -n $second ]] || { echo "no checkpoint was found"; return 1; }
    for file in model.safetensors optim.safetensors state.json; do
        cmp "$first/$file" "$second/$file"
    done
    sha256sum "$first/model.safetensors" | cut -c 1-16 | sed 's/^/twice the model of SHA-256 /; s/$/…/' >"$work/note"
}

# What a step does differently by its settings, recorded and replayed like any other: a line each, a name and flags.
objectives() {
    local residual name flags count=0
    residual="vgan-cifar10-resnet --batch 8 --set generator.width=4 --set generator.max_width=6"
    residual+=" --set discriminator.width=4 --set discriminator.max_width=6"
    while read -r name flags; do
        # The kernels are checked at the start of the runs above; on the stand-in that takes longer than these steps.
        # The flags are words.
        # shellcheck disable=SC2086
        trains_twice "$name" "$objective_steps" $flags ${SHORT:+--no-selfcheck} </dev/null
        count=$((count + 1))
    done < <(head -n "$objectives" <<OBJECTIVES
residual $residual
lazy-penalty $narrow --set penalty=dragan --set penalty_every=3 --set discriminator.norm=none
clipped $narrow --set loss=wgan --set clip=0.1 --set discriminator_steps=3
spectral-norm $narrow --set discriminator.spectral_norm=true
ebgan $narrow --set loss=ebgan --set repelling=0.1
began $narrow --set loss=began
feature-matching $narrow --set feature_matching=1
minibatch $narrow --set minibatch_kernels=4
mode-regularised $narrow --set reconstruction=0.2 --set mode=0.4
noise-and-history $narrow --set instance_noise=0.1 --set instance_noise_steps=10 --set historical_averaging=0.01
augmented $narrow --set augment=color,translation,cutout --set mode=0.4
OBJECTIVES
    )
    echo "$objective_steps steps of $count objectives, each twice with the same bytes" >"$work/note"
}

# sanitizer TOOL COMMAND…: a command under a tool of compute-sanitizer.
sanitizer() {
    command -v compute-sanitizer || { echo "compute-sanitizer is not on the path" | tee "$work/note"; return 77; }
    local flags=(--error-exitcode 9)
    [[ $1 != racecheck ]] || flags+=(--racecheck-report all)
    compute-sanitizer --tool "$1" "${flags[@]}" "${@:2}" 2>&1 | tee "$work/found"
    if grep SKIPPED "$work/found"; then return 1; fi
    grep 'ERROR SUMMARY\|RACECHECK SUMMARY' "$work/found" | tail -n 1 | sed 's/=* *//' >"$work/note"
}

# sanitized_steps TOOL: whole steps under a tool, three with and three without a penalty, the last of each by replaying.
sanitized_steps() {
    sanitizer "$1" "$vgan" train quick --batch 4 --set generator.channels=8,4 --set generator.hidden=16 \
        --set discriminator.channels=4,8 --set discriminator.hidden=16 --set discriminator.norm=none \
        --set discriminator.spectral_norm=true --set penalty=dragan --set penalty_every=2 \
        --data glyphs --device cuda --steps 6 --snap 6 --outdir "$work/sanitized-$1"
}

# bench DTYPE: the table and, more coarsely, the JSON; the ceilings stand in the row.
bench() {
    "$vgan" bench --device cuda --dtype "$1" --budget 60 $bench_flags | tee "$out/bench-$1.txt"
    "$vgan" bench --device cuda --dtype "$1" --budget 20 $bench_flags --json >"$out/bench-$1.jsonl"
    grep -E '^(copy|fma|mma) ' "$out/bench-$1.txt" | tr -s ' ' | paste -sd ';' >"$work/note"
}

# epochs DTYPE: the article's run, by the clock on the wall, with its snapshots.
epochs() {
    [[ -d $data ]] || { echo "no folder with MNIST was given" | tee "$work/note"; return 77; }
    local start=${EPOCHREALTIME/[.,]/} tenths
    # The flags are words.
    # shellcheck disable=SC2086
    "$vgan" train $article --data "$data" --device cuda --dtype "$1" --epochs "$epochs" --tick 100 \
        --outdir "$work/epochs-$1"
    tenths=$(((${EPOCHREALTIME/[.,]/} - start) / 100000))
    echo "$epochs epochs in $((tenths / 10)).$((tenths % 10)) s" >"$work/note"
    find "$work/epochs-$1" -name 'fakes[0-9]*.png' | sort | tail -n 1 | xargs -I{} cp {} "$out/vgan-mnist-$1.png"
    find "$work/epochs-$1" -name stats.jsonl -exec cp {} "$out/vgan-mnist-$1.jsonl" \;
}

# A run begun on one device goes on on the other; the numbers must stay finite, and the length must be right.
resume_across() {
    local from to folder run
    while read -r from to folder; do
        # shellcheck disable=SC2086
        "$vgan" train $quick --data glyphs --device "$from" --steps "$resume_at" --snap "$resume_at" --outdir "$work/$folder"
        run=$(find "$work/$folder" -mindepth 1 -maxdepth 1 -type d | head -n 1)
        "$vgan" resume "$run" --steps $((2 * resume_at)) --device "$to"
        tail -n 1 "$run/stats.jsonl" | grep "\"step\":$((2 * resume_at)),"
    done <<<$'cuda cpu from-gpu\ncpu cuda from-cpu'
    echo "GPU to CPU, and CPU to GPU" >"$work/note"
}

# all_gpus: where there are two or more and NCCL, the tests of two, and a run on all of them.
all_gpus() {
    "$kernels" --nocapture --test-threads 1 two_gpus::two_gpus_ 2>&1 | tee "$work/tests"
    if grep -o 'SKIPPED: .*' "$work/tests" | head -n 1 >"$work/note"; then [[ -s $work/note ]] && return 77; fi
    # The flags are words.
    # shellcheck disable=SC2086
    "$vgan" train $quick --data glyphs --devices all --steps "$steps" --snap "$steps" --outdir "$work/all-gpus"
    tail -n 1 "$work"/all-gpus/*/stats.jsonl | grep "\"step\":$steps,"
    "$vgan" doctor | sed -n 's/^NCCL  */two GPUs as one in f64, and a run on all, by NCCL /p' >"$work/note"
}

export -f on_gpu all_gpus gradients whole_gradients last_checkpoint trains_twice objectives sanitizer sanitized_steps bench epochs
export -f resume_across
export bin data out work vgan kernels narrow quick steps objective_steps objectives resume_at epochs article bench_flags whole
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
check "parity" 60 on_gpu parity 2 "f32 against the CPU in f64, and twice the same bits"
# On the stand-in a test of the suite runs these already; the row above tries how they are called.
if [[ -z ${SHORT:-} ]]; then
    check "parity on tensor cores" 60 on_gpu tensor_cores 4 "tf32 against the CPU in f64, twice the same bits, sums in tf32 and bf16"
    check "parity in bf16" 60 on_gpu storage 2 "bf16 against the CPU in f64 by roundings, and twice the same bits"
    check "products in tiles" 60 on_gpu products 1 "f32 in tiles of either size against the CPU in f64"
    check "derivatives in f64" 60 on_gpu gradients 1 "against the CPU's"
    check "steps of narrow models" 90 on_gpu steps_on_a_gpu 4 "f32, f64, tf32 and bf16 beside the CPU"
fi
# shellcheck disable=SC2086
check "gradients of operations" 60 gradients --only operations $gradient_flags
check "gradients of whole losses" 60 whole_gradients
# shellcheck disable=SC2086
check "determinism over $steps steps" 60 trains_twice quick "$steps" $quick
check "determinism of objectives" 90 objectives
check "resume across devices" 60 resume_across
check "all GPUs together" 60 all_gpus
tools=(memcheck racecheck initcheck synccheck)
for tool in "${tools[@]}"; do
    check "$tool of whole steps" 30 sanitized_steps "$tool"
done
for dtype in $dtypes; do
    check "bench in $dtype" 60 bench "$dtype"
done
check "$epochs epochs of vgan-mnist in f32" 150 epochs f32
for tool in "${tools[@]}"; do
    check "$tool" 60 sanitizer "$tool" "$kernels" --nocapture --test-threads 1 parity::a_gpu_agrees
    check "$tool on tensor cores" 60 sanitizer "$tool" "$kernels" --nocapture --test-threads 1 tensor_cores::a_gpu_gives
done
for dtype in tf32 bf16; do
    check "$epochs epochs of vgan-mnist in $dtype" 90 epochs "$dtype"
done
code=0
if [[ $failed -gt 0 ]]; then
    code=1 verdict="checks that failed: $failed, that were skipped: $not_done; see $out/logs"
elif [[ $not_done -gt 0 ]]; then
    code=3 verdict="nothing failed, but the table is not complete; checks that were skipped: $not_done"
else
    verdict="all checks were done, and nothing failed"
fi
printf '\n%s\n' "$verdict" | tee -a "$table"
exit "$code"
