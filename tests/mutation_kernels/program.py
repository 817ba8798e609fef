"""What stands where in kernels/: which kernels a mutated line reaches, and mutated copies of the files that have it."""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sites import KERNELS

KERNEL = re.compile(r"^KERNEL(?:_BOUNDED\([^,]+,|\()\s*(\w+)", re.M)
DEFINED = re.compile(r"^#define (\w+)|^(?:template.*\n)?struct (?:alignas\([^)]*\) )?(\w+)|^constexpr \w+ (\w+)|^using (\w+) =|"
                     r"^(?:template.*\n)?(?:static )?__device__[^(;]*?(\w+)(?:<\w+>)?\(", re.M)


@dataclass
class Piece:
    """What begins in the first column and ends before the next that does: a function, a kernel, a struct, a constant."""

    file: str
    start: int
    end: int
    text: str
    kernel: str = ""
    names: set = field(default_factory=set)


@cache
def text_of(file):
    return (KERNELS / file).read_text()


@cache
def pieces(file):
    """A file's pieces: each ends at a line that closes it in the first column, or at a line there that ends by itself."""
    text, found, start = text_of(file), [], 0
    at = 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        closes = line.startswith("}") or (line[0] not in " \t\n/#}" and line.rstrip().endswith(";"))
        macro_ends = not line.rstrip().endswith("\\") and "#define" in text[start:at]
        if closes or macro_ends or at == len(text):
            body = text[start:at]
            kernel = KERNEL.search(body)
            names = {name for groups in DEFINED.findall(body) for name in groups if name}
            found.append(Piece(file, start, at, body, kernel.group(1) if kernel else "", set() if kernel else names))
            start = at
    return found


@cache
def included(file):
    """The headers of kernels/ that a file takes in, at first hand and through others."""
    direct = [name for name in re.findall(r'#include "([^"]+)"', text_of(file)) if (KERNELS / name).is_file()]
    return set(direct).union(*(included(name) for name in direct))


@cache
def all_files():
    return sorted(path.relative_to(KERNELS).as_posix() for path in KERNELS.rglob("*.cu*"))


@cache
def reached(file, start):
    """The kernels that what stands at this place can change: {name: file}."""
    piece = next(piece for piece in pieces(file) if piece.start <= start < piece.end)
    seen, todo, kernels = set(), [piece], {}
    while todo:
        piece = todo.pop()
        if (piece.file, piece.start) in seen:
            continue
        seen.add((piece.file, piece.start))
        if piece.kernel:
            kernels[piece.kernel] = piece.file
        names = piece.names
        if not names:
            continue
        mentions = re.compile(r"\b(?:" + "|".join(map(re.escape, names)) + r")\b")
        for other in all_files():
            if other == piece.file or piece.file in included(other):
                todo.extend(found for found in pieces(other) if mentions.search(found.text))
    return kernels


def place(mutation, files, folder):
    """Writes what takes the place of `files` (.cu) into `folder`: for a header's mutation, with copies of all headers that they include.

    A quoted include looks beside the including file first, so copies name each other by relative paths and the compiler's options stay as
    they are. lib/launch.h stays the one that the tests choose.
    """
    mutated = mutation.apply(text_of(mutation.file)) if mutation else None
    headers = set() if not mutation or mutation.file.endswith(".cu") else {
        header for file in files for header in included(file) if mutation.file == header or mutation.file in included(header)
    }
    for file in sorted(set(files) | headers):
        text = mutated if mutation and file == mutation.file else text_of(file)
        up = "../" * file.count("/")

        def relative(found, up=up):
            return f'#include "{up}{found.group(1)}"' if found.group(1) in headers else found.group()

        target = Path(folder) / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r'#include "([^"]+)"', relative, text))
