#!/usr/bin/env python3
"""What `seqm explain` finds in a model depends neither on names nor on the order of factors.

    check_explain.py --seqm build/seqm --source . NAME[:PRESET]...

Every name that examples/NAME.seqm itself makes is given another ending; scans, attention and
contractions must be found at the same lines with the same words, and products of the same rows joined, but
for that ending. Names of the
library and of checkpoints (in quotes) stay. Products of two elements are turned round.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

ENDING = "_renamed"
TOKEN = re.compile(r'"[^"\n]*"|#[^\n]*|\b\d[\w.]*|\b[A-Za-z_]\w*\b|.|\n')
NAME = re.compile(r"[A-Za-z_]\w*$")


def names(text):
    return {t for t in TOKEN.findall(text) if NAME.match(t)}


def words_of_the_language(source):
    """Keywords and functions: whatever the library, the reference or the grammar mentions."""
    found = set()
    folder = os.path.join(source, "lang", "std")
    for file in os.listdir(folder):
        if file.endswith(".seqm"):
            found.add(file[: -len(".seqm")])
            with open(os.path.join(folder, file), encoding="utf-8") as f:
                found |= names(f.read())
    for file in ("lang/reference.md", "lang/grammar.md"):
        with open(os.path.join(source, file), encoding="utf-8") as f:
            for word in re.findall(r"`([^`\n]+)`|\"(\w+)\"", f.read()):
                found |= names(" ".join(word))
    return found


def rename(text, keep):
    def one(token):
        if token[0] == '"':  # names in braces inside quotes are the model's
            return re.sub(r"\{(\w+)\}", lambda m: "{" + one(m[1]) + "}", token)
        return token + ENDING if NAME.match(token) and token not in keep else token

    out, previous = [], ""
    for token in TOKEN.findall(text):
        # `model NAME` and members of the library's modules keep theirs.
        out.append(token if previous == "model" else one(token))
        previous = token if token.strip() else previous
    return "".join(out)


def turn(text):
    """b[j] * a[i] for a[i] * b[j], where nothing binds more tightly on either side."""
    element = r"(\w+\[[^\[\]\n]*\])"
    return re.subn(r"(?<![*/%^] )" + element + r" \* " + element + r"(?!\[| \^)", r"\2 * \1", text)


def found(seqm, path, preset):
    command = [seqm, "explain", path] + (["--preset", preset] if preset else [])
    r = subprocess.run(command, capture_output=True, text=True, check=False)
    if r.returncode:
        sys.exit(f"seqm explain {path}: {r.stderr}")
    lines = []
    for line in r.stdout.splitlines():
        m = re.match(r"(.*):(\d+):\d+: ((?:found \w+|(?:not )?done (?:stream|siblings)): .*)$", line)
        if m:
            text = re.sub(r"\((\w+\.seqm:)?(\d+):\d+\)", r"(\1\2)", m[3].replace(ENDING, ""))
            text = re.sub(r"\bat (\w+\.seqm:)?(\d+):\d+", r"at \1\2", text)
            lines.append((os.path.basename(m[1]), int(m[2]), text))
    return sorted(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seqm", required=True)
    parser.add_argument("--source", default=".")
    parser.add_argument("names", nargs="+")
    args = parser.parse_args()
    keep, failed = words_of_the_language(args.source), 0
    for name, _, preset in (n.partition(":") for n in args.names):
        path = os.path.join(args.source, "examples", name + ".seqm")
        if not os.path.exists(path):
            sys.exit(f"there is no {path}")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        with tempfile.TemporaryDirectory() as folder:
            other = os.path.join(folder, name + ".seqm")
            changed, turned = turn(rename(text, keep))
            with open(other, "w", encoding="utf-8") as f:
                f.write(changed)
            other_preset = preset and preset + ENDING
            before, after = found(args.seqm, path, preset), found(args.seqm, other, other_preset)
        renamed = changed.count(ENDING)
        ok = bool(before) and before == after and renamed > 10
        failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {len(before)} places, {renamed} names and {turned} products changed")
        for line in (set(before) ^ set(after) if not ok else ()):
            print("    ", "was" if line in before else "now", line)
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
