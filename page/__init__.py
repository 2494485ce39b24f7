"""unigpu's page: who uses which GPU, for people. It shows what the viewer's own token may see."""
