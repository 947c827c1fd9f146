"""Scans as tables, as prepared images and as bags. Importing this package imports no torch."""
