"""Where a kernel's text can be mutated, and how: a list of small changes, each of a kind that programmers make by mistake.

The text is taken apart into tokens, not parsed: the kernels are formatted by one rule (spaces around binary operators, none around the
angle brackets of templates or the stars of pointers), and a change that does not compile is dropped when it is tried.
"""

import re
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
# Constants that the host counts with as well, which a mutant of the kernels alone would not change there; and instructions in PTX, which the
# emulator does not compile.
LEFT_OUT = {"lib/launch.h", "lib/ptx.cuh"}

TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<number>0[xX][0-9a-fA-F]+[uUlL]*|(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?[fFuUlL]*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<op><<=|>>=|->|::|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]\#\\])
    """,
    re.X | re.S,
)

ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/"}
COMPARISONS = {"<": ["<=", ">"], "<=": ["<", ">"], ">": [">=", "<"], ">=": [">", "<"], "==": ["!="], "!=": ["=="]}
LOGICAL = {"&&": "||", "||": "&&", "&": "|", "|": "&", "^": "|", "<<": ">>", ">>": "<<"}
ASSIGNING = {"+=": ["=", "-="], "-=": ["=", "+="], "*=": ["=", "/="], "/=": ["=", "*="], "|=": ["=", "&="], "&=": ["=", "|="], "^=": ["="],
             ">>=": ["<<="], "<<=": [">>="]}
# What is put in the place of a member or a function: the other axis, the other side.
OTHER = {"x": "y", "y": "x", "z": "x", "w": "h", "h": "w", "ow": "oh", "oh": "ow", "c": "k", "k": "c", "mean": "inverse", "inverse": "mean",
         "across": "depth", "depth": "across", "low": "middle", "middle": "low", "from": "to", "to": "from", "rows": "columns",
         "columns": "rows", "top": "left", "left": "top", "bottom": "right", "right": "bottom", "first_stream": "second_stream",
         "second_stream": "first_stream", "gamma": "inverse", "kl_real": "kl_fake", "kl_fake": "kl_real", "d_real": "d_fake",
         "d_fake": "d_real", "loss_d": "loss_g", "loss_g": "loss_d", "r": "s", "s": "r"}
BUILT_IN = {"threadIdx": "blockIdx", "blockIdx": "threadIdx", "blockDim": "gridDim", "gridDim": "blockDim"}
CALLED = {"min": "max", "max": "min", "sqrt": "", "fabs": "", "sqrtf": "", "isfinite": "!isfinite", "isnan": "!isnan", "exponential": "",
          "__umulhi": "", "tanh": "", "log": ""}
BARRIERS = {"__syncthreads", "__syncwarp", "__threadfence"}
ROUNDING = {"real", "float", "double", "stored"}
WORDS = {"return", "if", "for", "while", "else", "do", "const", "constexpr", "static", "using", "template", "struct", "typename", "continue",
         "break", "SHARED", "KERNEL", "KERNEL_BOUNDED", "auto", "public", "private", "enum", "static_assert", "extern"}


@dataclass
class Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Mutation:
    """`text[start:end]` becomes `new`."""

    file: str
    start: int
    end: int
    new: str
    kind: str
    line: int

    def apply(self, text):
        return text[: self.start] + self.new + text[self.end :]


def compiled(text):
    """For each line whether the emulator compiles it: it defines SIMT, and STORED_BF16 in one of its forms."""
    live, stack = [], []
    for line in text.split("\n"):
        words = line.split()
        directive = words[0] if words and words[0].startswith("#") else ""
        if directive in ("#ifdef", "#ifndef", "#if"):
            condition = line.split(None, 1)[1]
            never = (directive == "#ifndef" and condition == "SIMT") or "!defined(SIMT)" in condition or "__CUDA_ARCH__" in condition
            always = directive == "#ifdef" and condition == "SIMT"
            stack.append([not never, not always])
        live.append(all(branch for branch, _ in stack))
        if directive == "#else":
            stack[-1] = [stack[-1][1], True]
        elif directive == "#endif":
            stack.pop()
    return live


def tokens(text):
    """The tokens of what is compiled, without comments and directives other than macros of the kernels' own."""
    live = compiled(text)
    found, skip_to = [], -1
    for match in TOKEN.finditer(text):
        kind, start = match.lastgroup, match.start()
        line = text.count("\n", 0, start)
        if kind == "comment" or start < skip_to or not live[line]:
            continue
        if match.group() == "#":
            # Of a macro the body stays: its name and parameters, and every other directive, go.
            macro = re.compile(r"#define \w+\([^)]*\)").match(text, start)
            end = text.find("\n", start)
            skip_to = macro.end() if macro else (end if end >= 0 else len(text))
            continue
        if match.group() == "\\":
            continue
        found.append(Token(kind, match.group(), start, match.end()))
    return found


