"""Preferences over clips: asked in a browser, kept in a database, exported for learning."""
