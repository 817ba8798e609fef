#!/bin/bash
# Packs into inputs/ what fuzzers have reached: keep.sh READER…. Of a minimised corpus about 100 of at most
# 1 KiB, of all lengths, 10 KiB in all.
set -euo pipefail
cd "$(dirname "$0")"
export RAYON_NUM_THREADS=1
mkdir -p inputs
for reader; do
    small=target/small/$reader chosen=target/chosen/$reader
    rm -rf "$small" "$chosen"
    mkdir -p "$small" "$chosen" "corpus/$reader" "target/seeds/$reader"
    "target/x86_64-unknown-linux-gnu/release/$reader" -merge=1 -rss_limit_mb=2048 "$small" "corpus/$reader" "target/seeds/$reader" 2>/dev/null
    find "$small" -type f -size -1025c -printf '%s %f\n' | sort -n -k1,1 -k2,2 >"$chosen.list"
    # Evenly over all lengths.
    step=$((($(wc -l <"$chosen.list") + 99) / 100))
    total=0
    while read -r size name; do
        total=$((total + size))
        if [ "$total" -gt 10240 ]; then break; fi
        cp "$small/$name" "$chosen/${name:0:12}"
    done < <(awk -v step="$step" 'NR % step == 0' "$chosen.list")
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644 --format=ustar -C "$chosen" -c . | gzip -9n >"inputs/$reader.tar.gz"
    echo "$reader: $(find "$small" -type f | wc -l) inputs reach all, $(find "$chosen" -type f | wc -l) are kept in $(stat -c %s "inputs/$reader.tar.gz") bytes"
done
