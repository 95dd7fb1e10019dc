"""Other servers for models, each in an environment of its own: optional rivals."""
