"""What holds for every test: hypothesis never judges a machine's speed, and CI draws the same cases each time."""

import os

import hypothesis

hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

pytest_plugins = ["gateway", "postgres", "redis_servers", "stores"]
