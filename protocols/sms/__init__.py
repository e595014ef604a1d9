"""Short message text, the same for every carrier protocol: encodings, parts, user data headers,
joining.
"""
