"""The SA-DMIL network in PyTorch: encoder, attention pooling, head, slice graphs.

Shape legend of this package: B bags, S slices (instances) of a bag, N slices of any bags,
C channels, H rows, W columns, D features of a slice, K hidden units of the attention.
Tensors carry their shape as a suffix: ``h_BSD``.
"""
