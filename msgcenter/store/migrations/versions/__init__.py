"""One file for each migration, in order; a released one is never edited."""
