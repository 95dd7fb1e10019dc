"""What all tests share: how hypothesis looks for counterexamples."""

import os

from hypothesis import settings

# A first example may load models, so its time says nothing about the others.
settings.register_profile("developer", deadline=None, print_blob=True)
# In CI the same examples each time: a new draw may find what another change broke.
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
