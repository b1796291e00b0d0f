"""Where a secret's value comes from, one file a source."""
