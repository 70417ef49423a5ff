"""Seen by programs."""
