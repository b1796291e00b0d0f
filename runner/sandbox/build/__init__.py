"""Making root file systems from Debian packages, byte for byte the same for the same packages."""