def closing(toks, at):
    """The place of the bracket that closes the one at `at`."""
    pairs, depth = {"(": ")", "[": "]", "{": "}"}, 0
    opened, closed = toks[at].text, pairs[toks[at].text]
    for i in range(at, len(toks)):
        depth += (toks[i].text == opened) - (toks[i].text == closed)
        if depth == 0:
            return i
    return None


class Finder:
    def __init__(self, file):
        self.file, self.text = file, (KERNELS / file).read_text()
        self.toks, self.found = tokens(self.text), []
        self.excluded = self.declarations()

    def declarations(self):
        """Places of tokens in parameter lists of kernels and functions, in template parameters, assertions and enumerations."""
        excluded, toks = set(), self.toks
        for i, tok in enumerate(toks):
            follows = toks[i + 1].text if i + 1 < len(toks) else ""
            if tok.text in ("static_assert", "KERNEL", "KERNEL_BOUNDED", "SHARED", "alignas") and follows == "(":
                excluded.update(range(i, closing(toks, i + 1) + 1))
            elif tok.text == "template" and follows == "<":
                end = next(j for j in range(i, len(toks)) if toks[j].text == ">")
                excluded.update(range(i, end + 1))
            elif tok.text in ("__device__", "inline", "__forceinline__") and toks[i - 1].text != "__device__" or tok.text == "__device__":
                opened = next((j for j in range(i, len(toks)) if toks[j].text == "("), None)
                if opened is not None:
                    excluded.update(range(i, closing(toks, opened) + 1))
        return excluded

    def add(self, start, end, new, kind):
        self.found.append(Mutation(self.file, start, end, new, kind, self.text.count("\n", 0, start) + 1))

    def spaced(self, tok):
        return self.text[tok.start - 1] in " \n" and self.text[tok.end : tok.end + 1] in (" ", "\n")

    def all(self):
        for i, tok in enumerate(self.toks):
            if i in self.excluded:
                continue
            before = self.toks[i - 1] if i else None
            after = self.toks[i + 1] if i + 1 < len(self.toks) else None
            if tok.kind == "op":
                self.operator(i, tok, before, after)
            elif tok.kind == "number":
                self.constant(tok, before)
            elif tok.kind == "name" and after:
                self.name(i, tok, before, after)
        return self.found

    def operator(self, i, tok, before, after):
        text = tok.text
        if text in "[" and text:
            self.subscript(i)
        elif text == "?" and before:
            self.choice(i)
        elif text in ("-", "!") and after and not self.spaced(tok) and before and before.text in "=(,?:{*+-/&&||return <>==":
            self.add(tok.start, tok.end, "", "sign or ! dropped")
        elif text in ("++", "--"):
            self.add(tok.start, tok.end, "--" if text == "++" else "++", "arithmetic")
        elif not self.spaced(tok) or not before:
            return
        elif text in ARITHMETIC:
            self.add(tok.start, tok.end, ARITHMETIC[text], "arithmetic")
        elif text in COMPARISONS:
            for new in COMPARISONS[text]:
                self.add(tok.start, tok.end, new, "comparison")
        elif text in LOGICAL:
            self.add(tok.start, tok.end, LOGICAL[text], "logic and bits")
        elif text in ASSIGNING:
            for new in ASSIGNING[text]:
                self.add(tok.start, tok.end, new, "assignment")

    def subscript(self, i):
        end = closing(self.toks, i)
        if end is None or end == i + 1 or self.toks[i - 1].kind != "name" and self.toks[i - 1].text not in ("]", ")"):
            return
        inside = self.text[self.toks[i].end : self.toks[end].start]
        following = self.toks[end + 1] if end + 1 < len(self.toks) else None
        self.add(self.toks[i].end, self.toks[end].start, f"({inside}) + 1", "index")
        if following and following.text == "[":
            second = closing(self.toks, end + 1)
            other = self.text[following.end : self.toks[second].start]
            if other != inside:
                self.add(self.toks[i].start, self.toks[second].end, f"[{other}][{inside}]", "index")

    def choice(self, i):
        """condition ? a : b, with the condition negated."""
        depth, j = 0, i - 1
        while j >= 0:
            text = self.toks[j].text
            if text in ")]}":
                depth += 1
            elif text in "([{":
                if depth == 0:
                    break
                depth -= 1
            elif depth == 0 and text in ("=", ",", ";", "return", "?", ":", "+=", "-=", "*="):
                break
            j -= 1
        start, end = self.toks[j + 1].start, self.toks[i - 1].end
        self.add(start, end, f"!({self.text[start:end]})", "condition negated")

    def constant(self, tok, before):
        text = tok.text
        if before and before.text in ("__launch_bounds__", "<"):
            return
        value = re.match(r"(0[xX][0-9a-fA-F]+|[0-9.]+(?:[eE][-+]?\d+)?)(.*)", text)
        digits, suffix = value.groups()
        declared = before and before.text == "=" and "sum" in self.text[self.text.rfind("\n", 0, tok.start) : tok.start]
        kind = "initial value" if declared else "constant"
        if "." in digits or "e" in digits and "x" not in digits:
            number = float(digits)
            self.add(tok.start, tok.end, ("1.0" if number == 0 else repr(number * 1.01)) + suffix, kind)
        elif digits.lower().startswith("0x"):
            self.add(tok.start, tok.end, f"0x{int(digits, 16) ^ 0x10:X}" + suffix, kind)
        else:
            number = int(digits)
            self.add(tok.start, tok.end, str(number + 1) + suffix, kind)
            if number > 0:
                self.add(tok.start, tok.end, str(number - 1) + suffix, kind)

    def name(self, i, tok, before, after):
        text = tok.text
        if text in BARRIERS and after.text == "(":
            end = self.toks[closing(self.toks, i + 1) + 1]
            if end.text == ";":
                self.add(tok.start, end.end, ";", "barrier removed")
        elif text.startswith("__syncthreads_") and after.text == "(":
            self.add(tok.start, tok.end, "", "barrier removed")
        elif text in CALLED and after.text == "(":
            self.add(tok.start, tok.end, CALLED[text], "other function")
        elif text in ("if", "while") and after.text == "(":
            end = closing(self.toks, i + 1)
            condition = self.text[after.end : self.toks[end].start]
            self.add(after.end, self.toks[end].start, f"!({condition})", "condition negated")
        elif text in ROUNDING and before and before.text == "(" and after.text == ")":
            follows = self.toks[i + 2] if i + 2 < len(self.toks) else None
            if follows and (follows.kind in ("name", "number") or follows.text in "(*"):
                self.add(before.start, after.end, "", "cast dropped")
        elif text in BUILT_IN:
            self.add(tok.start, tok.end, BUILT_IN[text], "other index or size")
        elif before and before.text in (".", "->") and text in OTHER:
            self.add(tok.start, tok.end, OTHER[text], "other index or size")
        elif text in ("continue", "return") and after.text == ";":
            self.add(tok.start, tok.end, "", "statement dropped")
        self.statement(i, tok, before)

    def statement(self, i, tok, before):
        """An assignment or a call whose result nobody takes: dropped."""
        if not before or before.text not in (";", "{", "}") or tok.text in WORDS | BARRIERS:
            return
        depth, assigned, called = 0, False, False
        for j in range(i, len(self.toks)):
            text = self.toks[j].text
            depth += (text in "([{") - (text in ")]}")
            if depth == 0 and text == ";":
                plain = self.text[tok.start : self.toks[j].start]
                declared = re.match(r"(const )?[\w:<>]+[&*]? \w+", plain)
                if (assigned and not declared) or (called and not declared):
                    self.add(tok.start, self.toks[j].end, ";", "statement dropped")
                return
            if depth < 0 or text == "{":
                return
            if depth == 0 and text in {"=", *ASSIGNING}:
                assigned = True
            if depth == 1 and text == "(" and j > i and not assigned:
                called = True


def files():
    """The files that are mutated, by their path below kernels/."""
    paths = sorted(path.relative_to(KERNELS).as_posix() for path in KERNELS.rglob("*.cu*"))
    return [path for path in paths if path not in LEFT_OUT]


def mutations(file):
    return Finder(file).all()
