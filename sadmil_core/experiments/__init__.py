"""Experiments: many trainings of one question, judged together, and told in words.

A config and a kind make a plan (:mod:`.plan`), each run of it trains in a folder of its own
(:mod:`.sweep`), and when all are there the test split is read, once (:mod:`.finish`).
"""
