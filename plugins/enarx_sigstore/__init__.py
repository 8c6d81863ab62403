"""Signatures by an identity in the place of a key."""
