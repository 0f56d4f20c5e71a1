"""Stages: one verb a file; each reads from the store and writes to the store."""
