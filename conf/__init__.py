"""Hydra configuration: one YAML per choice, one per published experiment."""
