"""Which window of which profile is fetched next, by whom, and how its outcome reaches the consumer."""
