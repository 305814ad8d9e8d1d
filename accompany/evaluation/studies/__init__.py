"""Questions that `accompany evaluate --study NAME` answers beside the report: a small table each."""
