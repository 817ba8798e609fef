"""Widths of accesses to shared memory, in PTX and in the machine code of 9.0.

    python3 docs/results/shared_widths.py target/kernels cuobjdump

The PTX machine counts bank conflicts at the width that an instruction has in PTX. ptxas may join accesses to neighbouring words into a
wider one, or read less where a part is not used. This prints every kernel in which the widths of one are not those of the other, with how
many instructions have each (bytes: instructions).
"""

import collections
import pathlib
import re
import subprocess
import sys

PTX = re.compile(r"\s*(?:@!?%p\d+ )?(ld|st)(?:\.volatile|\.relaxed\.\w+)?\.shared(?:\.(v2|v4))?\.[a-z](\d+)")
SASS = re.compile(r"\b(LDS|STS)((?:\.\w+)*) ")
BYTES = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}


def newest(folder):
    """The newest fatbin of each file in f32 and bf16, of the kernels that there are."""
    kernels = pathlib.Path(__file__).parents[2] / "kernels"
    names = {str(path.relative_to(kernels).with_suffix("")).replace("/", "-") for path in kernels.rglob("*.cu")}
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.fatbin"), key=lambda path: path.stat().st_mtime):
        name, form, _ = path.stem.rsplit(".", 2)
        if name in names and form != "f64":
            found[name, form] = path
    return sorted(found.items())


def counted(text, entry, access):
    """Instructions by kernel, direction and width; `access` returns the last two for a line that has one."""
    counts, kernel = collections.defaultdict(collections.Counter), None
    for line in text.splitlines():
        if found := re.search(entry, line):
            kernel = found[1]
        if found := access(line):
            counts[kernel, found[0]][found[1]] += 1
    return counts


def of_ptx(line):
    if found := PTX.match(line):
        return found[1], int(found[3]) // 8 * {None: 1, "v2": 2, "v4": 4}[found[2]]


def of_sass(line):
    if found := SASS.search(line):
        widths = [BYTES[part] for part in found[2].split(".") if part in BYTES]
        return {"LDS": "ld", "STS": "st"}[found[1]], (widths or [4])[0]


def main(folder, cuobjdump):
    compared = 0
    for (name, form), path in newest(folder):
        run = lambda *flags: subprocess.run([cuobjdump, *flags, path], capture_output=True, text=True, check=True).stdout
        ptx = counted(run("-ptx"), r"\.entry (\w+)", of_ptx)
        sass = counted(run("-sass", "-arch", "sm_90"), r"Function : (\w+)", of_sass)
        for kernel, direction in sorted(set(ptx) | set(sass)):
            compared += 1
            before, after = ptx[kernel, direction], sass[kernel, direction]
            if set(before) != set(after):
                print(f"{name} {kernel} in {form}, {direction}: PTX {dict(before)}, machine code {dict(after)}")
    print(f"{compared} compared: kernels, form and direction")


main(*sys.argv[1:])
