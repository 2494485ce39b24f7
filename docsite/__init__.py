"""Build the documentation as a site, from the same pages that are read on GitHub."""
