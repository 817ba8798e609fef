#!/usr/bin/env python3
"""Mutation testing of kernels/: plants one small change after another, and runs the tests that reach it until one fails.

    python3 tests/mutation_kernels/mutate.py reach            # once: which test launches which kernel, and how long it takes
    python3 tests/mutation_kernels/mutate.py run --seed 1     # judges mutants; goes on where it stopped
    python3 tests/mutation_kernels/mutate.py control          # unchanged copies in the place of mutants: nothing may fail
    python3 tests/mutation_kernels/mutate.py again            # judges survivors anew, with new tests
    python3 tests/mutation_kernels/mutate.py table            # what came of it

README.md says how it works. Everything is kept in target/mutation-kernels/.
"""

import argparse
import atexit
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
import program
import sites
import table

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "mutation-kernels"
# As tests/simt/src/program.rs compiles kernels without the detector.
COMPILE = ["g++", "-x", "c++", "-std=gnu++17", "-g0", "-O2", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti",
           "-fno-gnu-unique", "-fno-threadsafe-statics", "-fno-strict-aliasing", "-fno-optimize-sibling-calls", "-fno-math-errno",
           "-ffp-contract=off", "-w", "-DSIMT", "-DSIMT_DETECT=0", "-mavx2", "-mfma"]
FORMS = {"f32": ["-DREAL=float"], "bf16": ["-DREAL=float", "-DSTORED_BF16"], "f64": ["-DREAL=double"]}
# Tests of cases, which can be told to run those of some operations alone: tried first, in this order.
BY_CASES = [
    "gradients::every_derivative_of_every_case_is_the_same_on_the_kernels",
    "limits::blocks_of_few_threads_stride_over_all_of_every_case",
    "parity::the_kernels_agree_with_the_cpu_and_nothing_is_found_in_them",
    "limits::parts_and_tiles_are_joined_and_no_kernel_has_only_one",
    "products::tiles_of_either_size_give_what_the_cpu_gives_and_nothing_is_found",
    "parity::what_is_drawn_is_the_same_in_every_bit",
    "tensor_cores::rounded_operands_give_what_the_cpu_gives_and_nothing_is_found",
    "storage::the_kernels_are_off_by_their_roundings_alone_and_nothing_is_found_in_them",
    "storage::tiles_of_either_size_are_off_by_their_roundings_alone",
    "parity::the_order_of_threads_changes_no_bit",
]
# Tests of the compiled kernels, on a GPU or its stand-in: nothing of a mutant reaches them.
ON_A_GPU = ("on_the_standin::", "two_gpus::", "steps_on_a_gpu::")
# What reach.json calls launches outside all cases.
NO_CASE = "-"
# Headers that tests ask who does what, beside the kernels that use them.
ASKED = {"lib/tile.cuh", "lib/tile_tensor.cuh", "layers/conv2d/direct.cuh"}
# Files that a header's mutant is compiled into at first, and how many where no test sees it there.
AT_FIRST, AT_MOST = 1, 6


def binary():
    """The tests of kernels, as they were last built when this began: cargo may build them anew meanwhile."""
    copy = HOME / f"kernels-{os.getpid()}"
    if not copy.exists():
        found = sorted((ROOT / "target/release/deps").glob("kernels-*"), key=lambda path: path.stat().st_mtime)
        HOME.mkdir(parents=True, exist_ok=True)
        shutil.copy2(next(path for path in reversed(found) if path.suffix == "" and os.access(path, os.X_OK)), copy)
        atexit.register(copy.unlink)
    return copy


def test(name, limit, **variables):
    """Runs a test by its name. Returns (whether it passed, seconds of the processor, what it says); None for passed where it does not end
    after `limit` such seconds."""
    before = os.times()
    # The processor's time, not the clock's: others may be using the machine. Only what the test itself computes counts, not g++.
    run = subprocess.Popen([binary(), "--exact", name, "--nocapture"], cwd=ROOT, env={**os.environ, **variables}, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 1)))
    said = run.communicate()[0]
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    passed = None if run.returncode in (-signal.SIGXCPU, -signal.SIGKILL) else run.returncode == 0
    return passed, used, said


