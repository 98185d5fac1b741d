"""Simulated tasks: one file per suite, all Gymnasium."""
