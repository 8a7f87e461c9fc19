"""Verified bytes to rows, events, flat rows and Arrow record batches. No I/O."""
