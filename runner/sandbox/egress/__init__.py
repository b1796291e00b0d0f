"""The way out of a sandbox: rules, and the proxy that holds them."""
