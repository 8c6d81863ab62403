"""`python -m enarx_deploy` is `enarx-deploy`."""

import sys

from enarx_deploy.cli.main import main

sys.exit(main())
