"""The embedded driver: bubblewrap, for machines without a daemon."""
