"""Settings of every test."""

import os
import signal

from hypothesis import settings

os.environ.setdefault("MUJOCO_GL", "egl")
# whoever starts the tests in the background of a script has them ignore Ctrl-C, which some press
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("shared-machine", deadline=None, max_examples=50)
settings.load_profile("shared-machine")
