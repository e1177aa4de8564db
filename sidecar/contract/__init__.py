"""The only thing the worker may import of the sidecar: values, names and the config both sides read."""
