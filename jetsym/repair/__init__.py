"""Repair: the configuration of a run that mends what was found."""
