"""The webhook's serving certificate and the trust in it."""
