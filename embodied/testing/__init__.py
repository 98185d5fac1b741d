"""Contract suites and doubles: the first test of a new environment or reward is one line."""
