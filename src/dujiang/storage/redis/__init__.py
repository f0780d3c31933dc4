"""Shared state in Redis or Valkey: `store.py` has the `RedisStore`; docs/decisions/0010-shared-state.md says why so."""
