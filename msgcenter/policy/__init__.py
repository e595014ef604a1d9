"""Policy: pure functions that decide; facts and time come in as arguments, a verdict comes out, nothing is touched."""
