"""The node itself: driver, GPUs and their health, the node object."""
