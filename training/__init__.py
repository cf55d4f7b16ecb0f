"""Training of refiners on the published shards."""
