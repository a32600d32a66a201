"""Raw recordings to benchmark pairs: one file a source of posed RGB-D frames, and what they share."""
