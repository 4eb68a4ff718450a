"""Formats of files of jets, one file each."""
