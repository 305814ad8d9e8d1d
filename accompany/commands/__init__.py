"""The commands of `accompany`, one file each with its options (`add`) and its work (`run`)."""
