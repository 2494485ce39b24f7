"""What every service of unigpu has in common: settings, run until a signal, guarded tasks, health and metrics."""
