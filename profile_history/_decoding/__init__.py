"""Verified bytes to events, raw rows, flat rows and Arrow record batches. No I/O."""
