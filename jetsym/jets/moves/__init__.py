"""Moves: what acts on jets."""
