"""A local page to explore attention: ``attention explore``; docs/explore.md tells of it."""
