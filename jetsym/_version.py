"""The version of jetsym: its one home, read by the package, by reports and by the build."""

__version__ = "0.1.0"
