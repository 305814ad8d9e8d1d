"""Studies of `accompany evaluate --study NAME`: small tables beside the report."""
