"""Started by `processes.spawn`: joins control groups, then becomes the program.

`launch.py COUNT PROCS-FILE... PROGRAM...`. Standard library only.
"""

import os
import sys

if __name__ == "__main__":
    count = int(sys.argv[1])
    for path in sys.argv[2 : 2 + count]:
        with open(path, "w") as procs:
            procs.write(str(os.getpid()))
    os.execvp(sys.argv[2 + count], sys.argv[2 + count :])
