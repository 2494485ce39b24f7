"""`kubectl unigpu doctor`: is the installation sound, and what to do where it isn't."""
