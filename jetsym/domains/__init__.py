"""Domains: who knows what acts on which inputs; one class each, and the one table where they meet."""
