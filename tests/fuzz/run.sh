#!/bin/bash
# Runs fuzzers, one after another: run.sh SECONDS [READER…]. Corpora stay in corpus/, findings in artifacts/, output in target/logs/.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?seconds for each fuzzer}
shift
readers=${*:-$(ls targets | sed 's/\.rs$//')}
export RAYON_NUM_THREADS=1
# No kernels are needed, and so no nvcc.
DOCS_RS=1 cargo +nightly fuzz build --fuzz-dir . -s none --codegen-units 16
VGAN_SEEDS=$PWD/target/seeds cargo test --release --manifest-path ../../Cargo.toml --test files -- --ignored seeds_of_the_fuzzers
mkdir -p target/logs
failed=
for reader in $readers; do
    mkdir -p "corpus/$reader" "artifacts/$reader" "target/seeds/$reader"
    case $reader in
        cifar | archive) longest=10000 ;;
        pytorch | npz | inception) longest=65536 ;;
        *) longest=4096 ;;
    esac
    words=()
    if [ -e "dictionaries/$reader" ]; then words=("-dict=dictionaries/$reader"); fi
    nice -n 10 "target/x86_64-unknown-linux-gnu/release/$reader" "corpus/$reader" "target/seeds/$reader" "${words[@]}" \
        -artifact_prefix="artifacts/$reader/" -max_total_time="$seconds" -max_len="$longest" -timeout=10 -rss_limit_mb=2048 \
        -reload=0 -print_final_stats=1 >"target/logs/$reader" 2>&1 || failed="$failed $reader"
    { grep -E '^#[0-9]+.*DONE' "target/logs/$reader" || grep -E -A1 'panicked|ERROR' "target/logs/$reader"; } | sed "s/^/$reader: /"
done
if [ -n "$failed" ]; then
    echo "findings of:$failed (target/logs/, artifacts/)"
    exit 1
fi
