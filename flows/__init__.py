"""What happens, read from top to bottom: the flows and the command line."""
