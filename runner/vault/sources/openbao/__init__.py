"""OpenBao, and Vault: values that stand there, credentials that are made there, and tokens."""
