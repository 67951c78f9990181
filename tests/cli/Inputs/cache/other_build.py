"""Changes one byte of the build id of an executable."""

import sys

with open(sys.argv[1], "r+b") as f:
    data = f.read()
    at = data.index(b"\x03\0\0\0GNU\0") + 8  # the note's type, its name, then the id
    f.seek(at)
    f.write(bytes([data[at] ^ 1]))
