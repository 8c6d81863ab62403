"""The probe of a pod: exit status 0 while its Keep serves with a certificate that is valid. Copied into the image.

It reads what the host process wrote down (the file that is named, else where pods have it), with the standard library
alone: it is run every few seconds.
"""

import json
import sys
from datetime import UTC, datetime

try:
    with open((sys.argv[1:] or ["/run/enarx/status.json"])[0]) as file:  # noqa: PTH123 - pathlib would double the time that this takes
        status = json.load(file)
except (OSError, ValueError):
    sys.exit("the Keep has not started")
if status.get("state") != "running":
    sys.exit(f"the Keep is {status.get('state')}")
ends = status.get("certificate_not_after")
if ends and datetime.fromisoformat(ends) < datetime.now(UTC):
    sys.exit(f"its certificate ended at {ends}")
