"""Learned rewards, preferences and interventions that fine-tune robot policies."""
