"""Data sets and code that came from others, one folder each."""
