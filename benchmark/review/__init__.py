"""Review: people look at pairs, edits or samples one at a time, and say which to keep."""
