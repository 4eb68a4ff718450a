"""Reports: what was found, as data, words, tables and pages; they measure nothing."""
