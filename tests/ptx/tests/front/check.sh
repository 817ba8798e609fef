#!/bin/sh
# Has ptxas read each line of accepted.txt, refused.txt and unknown.txt behind head.ptx, and prints where it disagrees with the
# file's name. Needs CUDA 13: PTXAS=/path/to/ptxas sh check.sh
cd "$(dirname "$0")" || exit 1
file=$(mktemp)
disagreements=0
for list in accepted refused unknown; do
    while IFS= read -r line; do
        { cat head.ptx; printf '%s\nret;\n}\n' "$line"; } > "$file"
        if "${PTXAS:-ptxas}" -arch=sm_90a "$file" -o /dev/null 2> /dev/null; then found=accepted; else found=refused; fi
        case $list-$found in
            accepted-accepted | unknown-accepted | refused-refused) ;;
            *) disagreements=$((disagreements + 1)); printf '%s.txt, but %s by ptxas: %s\n' "$list" "$found" "$line" ;;
        esac
    done < $list.txt
done
rm -f "$file"
echo "$disagreements disagreements"
test $disagreements = 0
