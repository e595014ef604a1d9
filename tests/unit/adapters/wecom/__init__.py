"""Tests of the WeCom kinds against the simulated platform."""
