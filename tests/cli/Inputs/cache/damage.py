"""Runs a command with a cache that is damaged in many ways: its output stays what it was.

    damage.py CACHE COMMAND...
"""

import os
import random
import shutil
import subprocess
import sys

folder, command = sys.argv[1], sys.argv[2:]


def run():
    r = subprocess.run(command, check=False, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"status {r.returncode}: {r.stderr}")
    return r.stdout, "unchanged" in r.stderr


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def main():
    rng = random.Random(1)
    right, warm = run()
    assert not warm and run() == (right, True)
    names = sorted(os.listdir(folder))
    files = {n: open(os.path.join(folder, n), "rb").read() for n in names}
    assert sorted(n.rsplit(".", 1)[1] for n in names) == ["model", "o"], names
    for n, data in files.items():
        path = os.path.join(folder, n)
        other = next(d for m, d in files.items() if m != n)
        cuts = [data[:k] for k in (0, 7, 40, 112, 113, len(data) // 2, len(data) - 1)]
        flips = []
        for _ in range(5):
            at = rng.randrange(len(data) if rng.random() < 0.5 else 112)
            flips.append(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
        for bad in cuts + flips + [other, data + b"x"]:
            write(path, bad)
            got, known = run()
            assert got == right, n
            assert known == (not n.endswith(".model")), n
            assert run() == (right, True), n  # mended
        os.remove(path)
        os.mkdir(path)
        assert run()[0] == right, n
        shutil.rmtree(path)
        run()
    assert run()[0] == right


main()
