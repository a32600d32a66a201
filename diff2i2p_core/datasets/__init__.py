"""Raw recordings to benchmark pairs, one file a source."""
