"""How good poses are: errors against the truth, trajectories, overlays, a report."""
