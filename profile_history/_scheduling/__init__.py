"""Decide which window of which profile is fetched next and by whom, and bring its outcome to the consumer."""
