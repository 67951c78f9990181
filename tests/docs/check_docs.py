#!/usr/bin/env python3
"""Keeps the documents true: runs what they show and compares what comes out.

    check_docs.py --seqm BUILD/seqm --source . [--update] [FILE.md...]

What is checked, in every .md file of the repository (or in those named):
- ```console  transcripts: each line `$ command` is run in the root of the source, with the built
              `seqm` in the path; what it prints (stdout, then stderr) must be the lines below it.
              --update writes what was printed into the document instead.
- ```sh       lines that begin with `build/seqm` are run, and must succeed. A file that is not there
              and that no command of the block makes is a reason to leave the line out, if it is
              one of MAY_MISS.
- ```seqm     `seqm check` must accept it. A block without a model stands in one. Comments inside:
                # error: TEXT     it must be refused instead, with TEXT in the message
                # $ ARGUMENTS     `seqm run` with these must print the comment lines below, on the
                                  CPU and on the interpreter; `# fails: TEXT`: it must fail so
- ```c        must compile (syntax and types); without a function it stands in `main`.
- links       every relative link leads to a file or folder, `#part` to a heading of it.
- paths       in backquotes, beginning with a folder of the root, exist.
- READMEs     of source folders name every source file of the folder.
- gallery     examples/README.md: in a row of a table that begins with `NAME.seqm`, a cell that is a
              number is the file's length in lines, at most MOST_LINES, the cell behind it names the passes
              that `seqm explain` says have done something (--update writes both), and the last
              cell's command behind `seqm run examples/` runs.
Prints one line for each fault: file:line: what. The exit status is 1 when there is one.
"""

import argparse
import difflib
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOTS = "base ir frontend passes codegen runtime tools lang examples tests scripts cmake".split()
SOURCES = (".c", ".h", ".def", ".l", ".y", ".seqm", ".sh", ".in", ".cmake", ".map", ".py")
DESCRIBED = ["base", "ir", "frontend", "passes", "codegen", "codegen/cpu", "runtime", "tools",
             "lang/std", "examples", "examples/host", "scripts", "cmake"]
MOST_LINES = 250  # of an example: it is read as a whole
MAY_MISS = {"model.safetensors"}
FENCE = re.compile(r"^(\s*)```(\w*)\s*$")


