"""What every room uses and what knows nothing of music: configs, files, weights, hub, devices, processes."""
