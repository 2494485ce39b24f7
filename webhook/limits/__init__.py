"""Limits of running pods that somebody changes."""
