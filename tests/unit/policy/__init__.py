"""Tests of msgcenter/policy."""
