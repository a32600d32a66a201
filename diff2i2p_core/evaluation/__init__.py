"""How good poses are: the papers' protocol, errors against the truth, trajectories, replays, reports."""
