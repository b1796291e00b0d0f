"""What the author wrote: the model, its loading and its checks."""
