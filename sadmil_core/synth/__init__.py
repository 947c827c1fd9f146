"""Synthetic head CT: made-up heads, with or without a bleed, for the demo and for training.

Nothing here derives from a patient. Every shape is written down in anatomical terms, in
millimetres, and varied by a random generator that the caller passes in.
"""
