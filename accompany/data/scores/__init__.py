"""Published scores and performances of real songs, read into lead sheets and arranged for a band."""
