"""Stands in for carbontracker inside a Slurm job that the carbontracker plugin tracks."""
