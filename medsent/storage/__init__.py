"""Paths in, whole files out: folders and object stores by one set of names, a cache, a lease."""
