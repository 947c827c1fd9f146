"""The desktop program: a radiology viewer around the SA-DMIL model. Research use only."""
