"""Properties are judged by what they say, never by how long they take."""

from hypothesis import settings

settings.register_profile("project", deadline=None)
settings.load_profile("project")
