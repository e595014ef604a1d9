"""Tests of the archive: sinks, spill journal, event mapping, masking."""
