"""What to do when a step goes wrong, as pure rules."""
