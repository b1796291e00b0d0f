"""Whatever must not be seen: secrets, their masking, their sealed store and their sources."""
