"""Build a program to Wasm, package it, attest it, and serve it with TLS from inside a Keep."""

__version__ = "0.1.0"
