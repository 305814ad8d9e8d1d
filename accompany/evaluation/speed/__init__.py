"""How fast a model is on this machine, against the least that its work can take: `accompany bench`."""
