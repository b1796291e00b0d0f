"""Telling others: fails open, never in the way of a run."""
