"""Published checkpoints of other projects, turned into models of accompany."""
