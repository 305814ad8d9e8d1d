"""From a vocal and a prompt to a take: planning, conditions, stages, edits, streaming and projects."""
