"""What must be kept, and fails closed: journal, artifacts, logs."""
