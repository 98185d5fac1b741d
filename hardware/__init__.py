"""Operators, teleoperation, robots, cameras and safety."""
