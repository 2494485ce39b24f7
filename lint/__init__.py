"""Checks of the project's own rules that no ready-made linter has."""
