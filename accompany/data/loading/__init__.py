"""Random crops of token shards as training batches, reproducible from a seed."""
