"""Durable jobs: many histories into a sink, killed anywhere, resumed, with nothing lost and nothing doubled."""
