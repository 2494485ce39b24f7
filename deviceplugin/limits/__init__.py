"""Limits that change while containers run."""
