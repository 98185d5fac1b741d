"""Settings of every test."""

import os

from hypothesis import settings

os.environ.setdefault("MUJOCO_GL", "egl")

settings.register_profile("shared-machine", deadline=None, max_examples=50)
settings.load_profile("shared-machine")
