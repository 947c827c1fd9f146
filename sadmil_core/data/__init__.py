"""Data to learn from: the manifest that names it, and how it is split.

Nothing is imported here: the manifest needs no torch, the bags do.
"""
