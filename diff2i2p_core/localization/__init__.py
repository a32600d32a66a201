"""From an image to a pose in a map: proposers, retrieval, alignment, verification, tracking."""