def reach(_):
    """Runs each test alone, and writes reach.json: test → {seconds, operation → kernels}."""
    HOME.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run([binary(), "--list"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    names = re.findall(r"^(\S+): test$", listed, re.M)
    file, notes = HOME / "reach.json", HOME / "notes"
    known = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        if name in known or name.startswith(ON_A_GPU):
            continue
        notes.unlink(missing_ok=True)
        passed, seconds, said = test(name, 600, VGAN_TEST_REACHED=str(notes))
        kernels = {}
        for line in set(notes.read_text().splitlines()) if notes.exists() else ():
            _, operation, kernel = line.rsplit(" ", 2)
            kernels.setdefault(operation, set()).add(kernel)
        if not passed:
            print(f"FAILED without any mutant: {name}\n{said[-2000:]}", file=sys.stderr)
            continue
        known[name] = {"seconds": round(seconds, 2), "kernels": {op: sorted(found) for op, found in sorted(kernels.items())}}
        file.write_text(json.dumps(known, indent=1))
        print(f"{seconds:7.1f} s  {name}: {len(set().union(*kernels.values()))} kernels", flush=True)


def object_of(source, form, folder):
    """The object code of a kernel file in a form, or None where it does not compile."""
    include = sorted((ROOT / "target/release/build").glob("vgan-cuda-*/out/include"), key=lambda path: path.stat().st_mtime)[-1]
    simt, out = ROOT / "tests/simt/include", Path(folder) / "object.o"
    out.unlink(missing_ok=True)
    command = [*COMPILE, *FORMS[form], "-I", simt, "-include", simt / "simt.h", "-I", program.KERNELS, "-I", include, "-c", source, "-o", out]
    done = subprocess.run(list(map(str, command)), capture_output=True)
    return out.read_bytes() if done.returncode == 0 else None


def forms_of(file):
    return ["f32", "bf16"] if re.search(r"_(tensor|wide)\.cu$", file) else list(FORMS)


def same_object(mutation, file, form, folder):
    """Whether the object code of a file is byte for byte that of the original."""
    scratch, objects = Path(folder), []
    # Headers are copied beside for the original too, so that paths are alike.
    for one in (sites.Mutation(mutation.file, 0, 0, "", "", 0), mutation):
        shutil.rmtree(scratch / "compared", ignore_errors=True)
        program.place(one, [file], scratch / "compared")
        objects.append(object_of(scratch / "compared" / file, form, scratch))
    return objects[0] == objects[1]


def ordered(file, seed):
    """A file's mutations in the order in which they are tried: kind after kind, by the seed."""
    chance = random.Random(f"{seed} {file}")
    by_kind = {}
    for mutation in sites.mutations(file):
        by_kind.setdefault(mutation.kind, []).append(mutation)
    for found in by_kind.values():
        chance.shuffle(found)
    kinds, order = list(by_kind), []
    while any(by_kind.values()):
        chance.shuffle(kinds)
        order += [by_kind[kind].pop() for kind in kinds if by_kind[kind]]
    return order


def wanted(file, share, kind):
    """How many of a file's mutations of these kinds are to be judged: more of larger files, by the root."""
    count = sum(bool(re.search(kind, mutation.kind)) for mutation in sites.mutations(file))
    return min(count, max(2, round(share * count**0.5)))


def key(mutation):
    return f"{mutation.file}:{mutation.start}:{mutation.end}:{mutation.new}"


class Judge:
    """One of those who judge mutants side by side, each with files and a cache of its own."""

    def __init__(self, number, reached, longest):
        self.folder = HOME / f"judge-{os.getpid()}-{number}"
        self.reached = {name: known for name, known in reached.items() if name in BY_CASES or known["seconds"] <= longest}
        self.cache = self.folder / "cache"
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        own = Path(os.environ.get("SIMT_CACHE") or ROOT / "target/simt")
        shutil.copytree(own, self.cache, copy_function=os.link)
        self.original = set(os.listdir(self.cache))

    def chosen(self, files, count):
        """A header's mutant goes into the files that take least to compile, in f64 too."""
        size = lambda file: sum(len(program.text_of(name)) for name in program.included(file) | {file})
        order = sorted(files, key=lambda file: ("f64" not in forms_of(file), size(file), file))
        return order[:count]

    def judge(self, mutation):
        """What came of a mutant, as a line of results.jsonl."""
        began = time.time()
        kernels = program.reached(mutation.file, mutation.start)
        line = {"key": key(mutation), "file": mutation.file, "line": mutation.line, "kind": mutation.kind, "new": mutation.new,
                "old": program.text_of(mutation.file)[mutation.start : mutation.end], "kernels": sorted(kernels)}
        if not kernels:
            return {**line, "verdict": "no kernel"}
        files = set(kernels.values()) if mutation.file.endswith("h") else {mutation.file}
        rounds = [self.chosen(files, AT_FIRST)] + ([self.chosen(files, AT_MOST)] if min(len(files), AT_MOST) > AT_FIRST else [])
        # Most dropped casts change nothing, and many tests would pass. Of others only survivors are compared.
        if mutation.kind == "cast dropped" and self.is_same(mutation, files):
            return {**line, "verdict": "same code"}
        ran = 0
        for some in rounds:
            done, found = self.tests(mutation, some, {name for name, file in kernels.items() if file in some})
            ran += done
            if found:
                return {**line, **found, "tests": ran, "seconds": round(time.time() - began, 1)}
        same = mutation.kind not in ("cast dropped", "control") and self.is_same(mutation, files)
        verdict = "same code" if same else "survived"
        return {**line, "verdict": verdict, "tests": ran, "seconds": round(time.time() - began, 1)}

    def is_same(self, mutation, files):
        """Whether all files that have the mutant give the same object code, in every form: one by one, for most differ in the first."""
        return all(same_object(mutation, file, form, self.folder) for file in files for form in forms_of(file))

    def tests(self, mutation, files, kernels):
        """Runs what reaches these kernels until a test fails: how many tests ran, and the verdict."""
        place = self.folder / "kernels"
        shutil.rmtree(place, ignore_errors=True)
        program.place(mutation, files, place)
        if mutation.file.endswith("h"):
            header = place / "headers" / mutation.file
            header.parent.mkdir(parents=True)
            header.write_text(mutation.apply(program.text_of(mutation.file)))
        variables = {"VGAN_TEST_KERNELS": str(place), "SIMT_CACHE": str(self.cache)}
        number = 0
        for number, (name, operations, seconds) in enumerate(self.plan(mutation, kernels), 1):
            limit = max(8, 6 * seconds)
            cases = {"VGAN_TEST_CASES": ",".join(operations)} if operations else {}
            passed, _, said = test(name, limit, **variables, **cases)
            self.tidy()
            if not passed:
                if "g++ failed" in said or "cannot load" in said:
                    return number, {"verdict": "does not compile", "said": said[-600:]}
                verdict = "caught" if passed is False else "time-out"
                return number, {"verdict": verdict, "test": name, "said": summary(said)}
        return number, None

    def plan(self, mutation, kernels):
        """The tests that reach any of these kernels: those of cases first, then the others, the shortest first."""
        found = []
        for name, known in self.reached.items():
            operations = [op for op, launched in known["kernels"].items() if kernels & set(launched)]
            asks_header = mutation.file in ASKED and name.startswith(("tile_access::", "tensor_cores::")) and not known["kernels"]
            if operations or asks_header:
                found.append((name, [] if NO_CASE in known["kernels"] else operations, known["seconds"]))
        first = {name: place for place, name in enumerate(BY_CASES)}
        return sorted(found, key=lambda one: (first.get(one[0], len(first)), one[2]))

    def tidy(self):
        """What was compiled of mutants alone goes."""
        for name in set(os.listdir(self.cache)) - self.original:
            path = self.cache / name
            if name.endswith(".so") or path.stat().st_mtime < time.time() - 900:
                path.unlink(missing_ok=True)


def summary(said):
    """The first line of a failure that says something."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(("running", "test ", "SKIPPED"))]
    at = next((i for i, line in enumerate(lines) if "panicked" in line), 0)
    return " ".join(lines[at : at + 3])[:300]


def run(options):
    HOME.mkdir(parents=True, exist_ok=True)
    results = HOME / "results.jsonl"
    reached = json.loads((HOME / "reach.json").read_text())
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    seen = {line["key"] for line in done}
    judged = {}
    for line in done:
        counts = line["verdict"] in table.JUDGED and bool(re.search(options.kind, line["kind"]))
        judged[line["file"]] = judged.get(line["file"], 0) + counts
    files = [file for file in sites.files() if re.search(options.only, file)]
    orders = {file: iter([one for one in ordered(file, options.seed) if key(one) not in seen and re.search(options.kind, one.kind)])
              for file in files}
    need = {file: wanted(file, options.share, options.kind) for file in files}
    lock, end = threading.Lock(), time.time() + 60 * options.minutes

    def next_one():
        """One of the file that lacks most of its share, so that whatever ends the run has seen all files."""
        with lock:
            while time.time() < end:
                open_files = [file for file in files if judged.get(file, 0) < need[file] and orders[file]]
                if not open_files:
                    return None
                file = min(open_files, key=lambda file: (judged.get(file, 0) / need[file], file))
                mutation = next(orders[file], None)
                if mutation is None:
                    orders[file] = None
                    continue
                judged[file] = judged.get(file, 0) + 1
                return mutation
        return None

    def work(number):
        judge = Judge(number, reached, options.longest)
        while mutation := next_one():
            line = judge.judge(mutation)
            with lock:
                judged[mutation.file] -= line["verdict"] not in table.JUDGED
                with results.open("a") as out:
                    out.write(json.dumps(line) + "\n")
            shown = mutation.new.replace("\n", " ")[:40]
            old = line["old"].replace("\n", " ")[:40]
            print(f"{line['verdict']:16} {mutation.file}:{mutation.line} {mutation.kind}: {old} → {shown}  "
                  f"{line.get('test', '')} {line.get('seconds', '')}", flush=True)

    binary()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(options.judges)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def again(options):
    """Judges survivors anew, with all tests and in all files that a header's mutant reaches."""
    global AT_MOST
    AT_MOST = options.files
    results = HOME / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    kept = [line for line in lines if line["verdict"] != "survived" or not re.search(options.only, line["key"])]
    results.write_text("".join(json.dumps(line) + "\n" for line in kept))
    reached = json.loads((HOME / "reach.json").read_text())
    judge = Judge(9, reached, options.longest)
    for line in lines:
        if line in kept:
            continue
        mutation = next(one for one in sites.mutations(line["file"]) if key(one) == line["key"])
        line = judge.judge(mutation)
        with results.open("a") as out:
            out.write(json.dumps(line) + "\n")
        print(line["verdict"], line["key"], line.get("test", ""), flush=True)


def control(options):
    """Puts unchanged copies in the place of each file, as mutants are put: every test has to pass."""
    global AT_MOST
    AT_MOST = AT_FIRST
    judge = Judge(8, json.loads((HOME / "reach.json").read_text()), options.longest)
    failed = 0
    for file in sites.files():
        mutation = next((one for one in ordered(file, 1) if program.reached(file, one.start)), None)
        if not mutation or not re.search(options.only, file):
            continue
        unchanged = sites.Mutation(file, mutation.start, mutation.start, "", "control", mutation.line)
        line = judge.judge(unchanged)
        failed += line["verdict"] != "survived"
        print(f"{line['verdict']:16} {file}, {line.get('tests', 0)} tests {line.get('test', '')}", flush=True)
    print(f"{failed} files failed without a mutant")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("reach").set_defaults(do=reach)
    running = commands.add_parser("run")
    running.add_argument("--seed", type=int, default=1)
    running.add_argument("--share", type=float, default=0.45, help="mutants of a file: this times the root of its number of mutations")
    running.add_argument("--only", default="", help="a regular expression that a file's path contains")
    running.add_argument("--kind", default="", help="a regular expression that a mutation's kind contains")
    running.add_argument("--minutes", type=float, default=1e9)
    running.add_argument("--longest", type=float, default=1e9, help="leave out tests that take more seconds")
    running.add_argument("--judges", type=int, default=2)
    running.set_defaults(do=run)
    anew = commands.add_parser("again")
    anew.add_argument("--only", default="")
    anew.add_argument("--longest", type=float, default=1e9)
    anew.add_argument("--files", type=int, default=99, help="files at most that a header's mutant is compiled into")
    anew.set_defaults(do=again)
    unchanged = commands.add_parser("control")
    unchanged.add_argument("--only", default="")
    unchanged.add_argument("--longest", type=float, default=1e9)
    unchanged.set_defaults(do=control)
    commands.add_parser("table").set_defaults(do=lambda _: table.show(HOME / "results.jsonl"))
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
