"""Mappings from the columns of any tree to jets."""
