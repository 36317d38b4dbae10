"""The decoders that are compared: each module has a function `decode` that makes records of a body."""
