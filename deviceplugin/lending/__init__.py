"""Idle shares, lent to the containers that want them."""
