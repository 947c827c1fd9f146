"""Training: what is minimised, on which bags, and a loop that stops and goes on exactly."""
