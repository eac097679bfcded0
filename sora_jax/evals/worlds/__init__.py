"""Scores of videos of the simulated worlds, one file a world, read from pixels alone."""
