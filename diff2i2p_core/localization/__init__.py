"""From an image to a pose in a map: retrieval, alignment, the decision, gates, tracking."""
