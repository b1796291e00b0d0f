"""Doing it: a pure core decides, threads carry out."""
