"""Dujiang (都江): one AI backend for many apps."""

__version__ = "0.1.0"
