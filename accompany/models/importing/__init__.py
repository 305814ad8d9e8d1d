"""Import of published checkpoints of other projects as models of accompany."""
