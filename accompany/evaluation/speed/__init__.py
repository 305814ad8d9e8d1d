"""Speed benchmark of a model on this machine, against the lower bound of its work: `accompany bench`."""
