"""Drawbridge, Enarx's registry of packages: the form of what it stores, a server, and a client."""
