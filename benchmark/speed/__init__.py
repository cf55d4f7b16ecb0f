"""What the project's own work costs, each measured beside the bare work or the best alternative in the same run."""
