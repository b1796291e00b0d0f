"""Sandboxes as containers of a Docker Engine, under runc or gVisor."""
