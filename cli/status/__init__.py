"""`kubectl unigpu status`: which containers have which GPU, what is free, what is unhealthy, and what waits."""
