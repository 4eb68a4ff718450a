"""Streams of jets, and the caches that feed them."""
