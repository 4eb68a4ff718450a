"""Diagnosis: failure modes, and the rules that find them."""
