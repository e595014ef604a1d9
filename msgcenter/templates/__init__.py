"""Templates: the words that ops keep, the language they are written in, and what they ask of a request."""
