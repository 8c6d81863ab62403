"""The source languages: one module each, found by its entry point."""
