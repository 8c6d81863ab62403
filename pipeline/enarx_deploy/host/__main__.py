"""`python -m enarx_deploy.host keep|service DIRECTORY READY`: look after the Keep or the deployment of DIRECTORY."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """READY is the descriptor on which to say that it is up."""
    kind, place, ready = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if kind == "keep":
        from enarx_deploy.host.supervisor import supervise

        supervise(place, ready)
    else:
        from enarx_deploy.host.service_process import serve_in_background

        serve_in_background(place, ready)


if __name__ == "__main__":
    main()
