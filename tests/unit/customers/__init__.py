"""Tests of msgcenter/customers."""
