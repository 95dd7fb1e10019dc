"""Where layers come from: one file a kind of source, one a family of models."""
