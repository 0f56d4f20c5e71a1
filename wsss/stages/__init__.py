"""Stages: one verb per module; each reads from the store and writes to the store."""
