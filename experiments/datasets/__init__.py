"""Data sets: a frozen dataclass of options each, whose `load` gives arrays."""
