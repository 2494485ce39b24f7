"""The pure core: a pod in any dialect → the unified form, or every reason against it. Imports `unigpu` alone."""
