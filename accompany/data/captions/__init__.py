"""Captions of pairs: from files beside the song, its tags, a captioner of one's own, or CLAP and measures."""