class Checker:
    def __init__(self, source, seqm, scratch, update):
        self.source, self.scratch, self.update = source, scratch, update
        self.faults = 0
        self.seqm = seqm
        self.env = dict(os.environ, LC_ALL="C", XDG_CACHE_HOME=os.path.join(scratch, "cache"),
                        PATH=os.path.join(scratch, "build") + os.pathsep + os.environ["PATH"])
        # The commands see the source through links and write beside them.
        os.mkdir(os.path.join(scratch, "build"))
        os.symlink(seqm, os.path.join(scratch, "build", "seqm"))
        for name in os.listdir(source):
            if not name.startswith((".", "build")):
                os.symlink(os.path.join(source, name), os.path.join(scratch, name))
        for name in ("ids", "mask"):
            os.symlink(os.path.join(source, "tests", "models", "data", f"minilm_{name}.npy"),
                       os.path.join(scratch, name + ".npy"))
        weights = os.environ.get("SEQM_MINILM")
        if weights:
            os.symlink(os.path.join(weights, "model.safetensors"),
                       os.path.join(scratch, "model.safetensors"))

    def fault(self, path, line, text):
        self.faults += 1
        print(f"{path}:{line}: {text}")

    def run(self, command):
        r = subprocess.run(["sh", "-c", command], cwd=self.scratch, env=self.env, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600, check=False)
        return r.returncode, r.stdout, r.stderr

    # ---- blocks: each takes the lines between the fences and returns what should stand there ------

    def console(self, path, at, lines):
        out, k = [], 0
        while k < len(lines):
            command, start = lines[k], at + k
            if not command.startswith("$ "):
                self.fault(path, start, "a transcript begins with `$ command`")
                return lines
            k += 1
            shown = []
            while k < len(lines) and not lines[k].startswith("$ "):
                shown.append(lines[k])
                k += 1
            _, stdout, stderr = self.run(command[2:])
            got = (stdout + stderr).rstrip("\n").split("\n")
            got = [g.rstrip() for g in got] if got != [""] else []
            end = [""] if k < len(lines) and shown and not shown[-1] else []
            while shown and not shown[-1]:
                shown.pop()
            if self.near(got, shown):
                got = shown  # other machines round otherwise
            elif not self.update:
                self.fault(path, start, f"`{command[2:]}` prints something else:")
                for d in list(difflib.unified_diff(shown, got, "shown", "printed", lineterm=""))[:40]:
                    print("    " + d)
            out += [command] + got + end
        return out

    @staticmethod
    def near(got, shown):
        """Equal, but that numbers with a point in printed results may differ by rounding."""
        number = r"-?\d+\.\d+(?:e[+-]?\d+)?"
        if len(got) != len(shown):
            return False
        for g, s in zip(got, shown):
            if g == s:
                continue
            result = re.match(r"\w+: \w+\[| *\[", g)
            if not result or re.sub(number, "#", g) != re.sub(number, "#", s) or not all(
                    abs(float(a) - float(b)) <= 1e-5 * abs(float(b))
                    for a, b in zip(re.findall(number, g), re.findall(number, s))):
                return False
        return True

    def sh(self, path, at, lines):
        text = "\n".join(lines).replace("\\\n", " ")
        for line in text.split("\n"):
            if not line.lstrip().startswith("build/seqm"):
                continue
            command = line.split("  #")[0]
            missing = [m for m in MAY_MISS if m in command
                       and not os.path.exists(os.path.join(self.scratch, m))]
            if missing:
                print(f"{path}:{at}: left out without {missing[0]}: {command.strip()}")
                continue
            status, _, stderr = self.run(command)
            if status:
                self.fault(path, at, f"`{command.strip()}` gives status {status}\n{stderr}")
        return lines

    def language(self, path, at, lines):
        text = "\n".join(lines) + "\n"
        if not re.search(r"^model\b", text, re.M):
            uses = "".join(l + "\n" for l in lines if l.startswith("use "))
            rest = "".join(l + "\n" for l in lines if not l.startswith("use "))
            text = uses + "model example() {\n" + rest + "}\n"
        file = os.path.join(self.scratch, "block.seqm")
        with open(file, "w", encoding="utf-8") as f:
            f.write(text)
        refused = [l.strip()[9:] for l in lines if l.strip().startswith("# error: ")]
        status, _, stderr = self.run("seqm check block.seqm")
        if refused:
            if status != 1:
                self.fault(path, at, f"is accepted; expected: {refused[0]}")
            for part in refused:
                if part not in stderr:
                    self.fault(path, at, f"does not say `{part}`, but:\n{stderr}")
            return lines
        if status:
            self.fault(path, at, f"`seqm check` refuses it:\n{stderr}")
            return lines
        k = 0
        while k < len(lines):
            line = lines[k].strip()
            k += 1
            if not line.startswith("# $ "):
                continue
            start, shown = at + k - 1, []
            while k < len(lines) and re.match(r"\s*# (?!\$ )", lines[k]):
                shown.append(lines[k].strip()[2:])
                k += 1
            for target in ("cpu", "interp"):
                status, stdout, stderr = self.run(f"seqm run block.seqm --target {target} {line[4:]}")
                got = (stdout + stderr).split("\n")[:-1]
                if shown and shown[0].startswith("fails: "):
                    ok = status == 1 and shown[0][7:] in stderr
                else:
                    ok = not status and same(got, shown)
                if not ok:
                    self.fault(path, start, f"`{line[4:]}` gives on {target}:\n" + "\n".join(got))
        return lines

    def c(self, path, at, lines):
        text = "\n".join(lines) + "\n"
        if not re.search(r"^\w.*\)\s*\{$", text, re.M):
            text = "int main(void) {\n" + text + "}\n"
        text = '#include "seqm.h"\n#include "seqm_compiler.h"\n#include <stdio.h>\n' + text
        file = os.path.join(self.scratch, "block.c")
        with open(file, "w", encoding="utf-8") as f:
            f.write(text)
        status, _, stderr = self.run("cc -std=gnu17 -fsyntax-only -Wall -Werror -Wno-unused-variable "
                                     "-I runtime -I tools block.c")
        if status:
            self.fault(path, at, "does not compile:\n" + stderr)
        return lines

    # ---- documents --------------------------------------------------------------------------------

    def document(self, path):
        with open(os.path.join(self.source, path), encoding="utf-8") as f:
            lines = f.read().split("\n")
        kinds = {"console": self.console, "sh": self.sh, "seqm": self.language, "c": self.c}
        out, prose, k = [], [], 0
        while k < len(lines):
            m = FENCE.match(lines[k])
            out.append(lines[k])
            if not m:
                prose.append((k + 1, lines[k]))
                k += 1
                continue
            indent, kind = m.groups()
            end = k + 1
            while end < len(lines) and lines[end].strip() != "```":
                end += 1
            if end == len(lines):
                self.fault(path, k + 1, "this block does not end")
            body = [l[len(indent):] for l in lines[k + 1 : end]]
            if kind in kinds:
                body = kinds[kind](path, k + 2, body)
            out += [(indent + l).rstrip() for l in body] + lines[end : end + 1]
            k = end + 1
        for number, text in prose:
            self.prose(path, number, text)
        if path == "examples/README.md":
            out = [self.gallery(path, k + 1, l) for k, l in enumerate(out)]
        if self.update and out != lines:
            with open(os.path.join(self.source, path), "w", encoding="utf-8") as f:
                f.write("\n".join(out))
            print(f"{path}: written anew")

    def prose(self, path, number, text):
        folder = os.path.dirname(path)
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, part = target.partition("#")
            full = os.path.normpath(os.path.join(self.source, folder, file)) if file \
                else os.path.join(self.source, path)
            if not os.path.exists(full):
                self.fault(path, number, f"the link `{target}` leads nowhere")
            elif part and part not in headings(full):
                self.fault(path, number, f"no heading for the link `{target}`")
        for token in re.findall(r"`([^`\s]+)`", text):
            if token.split("/")[0] in ROOTS and re.fullmatch(r"[a-z0-9_./-]+", token) \
                    and "/" in token and not re.search(r"\d+/", token):
                if not os.path.exists(os.path.join(self.source, token)) and \
                        not os.path.exists(os.path.join(self.source, token + ".c")) and \
                        not token.startswith(("ops/", "tests/test_")):
                    self.fault(path, number, f"there is no `{token}`")

    def gallery(self, path, number, row):
        m = re.match(r"\| `(\w+\.seqm)` \|", row)
        if not m:
            return row
        with open(os.path.join(self.source, "examples", m[1]), encoding="utf-8") as f:
            lines = str(f.read().count("\n"))
        cells = row.split("|")
        at = next((k for k, c in enumerate(cells) if re.fullmatch(r" \d+ ", c)), None)
        if at is None or at + 2 >= len(cells):
            self.fault(path, number, "no cell holds the number of lines, or none the passes behind it")
            return row
        if int(lines) > MOST_LINES:
            self.fault(path, number, f"{m[1]} has {lines} lines, more than {MOST_LINES}")
        for k, now in ((at, lines), (at + 1, self.rewrites(path, number, m[1]))):
            if cells[k].strip() != now and self.update:
                cells[k] = f" {now} "
            elif cells[k].strip() != now:
                self.fault(path, number, f"{m[1]} has `{now}`, not `{cells[k].strip()}`")
        command = re.fullmatch(r" `(\w+\.seqm .*)` ", cells[-2])
        if not command:
            self.fault(path, number, "the last cell is not a command")
        else:
            status, _, text = self.run("seqm run examples/" + command[1])
            if status:
                self.fault(path, number, f"`{command[1]}` fails: {text.strip()[-300:]}")
        return "|".join(cells)

    def rewrites(self, path, number, model):
        """The passes that changed something, by `seqm explain`, in the order of the alphabet."""
        status, text, errors = self.run("seqm explain examples/" + model)
        if status:
            self.fault(path, number, f"`seqm explain` fails: {errors.strip()[-300:]}")
        return " ".join(sorted(set(re.findall(r": done (\w+): ", text))))

    def folder(self, folder):
        """Every source file of the folder is named in its README (or in that of the folder above)."""
        full = os.path.join(self.source, folder)
        readme = os.path.join(folder, "README.md")
        if not os.path.exists(os.path.join(self.source, readme)):
            readme = os.path.join(os.path.dirname(folder), "README.md")
        if not os.path.exists(os.path.join(self.source, readme)):
            self.fault(readme, 1, "is missing")
            return
        with open(os.path.join(self.source, readme), encoding="utf-8") as f:
            named = {os.path.basename(t.rstrip("/")) for t in re.findall(r"`([^`\s]+)`", f.read())}
        for file in sorted(os.listdir(full)):
            stem, extension = os.path.splitext(file)
            if extension in SOURCES and file != "CMakeLists.txt" and \
                    not any(stem == os.path.splitext(n)[0] or fnmatch.fnmatch(file, n) for n in named):
                self.fault(readme, 1, f"does not say what {folder}/{file} is for")


