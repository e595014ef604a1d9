"""Tests of msgcenter/stages."""
