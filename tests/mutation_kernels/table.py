"""The tables of what came of the mutants, in Markdown."""

import json
from collections import Counter
from pathlib import Path

# What counts: a mutant that does not compile is none, and one whose object code is the original's, or that no kernel reads, is the original.
JUDGED = ("caught", "time-out", "survived")


def rows(title, lines, key):
    """Counts by `key`, largest first."""
    total, caught = Counter(), Counter()
    for line in lines:
        total[key(line)] += 1
        caught[key(line)] += line["verdict"] != "survived"
    print(f"\n| {title} | mutants | caught | of these not |\n|---|---|---|---|")
    for name, count in total.most_common():
        print(f"| {name} | {count} | {caught[name]} | {count - caught[name]} |")


def show(results):
    lines = [json.loads(line) for line in Path(results).read_text().splitlines()]
    judged = [line for line in lines if line["verdict"] in JUDGED]
    caught = [line for line in judged if line["verdict"] != "survived"]
    print(Counter(line["verdict"] for line in lines))
    print(f"{len(caught)} of {len(judged)} mutants caught: {100 * len(caught) / max(1, len(judged)):.1f} %")
    rows("room", judged, lambda line: line["file"].split("/")[0])
    rows("kind", judged, lambda line: line["kind"])
    rows("file", judged, lambda line: line["file"])
    print("\n| test | mutants that it caught |\n|---|---|")
    for name, count in Counter(line["test"] for line in caught).most_common():
        print(f"| `{name}` | {count} |")
    print("\n| survivor | kind | change |\n|---|---|---|")
    for line in judged:
        if line["verdict"] == "survived":
            old, new = (" ".join(line[part].split()).replace("|", "\\|") for part in ("old", "new"))
            print(f"| `{line['file']}:{line['line']}` | {line['kind']} | `{old}` → `{new}` |")
