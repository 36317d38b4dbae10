"""The sides of the decoding: each a module whose `decode` turns the body of a page into records."""
