"""Stages: one step of a pipeline a file; each is handed the undecided items of a micro-batch and may decide them."""
