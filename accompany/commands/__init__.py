"""What the commands do that work on takes; `accompany.cli` runs them."""
