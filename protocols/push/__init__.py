"""App push engines, each a `Profile`, that is data; signatures, request templates, answers and receipts are read by it."""
