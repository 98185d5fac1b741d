"""Policies and the algorithms that fine-tune them: one file each."""
