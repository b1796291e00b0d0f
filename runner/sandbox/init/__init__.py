"""sandbox-init: the static PID 1 of every sandbox, its source and binaries."""
