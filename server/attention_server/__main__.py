"""python -m attention_server."""

import sys

from attention_server.cli import main

sys.exit(main())
