"""The places where packages are published: one module each, found by its entry point."""
