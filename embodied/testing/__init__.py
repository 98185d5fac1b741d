"""Contract suites and doubles: the first test of a new environment, policy or reward is one line."""
