"""Shared infrastructure without musical knowledge: configs, files, weights, hub, devices, processes."""
