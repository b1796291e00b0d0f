"""Where a secret's value comes from, one file or folder a source."""
