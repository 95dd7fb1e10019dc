"""Models on disk: found, checked, read."""
