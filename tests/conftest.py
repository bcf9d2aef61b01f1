"""Properties are judged by what they say, never by how long they take. CI has the time to try four times as many."""

import os

from hypothesis import settings

EXAMPLES = 100 if os.environ.get("CI") else 25

settings.register_profile("project", deadline=None, max_examples=EXAMPLES)
settings.register_profile("deep", deadline=None, max_examples=2 * EXAMPLES)
"""For what has many states."""
settings.load_profile("project")