def same(got, shown):
    """Line by line; a last line `...` stands for whatever follows."""
    if shown and shown[-1] == "...":
        return got[: len(shown) - 1] == shown[:-1]
    return got == shown


def headings(path):
    """The names under which the headings of a document are linked."""
    if not path.endswith(".md"):
        return set()
    with open(path, encoding="utf-8") as f:
        found = re.findall(r"^#+ (.*)$", f.read(), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in found}


def documents(source):
    r = subprocess.run(["git", "-C", source, "ls-files", "--cached", "--others", "--exclude-standard",
                        "*.md"], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                       check=False)
    if not r.returncode and r.stdout:
        return sorted(set(f for f in r.stdout.split("\n") if f))
    found = []
    for folder, inside, files in os.walk(source):
        inside[:] = [d for d in inside if not d.startswith((".", "build"))]
        found += [os.path.relpath(os.path.join(folder, f), source) for f in files if f.endswith(".md")]
    return sorted(found)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--seqm", required=True)
    p.add_argument("--source", default=".")
    p.add_argument("--update", action="store_true")
    p.add_argument("files", nargs="*")
    a = p.parse_args()
    scratch = tempfile.mkdtemp(prefix="seqm-docs-")
    try:
        checker = Checker(os.path.abspath(a.source), os.path.abspath(a.seqm), scratch, a.update)
        for path in a.files or documents(a.source):
            checker.document(path)
        if not a.files:
            for folder in DESCRIBED:
                checker.folder(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print("the documents are true" if not checker.faults else f"{checker.faults} faults")
    return 1 if checker.faults else 0


if __name__ == "__main__":
    sys.exit(main())
