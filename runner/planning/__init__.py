"""What will run: an immutable plan, made before the first sandbox exists."""
