"""`python -m enarx_deploy.host DIRECTORY READY`: watch over the Keep of DIRECTORY. Started by the local target."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """READY is the descriptor on which to say that the Keep is up."""
    from enarx_deploy.host.supervisor import supervise

    supervise(Path(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
