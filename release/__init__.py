"""Build what a release publishes: images, chart, wheels, libvgpu, and a bundle for networks without a registry."""
