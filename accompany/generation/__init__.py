"""Generation of takes from a vocal and a prompt: planning, conditions, stages, edits, streaming and projects."""
