"""What lies on the node's disk: CDI specs and containers' folders."""
