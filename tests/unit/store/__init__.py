"""Tests of the Store's pure parts."""
