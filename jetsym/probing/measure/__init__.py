"""Measurements along orbits: rotations, boosts, generators, averages."""
