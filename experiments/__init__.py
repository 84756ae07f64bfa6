"""Experiment binaries: thin absl mains over the library."""
