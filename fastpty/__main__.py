"""`python -m fastpty` is the `fastpty` command."""

import sys

from fastpty.cli import main

sys.exit(main())
