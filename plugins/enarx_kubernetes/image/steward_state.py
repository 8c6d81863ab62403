"""Lay out a Steward's directory from what a pod has mounted. Copied into the image; run before the Steward starts.

`steward_state.py FROM... TO`: files of Secrets belong to root and are links, and the Steward takes neither: its key is
the one file that nobody else may read.
"""

import os
import sys
from pathlib import Path

*sources, target = map(Path, sys.argv[1:])
os.umask(0o077)
target.mkdir(mode=0o700, exist_ok=True)
for source in sources:
    for file in sorted(source.iterdir()):
        if not file.name.startswith(".") and file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
