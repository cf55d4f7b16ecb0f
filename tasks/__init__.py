"""One file a step, and the lake and catalogue they write to."""
