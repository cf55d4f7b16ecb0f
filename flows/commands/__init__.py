"""The commands, by what they are for. Each imports what it works with only when it is called: `--help` is quick."""
