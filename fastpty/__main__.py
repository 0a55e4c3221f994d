"""`python -m fastpty` is the `fastpty` command."""

import sys

from fastpty.entry import client

sys.exit(client())
