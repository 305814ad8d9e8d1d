"""Lightning training of the stages: module, trainer, callbacks, checkpoints, devices."""
