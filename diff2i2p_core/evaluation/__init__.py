"""How good poses are, in numbers: the papers' protocol, trajectories, replays."""
