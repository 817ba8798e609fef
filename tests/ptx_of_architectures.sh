#!/usr/bin/env bash
# Compiles every kernel to PTX for compute capability 8.0, 9.0a, 10.0 and 12.0, in each form, and compares the texts but for
# `.target`: what the embedded PTX of 8.0 proves holds for the machine code of those whose text is the same. Needs nvcc and a built
# program (for the header that the build writes); takes minutes. docs/results/standin.md has the result.
set -euo pipefail
cd "$(dirname "$0")/.."
nvcc=${NVCC:-$(command -v nvcc || true)}
for place in /usr/local/cuda/bin/nvcc .cuda/nvidia/cu13/bin/nvcc; do
    [[ -n $nvcc || ! -x $place ]] || nvcc=$place
done
header=$(find "${CARGO_TARGET_DIR:-target}" -path '*/include/figures.h' -print -quit)
[[ -n $nvcc && -n $header ]] || { echo "expected nvcc, and a program that was built" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export nvcc work generated=${header%/figures.h}

# compare FILE FORM DEFINES…: a line for each two architectures, and whether their texts are the same.
compare() {
    local file=$1 form=$2 name architecture pair
    name=$(tr / - <<<"${file#kernels/}").$form
    for architecture in 80 90a 100 120; do
        "$nvcc" -std=c++17 --fmad=false -arch="compute_$architecture" -ptx -Ikernels -I"$generated" "${@:3}" \
            -o "$work/$name.$architecture" "$file"
        # Comments name the compiler.
        sed -i '/^\.target/d; /^\/\//d' "$work/$name.$architecture"
    done
    for pair in "80 90a" "80 100" "80 120" "100 120"; do
        if cmp -s "$work/$name.${pair% *}" "$work/$name.${pair#* }"; then echo "$pair same"; else echo "$pair other"; fi
    done
    rm -f "$work/$name".*
}
export -f compare
find kernels -name '*.cu' | sort | while read -r file; do
    echo "$file f32 -DREAL=float"
    echo "$file bf16 -DREAL=float -DSTORED_BF16"
    [[ $file == *_tensor.cu || $file == *_wide.cu ]] || echo "$file f64 -DREAL=double"
done >"$work/jobs"
xargs -P "$(nproc)" -L 1 bash -c 'compare "$@"' compare <"$work/jobs" >"$work/pairs"
echo "$(wc -l <"$work/jobs") texts"
sort "$work/pairs" | uniq -c
