"""The Docker driver: runc, or gVisor on request."""
