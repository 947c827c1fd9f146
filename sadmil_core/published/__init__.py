"""The authors' published checkpoints: fetched, read without TensorFlow, converted.

Their weights are never part of this program; they are downloaded or imported at the user's
request. Nothing here needs torch.
"""
