"""Properties are about results, not about the speed of a machine that others use too."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
