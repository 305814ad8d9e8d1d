"""Everything that trains: `accompany train`, `tune`, `export`."""
