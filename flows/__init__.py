"""What happens, read from top to bottom: the flows and the command line."""

import os

# Prefect reads its settings when it is imported, and that is later than this.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")  # the default fails on a busy machine
os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
