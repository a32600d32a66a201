"""Converts raw recordings to benchmark pairs, one file per source."""
