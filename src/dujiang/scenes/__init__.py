"""Scenes: prompts that live in the configuration, with versions, labels and variables."""
