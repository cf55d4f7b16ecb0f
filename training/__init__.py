"""What learns: the part finder of the embedded engines, and in time the refiners."""
