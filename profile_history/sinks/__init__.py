"""Where a job puts what it fetches: files, databases, or a place of your own."""
